"""TLS that can't be had: what a failed handshake says, which file is missing, and whether a silent server speaks TLS.

Redis, without TLS, takes the beginning of a handshake for the beginning of a command, and waits for the rest of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

SILENT_AFTER = 1.0
"""Seconds of silence in the first handshake of a pool after which the server is asked whether it speaks without TLS."""

ANSWERS_WITHIN = 1.0
"""Seconds that it then has."""

_QUESTION = b"PING\r\n"

# The path or the server has ended it: the next handshake may succeed.
_BROKEN_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError, ssl.SSLWantReadError,
               ssl.SSLWantWriteError)  # fmt: skip

# What redis-py meets where a file is missing, may not be read, or holds something else.
_OF_FILES = (ssl.SSLError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


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


def check_files(connection: Any, error: OSError) -> None:
    """Raise `ssl.SSLError` with the option and the path of the file, if any, by which a connect over TLS has failed.

    What redis-py raises names no file.
    """
    # Without its password OpenSSL asks for it at the terminal, and there may be none.
    if not (isinstance(error, _OF_FILES) or error.errno == errno.EINVAL):
        return
    options = getattr(connection, "ssl_context", connection)  # where redis-py has them for event loops
    cert, key, ca, folder = (getattr(options, name, None) for name in ("certfile", "keyfile", "ca_certs", "ca_path"))
    for option, path in ("ssl_certfile", cert), ("ssl_keyfile", key), ("ssl_ca_certs", ca), ("ssl_ca_path", folder):
        if path:
            _check(f"{option}={path}", os.stat if path is folder else _open, path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if cert:
        password = getattr(options, "password" if options is not connection else "certificate_password", None)
        # With any password: without one OpenSSL asks for it at the terminal.
        _check(f"ssl_certfile={cert}, ssl_keyfile={key}", context.load_cert_chain, cert, key, password or "")
    if ca:
        _check(f"ssl_ca_certs={ca}", context.load_verify_locations, ca)


def _check(what: str, use: Callable[..., object], *args: Any) -> None:
    try:
        use(*args)
    except OSError as error:
        raise ssl.SSLError(1, f"Can't use {what}: {error.strerror}") from error


def _open(path: str) -> None:
    with open(path, "rb"):
        pass


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
