"""What a redis-py client holds for one call over a multiplexed pool: a connection as far as the client can tell.

A command that may share goes over a multiplexed connection. The first one that may not binds the virtual connection to
a connection of its own, until it is released.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any

from redis.exceptions import ReadOnlyError

from ..deadline import current
from ..redispy import packing, virtual
from ..wire.commands import shares
from ..wire.pipeline import Request
from .connection import MultiplexedConnection
from .connections import MultiplexedConnections

_USUAL = packing.USUAL


class _Quiet:
    """As much of an event loop as a future asks of one when it is made."""

    def get_debug(self) -> bool:
        return False


def _done() -> asyncio.Future[None]:
    """Return what any task of any loop may await, and which takes no time: cheaper than a coroutine."""
    future = asyncio.Future[None](loop=_Quiet())  # type: ignore[arg-type]  # it asks no more of it
    future.set_result(None)
    return future


DONE = _done()


class VirtualConnection(virtual.Virtual):
    """A connection for one task at a time, which has a transport of its own only where it needs one."""

    # What one for a single command doesn't need stands here, so that making one sets little.
    _request: Request | None = None
    """a pipeline that is to be sent likewise"""
    _sent: deque[tuple[MultiplexedConnection, Request]] | None = None
    """whose replies were not read yet"""
    himport_registry = None
    """redis-py's fieldsets are prepared over one connection; where there are any, no connection is virtual"""

    def __init__(self, multiplexed: MultiplexedConnections) -> None:
        self._multiplexed: MultiplexedConnections = multiplexed
        self.command: tuple[Any, ...] | None = None
        """a command that is to be sent when its reply is read, or before the next"""
        self.simple = True

    def send_command(self, *args: Any, **options: Any) -> Awaitable[None]:
        """As in redis-py."""
        if self.simple and self.command is None and (args[0] in self._multiplexed.sharing_names or shares(args)):
            self.command = args
            return DONE
        return self._send_otherwise(args, options)

    async def _send_otherwise(self, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        if self.bound is None and (args[0] in self._multiplexed.sharing_names or shares(args)):
            await self._send()
            self.command = args
        else:
            await (await self._own()).send_command(*args, **options)

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """As in redis-py."""
        shared = self._shared_commands(command)
        if shared is not None:
            await self._send()
            self._request, self._packed = Request(shared, command[0], len(shared)), None
            self.simple = False
            return
        own = await self._own()
        await own.send_packed_command(self._repacked(command, own), check_health)
        self._packed = None

    async def read_response(self, disable_decoding: bool = False, *args: Any, **options: Any) -> Any:
        """As in redis-py."""
        multiplexed, command = self._multiplexed, self.command
        if (
            command is None
            or not self.simple
            or disable_decoding
            or command[0] not in multiplexed.ordinary
            or current() is not None
            or (future := multiplexed.ask(command)) is None
        ):
            return await self._read_otherwise(disable_decoding, args, options)
        self.command, connection = None, multiplexed.turn or multiplexed.only
        try:
            reply = await future
        except BaseException:
            multiplexed.left(future)
            raise
        if type(reply) not in _USUAL and (type(reply) is not list or packing.is_lost(reply)):
            box = [reply]
            del reply, future  # else an error and this frame, which holds the pool, would keep each other
            return await self._see_to(command, connection, box)
        return reply

    async def _read_otherwise(self, disable_decoding: bool, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if self.bound is not None:
            return await self.bound.read_response(disable_decoding, *args, **options)
        if self._ahead:
            return self._reply_ahead(self._ahead)
        if self._sent:
            connection, sent = self._sent.popleft()
            return self._first(sent, await self._multiplexed.wait(connection, sent))
        request = self._take_request()
        if request is None:
            return await (await self._own()).read_response(disable_decoding, *args, **options)
        if disable_decoding and type(request.commands) is tuple:
            request.decode = False
        try:
            return await self._finish(request, [await self._multiplexed.execute(request, current())])
        finally:
            del request  # as above

    async def _see_to(self, command: tuple[Any, ...], connection: Any, box: list[Any]) -> Any:
        """Return what the caller of an ordinary call gets whose future has brought no plain reply."""
        if type(box[0]) is Request:
            box[0] = await self._multiplexed.settle(box[0])
        if isinstance(box[0], ReadOnlyError):
            box[0] = await self._multiplexed.refused(connection, command, box[0])
        return packing.reply(box.pop())

    async def _finish(self, request: Request, box: list[Any]) -> Any:
        """Return the reply in the box, or the first one of a pipeline's. Raise what the server has refused."""
        try:
            if isinstance(box[0], ReadOnlyError) and self._multiplexed.home.starts_over(request):
                box[0] = await self._multiplexed.execute(request.again(), current())
            return self._first(request, box.pop())
        finally:
            del request  # as above

    async def disconnect(self, *args: Any, **options: Any) -> None:
        """As in redis-py; what others share stays open."""
        self.leave()
        if self.bound is not None:
            await self.bound.disconnect(*args, **options)

    def leave(self) -> None:
        """Wait for nothing that is still to come."""
        request, self._ahead = self._take_request(), None
        if request is not None and (connection := self._multiplexed.pick(request)) is not None:
            connection.send(request)
        while self._sent:
            connection, request = self._sent.popleft()
            connection.pipeline.abandon(request)

    async def _send(self) -> None:
        """Send what was to be sent, if anything, without waiting for the reply."""
        request = self._take_request()
        if request is None:
            return
        self.simple = False
        if self._sent is None:
            self._sent = deque()
        self._sent.append((await self._multiplexed.send(request), request))

    def _take_request(self) -> Request | None:
        """Return what is to be sent; from now on it no longer is."""
        command, request = self.command, self._request
        self.command = self._request = None
        return request if command is None else Request(command, packing.pack(command))

    async def _own(self) -> Any:
        """Return the connection of its own, taken now if need be."""
        if self.bound is None:
            self._check_all_read(self.command or self._request or self._sent)
            self._bind(await self._multiplexed.home.take_own())
        return self.bound

    def _get_from_local_cache(self, _command: object) -> asyncio.Future[None]:
        """Return nothing: valkey-py's clients ask a connection first for what it has cached."""
        return DONE
