"""A client that is nothing but a socket: what it gets is what was sent."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any, Self

import hiredis

PATIENCE = 10.0  # seconds; nothing that is due takes so long


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread brings about."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.001)


class ErrorReply(Exception):
    """An error reply: not raised, but compared and shown as its text, with a minus before it."""

    def __str__(self) -> str:
        return f"-{self.args[0]}"


class Wire:
    """A connection to a port of 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._reader = hiredis.Reader(replyError=ErrorReply)

    def send(self, *parts: str | bytes) -> None:
        """One command."""
        args = [part.encode() if isinstance(part, str) else part for part in parts]
        self._sock.sendall(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args))

    def send_raw(self, data: bytes) -> None:
        """These bytes."""
        self._sock.sendall(data)

    def read(self) -> Any:
        """One reply; an error reply is an `ErrorReply`. `EOFError` where the server has hung up."""
        while (reply := self._reader.gets()) is False:
            data = self._sock.recv(65536)
            if not data:
                raise EOFError
            self._reader.feed(data)
        return reply

    def ask(self, *parts: str | bytes) -> Any:
        """One command and its reply."""
        self.send(*parts)
        return self.read()

    def receive(self, count: int) -> bytes:
        """So many bytes, as they are."""
        data = b""
        while len(data) < count and (more := self._sock.recv(count - len(data))):
            data += more
        return data

    def silent(self, seconds: float = 0.05) -> bool:
        """Whether nothing comes for a while."""
        self._sock.settimeout(seconds)
        try:
            return self._sock.recv(1, socket.MSG_PEEK) is None
        except TimeoutError:
            return True
        finally:
            self._sock.settimeout(PATIENCE)

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
