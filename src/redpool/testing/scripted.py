"""redis-py's own connections, with a script at the other end.

A scripted connection is a real one: redis-py's classes, a real socket, real bytes. What the script says of connects and
sends happens in the caller's own thread or task, so it can block there and be interrupted there; what it says of
answers happens at the other end of the socket, which a thread of the script's plays.
"""

from __future__ import annotations

import asyncio
import copy
import socket
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import redis.asyncio.connection as aio
from redis.connection import AbstractConnection

from .loop import Loop
from .peer import Peer
from .replies import Slow, Step, check_step

_HANDSHAKE = {"HELLO", "AUTH", "CLIENT", "SELECT"}


class Script:
    """What befalls the connections of a pool, step by step.

        with Script(connect=[ConnectionRefusedError(), "ok"], reply=["ok", "never"]) as script:
            pool = redpool.ConnectionPool(connection_class=script.connection)

    `connection` is the class for a pool of threads, `async_connection` the one for an event loop. Each stage has a list
    of steps; all connections together use them up, one after the other, and the last is repeated for ever. No steps
    means "ok". A list may be replaced at any time (`script.reply = ["ok"]`).

    The stages are

        connect    opening the connection
        handshake  the answer to HELLO, AUTH, CLIENT and SELECT, each a step
        ping       the answer to PING
        send       sending anything else: a step for each packet, and a pipeline is one
        reply      the answer to each command of it

    and the steps

        "ok"          as it should be; an answer is the usual one of a `ScriptedServer`: `GET` and `ECHO` are
                      answered with their argument, so that swapped replies show
        "never"       it takes for ever: as long as redis-py's timeout for it, or until the script is closed
        Slow(seconds) it takes so long; what comes after it on the same connection waits
        an exception  in connect and send, it is raised (an `OSError` is redis-py's `ConnectionError` then);
                      in an answer, a `redis.ResponseError` is an error reply, by its text as a server writes it
                      (`ResponseError("READONLY no writes here")`), and any other a hang-up

    redis-py's clients repeat what has failed, unless told otherwise (`retry=Retry(NoBackoff(), 0)`).

    Raises `TypeError` for anything else than a step.
    """

    def __init__(
        self,
        *,
        connect: Iterable[Step] = (),
        handshake: Iterable[Step] = (),
        ping: Iterable[Step] = (),
        send: Iterable[Step] = (),
        reply: Iterable[Step] = (),
    ) -> None:
        self.connect = connect
        self.handshake = handshake
        self.ping = ping
        self.send = send
        self.reply = reply
        self._turn = threading.Lock()
        self._closed = threading.Event()
        self._loop = Loop("Script")
        self.connection = type("ScriptedConnection", (ScriptedConnection,), {"_script": self})
        self.async_connection = type("ScriptedAsyncConnection", (ScriptedAsyncConnection,), {"_script": self})

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, _steps(name, value) if name in _STAGES else value)

    def close(self) -> None:
        """Hang up on every client, and end what takes for ever (on an event loop, only what waits for an answer)."""
        self._closed.set()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- for the connections ---------------------------------------------------------------------------------------

    def _next(self, stage: str) -> Step:
        with self._turn:
            steps: list[Step] = getattr(self, stage)
            return steps.pop(0) if len(steps) > 1 else steps[0]

    def _play(self, stage: str, timeout: float | None) -> None:
        seconds = _seconds(self._next(stage))
        if seconds and self._closed.wait(seconds if timeout is None else min(seconds, timeout)):
            raise ConnectionAbortedError("the script was closed")
        if timeout is not None and seconds > timeout:
            raise TimeoutError

    async def _play_async(self, stage: str, timeout: float | None) -> None:
        seconds = _seconds(self._next(stage))
        if seconds:
            async with asyncio.timeout(timeout):
                await asyncio.sleep(seconds)

    def _connected(self) -> socket.socket:
        near, far = socket.socketpair()
        try:
            self._loop.call(lambda: Peer(self._loop, far, lambda name, _: self._next(_answering(name))))
        except BaseException:
            near.close()
            far.close()
            raise
        return near


_STAGES = ("connect", "handshake", "ping", "send", "reply")


def _steps(stage: str, steps: Iterable[Step]) -> list[Step]:
    listed = list(steps)
    for step in listed:
        check_step(stage, step)
    return listed or ["ok"]


def _seconds(step: Step) -> float:
    """Return how long a step takes, or raise it."""
    if isinstance(step, BaseException):
        raise copy.copy(step)
    if isinstance(step, Slow):
        return step.seconds
    return threading.TIMEOUT_MAX if step == "never" else 0.0


def _answering(name: str) -> str:
    """Return the stage that a command's answer belongs to."""
    return "handshake" if name in _HANDSHAKE else "ping" if name == "PING" else "reply"


def _is_sending(data: bytes) -> bool:
    r"""Return whether a packet belongs to the stage "send"; it begins with a command: `*1\r\n$4\r\nPING\r\n`.

    redis-py sends the rest of a command with long arguments in packets that don't.
    """
    parts = bytes(data[:48]).split(b"\r\n")
    return parts[0].startswith(b"*") and len(parts) > 2 and _answering(parts[2].decode().upper()) == "reply"


# -- by threads --------------------------------------------------------------------------------------------------------


class _Socket(socket.socket):
    script: Script

    def sendall(self, data: Any, flags: int = 0) -> None:
        if _is_sending(data):
            self.script._play("send", self.gettimeout())
        super().sendall(data, flags)


class ScriptedConnection(AbstractConnection):
    """A connection of redis-py's for threads; a subclass belongs to each script."""

    _script: Script
    host = "127.0.0.1"  # an address, so that redis-py need not look it up
    port = 0

    def _connect(self) -> socket.socket:
        self._script._play("connect", self.socket_connect_timeout)
        sock = _Socket(fileno=self._script._connected().detach())
        sock.script = self._script
        sock.settimeout(self.socket_timeout)
        return sock

    def _host_error(self) -> str:
        return "the script"

    def repr_pieces(self) -> list[tuple[str, Any]]:
        """Return what redis-py's `repr` of a connection shows."""
        return [("db", self.db)]


# -- on an event loop --------------------------------------------------------------------------------------------------


class _Writer(asyncio.StreamWriter):
    """Sends nothing before its step is over."""

    script: Script
    _packet = b""

    def writelines(self, data: Iterable[Any]) -> None:
        self._packet += b"".join(data)

    async def drain(self) -> None:
        packet, self._packet = self._packet, b""
        if packet:
            if _is_sending(packet):
                await self.script._play_async("send", None)
            self.write(packet)
        await super().drain()


class ScriptedAsyncConnection(aio.AbstractConnection):
    """A connection of redis-py's for an event loop; a subclass belongs to each script."""

    _script: Script
    host = "127.0.0.1"  # an address, so that redis-py need not look it up
    port = 0

    async def _connect(self) -> None:
        await self._script._play_async("connect", self.socket_connect_timeout)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, sock=self._script._connected())
        self._reader = reader
        self._writer = _Writer(transport, protocol, reader, loop)
        self._writer.script = self._script

    def _host_error(self) -> str:
        return "the script"

    def repr_pieces(self) -> list[tuple[str, Any]]:
        """Return what redis-py's `repr` of a connection shows."""
        return [("db", self.db)]
