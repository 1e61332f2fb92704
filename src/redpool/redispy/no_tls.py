"""TLS that can't be had: what a failed handshake says, and whether a server that is silent in it speaks TLS at all.

Redis, without TLS, takes the beginning of a handshake for the beginning of a command, and waits for the rest of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

SILENT_AFTER = 1.0
"""Seconds of silence in the first handshake of a pool after which the server is asked whether it speaks without TLS."""

ANSWERS_WITHIN = 1.0
"""Seconds that it then has."""

_QUESTION = b"PING\r\n"

# The path or the server has ended it: the next handshake may succeed.
_BROKEN_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError, ssl.SSLWantReadError,
               ssl.SSLWantWriteError)  # fmt: skip


def rejected(error: BaseException) -> bool:
    """Return whether a connect has failed because one side has rejected the other's TLS: its certificate, its version.

    redis-py makes an error of its own of it: the one of TLS is the cause or the context of that.
    """
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ssl.SSLError):
            return not isinstance(link, _BROKEN_OFF)
        link = link.__cause__ or link.__context__
    return False


class Proof:
    """What a pool has found out of its server: that it speaks TLS, or at least nothing without."""

    __slots__ = ("given",)

    def __init__(self) -> None:
        self.given = False


def plain() -> ssl.SSLError:
    """Return what a connect fails with where the server speaks without TLS."""
    return ssl.SSLError(1, "The server does not speak TLS there: leave TLS out (redis://), or give its port for TLS")


def is_no_handshake(error: ssl.SSLError) -> bool:
    """Return whether the server has answered with something else than TLS."""
    return error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")


def is_plain(host: str, port: int) -> bool:
    """Return whether the server speaks without TLS: the first byte of what it answers to a PING tells."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), ANSWERS_WITHIN) as sock:
        sock.sendall(_QUESTION)
        return _is_reply(sock.recv(1))
    return False


async def is_plain_async(host: str, port: int) -> bool:
    """As `is_plain`, on the running loop."""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(ANSWERS_WITHIN):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_QUESTION)
                return _is_reply(await reader.read(1))
            finally:
                writer.close()
    return False


def _is_reply(first: bytes) -> bool:
    return first in (b"+", b"-")
