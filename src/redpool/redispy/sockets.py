"""How soon a path is given up over which nothing comes back."""

from __future__ import annotations

import fcntl
import socket
import sys
import termios
from collections.abc import Mapping
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
