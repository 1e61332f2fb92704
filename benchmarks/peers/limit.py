"""The limit for any client in Python: hiredis on a bare socket or protocol, with nothing that a user needs.

It has no pool, no retry, no timeout, and no care for a caller that was cancelled.
"""

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import hiredis

from .peer import Address, Client

_pack: Any = hiredis.pack_command

_RECEIVE_BYTES = 65536
_HUNG_UP = "the server hung up"


@contextmanager
def bare_sockets(address: Address, callers: int) -> Iterator[Client]:
    """Yield a client with as many sockets as there are callers at once."""
    free: list[_Socket] = []

    def with_socket(call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            mine = free.pop()
        except IndexError:
            mine = _Socket(address)
        try:
            reply = call(mine, *arguments)
        except BaseException:
            mine.close()
            raise
        free.append(mine)
        return reply

    try:
        yield Client(partial(with_socket, _Socket.get), partial(with_socket, _Socket.pipeline))
    finally:
        for each in free:
            each.close()


class _Socket:
    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        self.close = self._socket.close

    def get(self, key: str) -> Any:
        self._socket.sendall(_pack(("GET", key)))
        return self._reply()

    def pipeline(self, key: str, count: int) -> list[Any]:
        self._socket.sendall(b"".join([_pack(("GET", key)) for _ in range(count)]))
        return [self._reply() for _ in range(count)]

    def _reply(self) -> Any:
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(_RECEIVE_BYTES)
            if not data:
                raise ConnectionError(_HUNG_UP)
            self._reader.feed(data)
        return reply


@asynccontextmanager
async def bare_protocol(address: Address, callers: int) -> AsyncIterator[Client]:
    """Yield a client with one connection that all tasks share."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(partial(_Protocol, loop), *address)
    try:
        yield Client(protocol.get, protocol.pipeline)
    finally:
        transport.close()


class _Protocol(asyncio.Protocol):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._unsent: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._waiting.popleft().set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        for reply in self._waiting:
            reply.set_exception(error or ConnectionError(_HUNG_UP))
        self._waiting.clear()

    def get(self, key: str) -> asyncio.Future[Any]:
        # A lone task's command goes out at once; those that come while replies are awaited go out together.
        command = _pack(("GET", key))
        if not self._waiting:
            self._transport.write(command)
        else:
            if not self._unsent:
                self._loop.call_soon(self._flush)
            self._unsent.append(command)
        return self._expected()

    async def pipeline(self, key: str, count: int) -> list[Any]:
        self._transport.write(b"".join([_pack(("GET", key)) for _ in range(count)]))
        replies = [self._expected() for _ in range(count)]
        await replies[-1]
        return [reply.result() for reply in replies]

    def _expected(self) -> asyncio.Future[Any]:
        reply = self._loop.create_future()
        self._waiting.append(reply)
        return reply

    def _flush(self) -> None:
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()
