"""GET as cheaply as it can be had: a bare socket or protocol, alone, and under redis-py's client.

None has a retry, a timeout, or care for a caller that gave up.
"""

import asyncio
import socket
from collections import deque
from typing import Any, cast

import hiredis
import redis
import redis.asyncio

from .setting import KEY

_pack: Any = hiredis.pack_command

_COMMAND: bytes = _pack(("GET", KEY))
_RECEIVE_BYTES = 4096
_HUNG_UP = "the server hung up"


class BareSocket:
    """One thread's socket. It sends a command that was packed once, and doesn't look into the reply."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self) -> bytes:
        """Send the command, and return what comes."""
        self._socket.sendall(_COMMAND)
        reply = self._socket.recv(_RECEIVE_BYTES)
        if not reply:
            raise ConnectionError(_HUNG_UP)
        return reply

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class BareProtocol(asyncio.Protocol):
    """One connection for all tasks of an event loop. What they ask within one turn of the loop goes out together."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._unsent: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Give each reply to the caller that has waited longest."""
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._waiting.popleft().set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """Raise to the callers that wait."""
        for reply in self._waiting:
            reply.set_exception(error or ConnectionError(_HUNG_UP))
        self._waiting.clear()

    def get(self) -> asyncio.Future[Any]:
        """Return a future of the reply."""
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(_pack(("GET", KEY)))
        reply = self._loop.create_future()
        self._waiting.append(reply)
        return reply

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def _flush(self) -> None:
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()


class _FreeConnection(redis.Connection):
    """A bare socket with redis-py's interface."""

    bare: BareSocket

    def send_command(self, *_: Any, **__: Any) -> None:
        """Do nothing: `read_response` sends and receives."""

    def read_response(self, *_: Any, **__: Any) -> Any:
        return self.bare.get()

    def should_reconnect(self) -> bool:
        return False


class FreePool(redis.ConnectionPool):
    """A pool that costs nothing: every checkout gets the one connection."""

    def __init__(self, bare: BareSocket) -> None:
        super().__init__()
        self._free = _FreeConnection()
        self._free.bare = bare

    def get_connection(self, *_: Any, **__: Any) -> Any:
        """Return the one connection."""
        return self._free

    def release(self, connection: Any) -> None:
        """Do nothing."""


class _FreeAsyncConnection(redis.asyncio.Connection):
    """A bare protocol with redis-py's interface, for all callers at once.

    No other task runs between a caller's `send_command` and its `read_response`, since the first never waits.
    """

    bare: BareProtocol
    _reply: asyncio.Future[Any]

    async def send_command(self, *_: Any, **__: Any) -> None:
        self._reply = self.bare.get()

    async def read_response(self, *_: Any, **__: Any) -> Any:
        return await self._reply

    def should_reconnect(self) -> bool:
        return False


class FreeAsyncPool(redis.asyncio.ConnectionPool):
    """A pool for event loops that costs nothing: every checkout gets the one connection."""

    def __init__(self, bare: BareProtocol) -> None:
        super().__init__()
        self._free = _FreeAsyncConnection()
        self._free.bare = bare

    async def get_connection(self, *_: Any, **__: Any) -> Any:
        """Return the one connection."""
        return self._free

    async def release(self, connection: Any) -> None:
        """Do nothing."""


class FreeClient(redis.Redis):
    """redis-py's commands, and nothing else of its client, over a bare socket."""

    def __init__(self, bare: BareSocket) -> None:
        super().__init__()
        self._bare = bare

    def execute_command(self, *_: Any, **__: Any) -> Any:
        """Ask the bare socket."""
        return self._bare.get()


class FreeAsyncClient(redis.asyncio.Redis):
    """redis-py's commands, and nothing else of its client, over a bare protocol."""

    def __init__(self, bare: BareProtocol) -> None:
        super().__init__()
        self._bare = bare

    def execute_command(self, *_: Any, **__: Any) -> Any:
        """Ask the bare protocol."""
        return self._bare.get()
