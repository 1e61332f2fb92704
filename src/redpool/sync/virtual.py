"""What a redis-py client holds for one call over a multiplexed pool: a connection as far as the client can tell.

A command that may share goes over a multiplexed connection. The first one that may not, or any touch of what only a
connection of its own has, binds the virtual connection to a connection of its own, until it is released.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from redis.exceptions import ReadOnlyError

from ..deadline import current
from ..redispy import packing, virtual
from ..wire.commands import shares
from ..wire.pipeline import Request
from .connection import MultiplexedConnection
from .connections import MultiplexedConnections, Reentered


class VirtualConnection(virtual.Virtual):
    """A connection for one thread at a time, which has a socket of its own only where it needs one."""

    # What one for a single command doesn't need stands here, so that making one sets little.
    request: Request | None = None
    """what is to be sent: when its reply is read, or before the next"""
    _sent: deque[tuple[MultiplexedConnection, Request]] | None = None
    """whose replies were not read yet"""
    simple = True
    """there is nothing to be released, and no reply to be read but that to the `request`"""

    def __init__(self, multiplexed: MultiplexedConnections) -> None:
        self._multiplexed: MultiplexedConnections = multiplexed

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
        if self.bound is None and (args[0] in self._multiplexed.sharing_names or shares(args)):
            if self.request is not None:
                self._send()
            if self.bound is None:
                self.request = Request(args, packing.pack(args))
                return
        self._own().send_command(*args, **options)

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """As in redis-py."""
        shared = self._shared_commands(command)
        if shared is not None:
            if self.request is not None:
                self._send()
            if self.bound is None:
                self.request, self._packed = Request(shared, command[0], len(shared)), None
                return
        own = self._own()
        own.send_packed_command(self._repacked(command, own), check_health)
        self._packed = None

    def read_response(self, disable_decoding: bool = False, **options: Any) -> Any:
        """As in redis-py."""
        request = self.request
        if request is None or not self.simple:
            return self._read_otherwise(disable_decoding, options)
        self.request = None
        if disable_decoding and type(request.commands) is tuple:
            request.decode = False
        try:
            replies = self._multiplexed.execute(request, current())
            if not isinstance(replies, packing.UNUSUAL):
                return replies
            if isinstance(replies, ReadOnlyError) and self._multiplexed.home.starts_over(request):
                replies = self._multiplexed.execute(request.again(), current())
        except Reentered:
            return self._by_another_way(request, disable_decoding)
        self.simple = type(request.commands) is tuple  # else more replies are to be read
        try:
            return self._first(request, replies)
        finally:
            del request, replies  # else an error and this frame, which holds the pool, would keep each other

    def _read_otherwise(self, disable_decoding: bool, options: dict[str, Any]) -> Any:
        if self.bound is not None:
            return self.bound.read_response(disable_decoding, **options)
        if self._ahead:
            return self._reply_ahead(self._ahead)
        if not self._sent:
            if self.request is None:
                return self._own().read_response(disable_decoding, **options)
            self._send()
            if not self._sent:
                return self._own().read_response(disable_decoding, **options)
        connection, request = self._sent.popleft()
        try:
            return self._first(request, self._multiplexed.wait(connection, request))
        finally:
            del request  # as above

    def can_read(self, timeout: float | None = 0, **options: Any) -> Any:
        """As in redis-py."""
        if self.request is not None:
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
        if self.request is not None:
            self._send()
        if self._ahead is not None:
            self._ahead = None
        while self._sent:
            connection, request = self._sent.popleft()
            connection.pipeline.abandon(request)

    def _send(self) -> None:
        """Send what was to be sent, without waiting for the reply."""
        request, self.request = self.request, None
        assert request is not None
        self.simple = False
        if self._sent is None:
            self._sent = deque()
        try:
            self._sent.append(self._multiplexed.send(request))
        except Reentered:
            self._send_by_another_way(request)

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
            self._check_all_read(self.request or self._sent)
            self.bound, self.simple = self._multiplexed.home.take_own(), False
            self.retry = self.bound.retry
        return self.bound

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._own(), name)
