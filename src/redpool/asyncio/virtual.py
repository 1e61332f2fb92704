"""What a redis-py client holds for one call over a multiplexed pool: a connection as far as the client can tell.

A command that may share goes over a multiplexed connection. The first one that may not binds the virtual connection to
a connection of its own, until it is released.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Iterator
from typing import Any

from redis.exceptions import ReadOnlyError

from ..deadline import current
from ..redispy import packing, virtual
from ..wire.commands import shares
from ..wire.pipeline import Request
from .connection import MultiplexedConnection
from .connections import MultiplexedConnections


class _Done:
    """What may be awaited, and takes no time; cheaper than a coroutine."""

    def __await__(self) -> Iterator[Any]:
        return iter(())


DONE: Awaitable[None] = _Done()  # type: ignore[assignment]  # an iterator of nothing gives None in the end


class VirtualConnection(virtual.Virtual):
    """A connection for one task at a time, which has a transport of its own only where it needs one."""

    # What one for a single command doesn't need stands here, so that making one sets little.
    _request: Request | None = None
    """what is to be sent: with the first word of its reply, or before the next"""
    _sent: deque[tuple[MultiplexedConnection, Request]] | None = None
    """whose replies were not read yet"""
    himport_registry = None
    """redis-py's fieldsets are prepared over one connection; where there are any, no connection is virtual"""

    def __init__(self, multiplexed: MultiplexedConnections) -> None:
        self._multiplexed: MultiplexedConnections = multiplexed

    def send_command(self, *args: Any, **options: Any) -> Awaitable[None]:
        """As in redis-py."""
        if (
            self.bound is None
            and self._request is None
            and (args[0] in self._multiplexed.sharing_names or shares(args))
        ):
            self._request = Request(args, packing.pack(args))
            return DONE
        return self._send_otherwise(args, options)

    async def _send_otherwise(self, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        if self.bound is None and (args[0] in self._multiplexed.sharing_names or shares(args)):
            await self._send()
            self._request = Request(args, packing.pack(args))
        else:
            await (await self._own()).send_command(*args, **options)

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """As in redis-py."""
        shared = self._shared_commands(command)
        if shared is not None:
            if self._request is not None:
                await self._send()
            self._request, self._packed = Request(shared, command[0], len(shared)), None
            return
        own = await self._own()
        await own.send_packed_command(self._repacked(command, own), check_health)
        self._packed = None

    async def read_response(self, disable_decoding: bool = False, *args: Any, **options: Any) -> Any:
        """As in redis-py."""
        if self.bound is not None:
            return await self.bound.read_response(disable_decoding, *args, **options)
        if self._ahead:
            return self._reply_ahead(self._ahead)
        if self._sent:
            connection, request = self._sent.popleft()
            return self._first(request, await self._multiplexed.wait(connection, request))
        if self._request is None:
            return await (await self._own()).read_response(disable_decoding, *args, **options)
        request, self._request = self._request, None
        if disable_decoding and type(request.commands) is tuple:
            request.decode = False
        multiplexed, limit = self._multiplexed, current()
        replies = await multiplexed.execute(request, limit)
        if not isinstance(replies, packing.UNUSUAL):
            return replies
        try:
            if isinstance(replies, ReadOnlyError) and self._multiplexed.home.starts_over(request):
                replies = await multiplexed.execute(request.again(), limit)
            return self._first(request, replies)
        finally:
            del request, replies  # else an error and this frame, which holds the pool, would keep each other

    @property
    def is_done_with(self) -> bool:
        """Whether there is nothing to be released, and no reply that is still to come."""
        return self._request is None and self.bound is None and not self._sent and not self._ahead

    async def disconnect(self, *args: Any, **options: Any) -> None:
        """As in redis-py; what others share stays open."""
        self.leave()
        if self.bound is not None:
            await self.bound.disconnect(*args, **options)

    def leave(self) -> None:
        """Wait for nothing that is still to come."""
        request, self._request, self._ahead = self._request, None, None
        if request is not None and (connection := self._multiplexed.pick(request)) is not None:
            connection.send(request)
        while self._sent:
            connection, request = self._sent.popleft()
            connection.pipeline.abandon(request)

    async def _send(self) -> None:
        """Send what was to be sent, without waiting for the reply."""
        request, self._request = self._request, None
        assert request is not None
        if self._sent is None:
            self._sent = deque()
        self._sent.append((await self._multiplexed.send(request), request))

    async def _own(self) -> Any:
        """Return the connection of its own, taken now if need be."""
        if self.bound is None:
            self._check_all_read(self._request or self._sent)
            self.bound = await self._multiplexed.home.take_own()
            self.retry = self.bound.retry
        return self.bound

    def __getattr__(self, name: str) -> Any:
        if name == "bound" or self.bound is None:
            raise AttributeError(f"a virtual connection has no {name!r}")
        return getattr(self.bound, name)
