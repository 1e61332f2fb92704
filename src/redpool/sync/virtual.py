"""What a redis-py client holds for one call over a multiplexed pool: a connection as far as the client can tell.

A command that may share goes over a multiplexed connection. The first one that may not, or any touch of what only a
connection of its own has, binds the virtual connection to a connection of its own, until it is released.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Self

from redis.exceptions import ReadOnlyError

from ..deadline import current
from ..redispy import internals, packing, virtual
from ..wire.commands import shares
from ..wire.pipeline import Request
from .connection import MultiplexedConnection
from .connections import ELSEWHERE, MultiplexedConnections, Reentered


class VirtualConnection(virtual.Virtual):
    """A connection for one thread at a time, which has a socket of its own only where it needs one."""

    # What one for a single command doesn't need stands here, so that making one sets little.
    _request: Request | None = None
    """a pipeline that is to be sent likewise"""
    _sent: deque[tuple[MultiplexedConnection, Request]] | None = None
    """whose replies were not read yet"""

    def __init__(self, multiplexed: MultiplexedConnections) -> None:
        self._multiplexed: MultiplexedConnections = multiplexed
        self.command: tuple[Any, ...] | None = None
        """a command that is to be sent when its reply is read, or before the next"""
        self.simple = True

    @classmethod
    def of(cls, connection: Any, retry: Any) -> type[Self]:
        """Return the class for a pool that makes such connections: what they have, a virtual one has of its own."""
        made = super().of(connection, retry)
        for name in dir(connection):
            if not name.startswith("__") and not hasattr(made, name):
                setattr(made, name, _OfOwn(name, cls._own))
        if not internals.is_own_class(connection.__class__):
            # Others' connections may get attributes as they connect, or make them up.
            made.__getattr__ = cls._of_own  # type: ignore[attr-defined]  # only such a class has it
        return made

    @property
    def himport_registry(self) -> Any:
        """redis-py's registry of fieldsets; what was prepared belongs to one connection, so that it can't be shared."""
        if self.bound is None and not self._multiplexed.home.himport_registry.revision:
            return None
        return self._own().himport_registry

    def should_reconnect(self) -> bool:
        """As in redis-py."""
        return False if self.bound is None else self.bound.should_reconnect()

    def send_command(self, *args: Any, **options: Any) -> None:
        """As in redis-py."""
        if self.simple and self.command is None and (args[0] in self._multiplexed.sharing_names or shares(args)):
            self.command = args
        else:
            self._send_otherwise(args, options)

    def _send_otherwise(self, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        if self.bound is None and (args[0] in self._multiplexed.sharing_names or shares(args)):
            self._send()
            if self.bound is None:
                self.command = args
                return
        self._own().send_command(*args, **options)

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """As in redis-py."""
        shared = self._shared_commands(command)
        if shared is not None:
            self._send()
            if self.bound is None:
                self._request, self._packed = Request(shared, command[0], len(shared)), None
                self.simple = False
                return
        own = self._own()
        own.send_packed_command(self._repacked(command, own), check_health)
        self._packed = None

    def read_response(self, disable_decoding: bool = False, **options: Any) -> Any:
        """As in redis-py."""
        multiplexed, command = self._multiplexed, self.command
        if command is None or not self.simple or disable_decoding or command[0] not in multiplexed.ordinary:
            return self._read_otherwise(disable_decoding, options)
        self.command, connection = None, multiplexed.only
        reply = multiplexed.ask(connection, command)
        if reply is ELSEWHERE:
            self.command = command
            return self._read_otherwise(disable_decoding, options)
        if type(reply) not in packing.USUAL and (type(reply) is not list or packing.is_lost(reply)):
            box = [reply]
            del reply  # else an error and this frame, which holds the pool, would keep each other
            try:
                if isinstance(box[0], ReadOnlyError) and connection is not None:
                    box[0] = multiplexed.refused(connection, command, box[0])
            except Reentered:
                return self._by_another_way(Request(command, packing.pack(command)), disable_decoding)
            return packing.reply(box.pop())
        return reply

    def _read_otherwise(self, disable_decoding: bool, options: dict[str, Any]) -> Any:
        if self.bound is not None:
            return self.bound.read_response(disable_decoding, **options)
        if self._ahead:
            return self._reply_ahead(self._ahead)
        if self._sent:
            connection, sent = self._sent.popleft()
            try:
                return self._first(sent, self._multiplexed.wait(connection, sent))
            finally:
                del sent  # as above
        request = self._take_request()
        if request is None:
            return self._own().read_response(disable_decoding, **options)
        if disable_decoding and type(request.commands) is tuple:
            request.decode = False
        try:
            return self._finish(request, [self._multiplexed.execute(request, current())])
        except Reentered:
            return self._by_another_way(request, disable_decoding)
        finally:
            del request  # as above

    def _finish(self, request: Request, box: list[Any]) -> Any:
        """Return the reply in the box, or the first one of a pipeline's. Raise what the server has refused."""
        try:
            if isinstance(box[0], ReadOnlyError) and self._multiplexed.home.starts_over(request):
                box[0] = self._multiplexed.execute(request.again(), current())
            return self._first(request, box.pop())
        finally:
            del request  # as above

    def can_read(self, timeout: float | None = 0, **options: Any) -> Any:
        """As in redis-py."""
        self._send()
        if self._ahead:
            return True
        if self._sent:
            return self._sent[0][1].done
        return self._own().can_read(timeout, **options)

    def disconnect(self, *args: Any, **options: Any) -> None:
        """As in redis-py; what others share stays open."""
        self.leave()
        if self.bound is not None:
            self.bound.disconnect(*args, **options)

    def leave(self) -> None:
        """Wait for nothing that is still to come."""
        self._send()
        self._ahead = None
        while self._sent:
            connection, request = self._sent.popleft()
            connection.pipeline.abandon(request)

    def _send(self) -> None:
        """Send what was to be sent, if anything, without waiting for the reply."""
        request = self._take_request()
        if request is None:
            return
        self.simple = False
        if self._sent is None:
            self._sent = deque()
        try:
            self._sent.append(self._multiplexed.send(request))
        except Reentered:
            self._send_by_another_way(request)

    def _take_request(self) -> Request | None:
        """Return what is to be sent; from now on it no longer is."""
        command, request = self.command, self._request
        self.command = self._request = None
        return request if command is None else Request(command, packing.pack(command))

    def _by_another_way(self, request: Request, disable_decoding: bool) -> Any:
        """Go on over a connection of its own: the thread was interrupted at the multiplexed one."""
        self._send_by_another_way(request)
        return self.bound.read_response(disable_decoding)

    def _send_by_another_way(self, request: Request) -> None:
        own = self._own()
        if type(request.commands) is tuple:
            own.send_command(*request.commands)
        else:
            own.send_packed_command(own.pack_commands(request.commands))

    def _own(self) -> Any:
        """Return the connection of its own, taken now if need be."""
        if self.bound is None:
            self._check_all_read(self.command or self._request or self._sent)
            self._bind(self._multiplexed.home.take_own())
        return self.bound

    def _get_from_local_cache(self, command: object) -> None:
        """Return nothing: valkey-py's clients ask a connection first for what it has cached."""

    def _of_own(self, name: str) -> Any:
        """Return what the connection of its own, taken now if need be, has by this name."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._own(), name)


class _OfOwn:
    """What a virtual connection has of its own connection, which is taken when that is asked for."""

    def __init__(self, name: str, own: Callable[[VirtualConnection], Any]) -> None:
        self._name, self._own = name, own

    def __get__(self, virtual: VirtualConnection | None, _: Any = None) -> Any:
        return self if virtual is None else getattr(self._own(virtual), self._name)
