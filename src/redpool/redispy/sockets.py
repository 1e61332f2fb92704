"""What is asked of sockets: whether anything has come, and how soon a path is given up over which nothing does."""

from __future__ import annotations

import fcntl
import select
import socket
import sys
import termios
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from redis.utils import SENTINEL

ANSWER_WITHIN = 1.0
"""Seconds that a server has to answer a PING which only asks whether it is still there."""

# Seconds for which data may stay unacknowledged. Below a second, a few lost packets would look like a dead path.
LEAST_SILENCE = 1.0
SILENCE_IF_UNBOUNDED = 30.0
MOST_SILENCE = 86_400.0

# Linux has it, https://man7.org/linux/man-pages/man7/tcp.7.html; in milliseconds.
_TCP_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)


LARGE_BACKLOG = 64 * 1024
"""Bytes; less than that in the kernel is no sign of a slow network."""


def backlog(sock: Any) -> int:
    """Return how many bytes the kernel has taken and the other end hasn't acknowledged; 0 where it can't tell."""
    try:
        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except (OSError, ValueError):
        return 0


Readable = Callable[[int], Any]
"""Called with 0, it returns at once whether there is anything to receive, or the end: something true, if so."""


def unknown(timeout: int) -> bool:
    """Say that there may be something, where a socket can't be asked: then a slower way tells."""
    return True


def readable(sock: Any) -> Readable:
    """Return what asks a connected socket, for as long as it is open; `unknown` where it can't be asked.

    It is one system call, and the cheapest one that sees bytes as well as the end: receiving with `MSG_PEEK` raises
    where nothing has come, which is the usual case. Over TLS, what has come may be the session's own.
    """
    try:
        poller = _poll_class()()
        poller.register(sock, select.POLLIN)
    except (AttributeError, TypeError, ValueError, OSError):
        return unknown
    poll: Readable = poller.poll
    if not hasattr(sock, "pending"):
        return poll
    return lambda timeout: sock.pending() or poll(timeout)  # decrypted already, or to come


def _poll_class() -> Any:
    """Return the system's `select.poll`: what gevent puts in its place lets others run, even with a timeout of 0."""
    monkey = sys.modules.get("gevent.monkey")
    return select.poll if monkey is None else monkey.get_original("select", "poll")


def time_to_answer(connection: Any) -> float:
    """Seconds to wait for the answer to a PING; less where the connection's own `socket_timeout` is shorter."""
    own = getattr(connection, "socket_timeout", None)
    return ANSWER_WITHIN if own is None else min(ANSWER_WITHIN, own)


def watch(connection: Any, asked: Mapping[str, Any]) -> None:
    """Give a connection, not yet opened, `TCP_USER_TIMEOUT` among its socket options, where the platform has it.

    The kernel then ends it once data has gone unacknowledged for as long as a reply may take: `socket_timeout`, or the
    longer `socket_connect_timeout`, since connecting is subject to it, too. Keepalive probes are bounded by it as well.
    Users who set `socket_keepalive_options` themselves, or no keepalive at all, have what they asked for.
    """
    options = getattr(connection, "socket_keepalive_options", None)  # none on a Unix socket
    by_user = asked.get("socket_keepalive_options", SENTINEL) is not SENTINEL
    if _TCP_USER_TIMEOUT is not None and isinstance(options, Mapping) and not by_user:
        milliseconds = round(1000 * _longest_silence(connection))
        connection.socket_keepalive_options = _with_limit(_TCP_USER_TIMEOUT, milliseconds, tuple(options.items()))


@lru_cache(maxsize=64)
def _with_limit(option: int, milliseconds: int, others: tuple[tuple[int, Any], ...]) -> dict[int, Any]:
    """The options, one dictionary for all connections that have the same."""
    return {option: milliseconds, **dict(others)}


def _longest_silence(connection: Any) -> float:
    bounds = (connection.socket_timeout, connection.socket_connect_timeout)
    longest = max(SILENCE_IF_UNBOUNDED if bound is None else bound for bound in bounds)
    return float(min(max(LEAST_SILENCE, longest), MOST_SILENCE))
