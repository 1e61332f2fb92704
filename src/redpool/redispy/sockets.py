"""Sockets: whether bytes or the end have come, and after which silence a path counts as dead."""

from __future__ import annotations

import contextlib
import ctypes
import select
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

from .internals import KEEPALIVE_UNSET

with contextlib.suppress(ImportError):  # not on Windows
    import fcntl
    import termios

ANSWER_WITHIN = 1.0
"""Seconds that a server has to answer a PING that validates a connection."""

# Seconds for which data may stay unacknowledged. Below a second, a few lost packets would look like a dead path.
LEAST_SILENCE = 1.0
SILENCE_IF_UNBOUNDED = 30.0
MOST_SILENCE = 86_400.0

# Linux has it, https://man7.org/linux/man-pages/man7/tcp.7.html; in milliseconds.
_TCP_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)

SYSTEM_WAITS = hasattr(select, "poll") and hasattr(socket, "SO_RCVTIMEO") and hasattr(socket, "MSG_DONTWAIT")
"""Whether the system bounds how long a blocking socket waits; elsewhere, such as on Windows, Python has to."""

POLLIN, POLLOUT = getattr(select, "POLLIN", 1), getattr(select, "POLLOUT", 4)

DONT_WAIT = getattr(socket, "MSG_DONTWAIT", 0)
"""The flag with which a send takes what the kernel has room for, and no more."""

AT_ONCE = 0.001
"""Seconds; the kernel takes 0 for ever."""

LARGE_BACKLOG = 64 * 1024
"""Bytes; fewer than that in the kernel are no sign of a slow network."""


def backlog(sock: Any) -> int:
    """Return how many bytes the kernel has taken and the other end hasn't acknowledged; 0 where it can't tell."""
    try:
        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except (NameError, OSError, ValueError):
        return 0


class _Selecting:
    """What `select.poll` does with one socket, where the system has but `select`."""

    def register(self, sock: Any, events: int) -> None:
        """Raise `ValueError` for a closed socket, as `select.poll` does."""
        self._descriptor, self._events = sock.fileno(), events
        if self._descriptor < 0:
            raise ValueError(f"closed: {sock!r}")

    def poll(self, milliseconds: float) -> list[tuple[int, int]]:
        """Return what has come within that time: the descriptor with its events, or nothing."""
        reading, writing = ([self._descriptor] if self._events & event else [] for event in (POLLIN, POLLOUT))
        with contextlib.suppress(OSError):  # it was closed meanwhile, as what is tried next finds
            reading, writing, _ = select.select(reading, writing, [], milliseconds / 1000)
        events = POLLIN * bool(reading) | POLLOUT * bool(writing)
        return [(self._descriptor, events)] if events else []


Poll: Any = getattr(select, "poll", _Selecting)


Readable = Callable[[int], Any]
"""Called with 0, it returns at once a true value where there are bytes to receive, or the end."""


def unknown(_timeout: int) -> bool:
    """Return true for a socket that can't be probed: it may have bytes, and a slower way finds out."""
    return True


def readable(sock: Any) -> Readable:
    """Return the probe of a connected socket, for as long as it is open; `unknown` where it can't be probed.

    The probe is one system call, and the cheapest one that sees bytes as well as the end: receiving with `MSG_PEEK`
    raises where nothing has come, which is the common case. Over TLS the bytes may belong to the session itself.
    """
    try:
        poller = _poll_class()()
        poller.register(sock, POLLIN)
    except (AttributeError, TypeError, ValueError, OSError):
        return unknown
    poll: Readable = poller.poll
    if not hasattr(sock, "pending"):
        return poll
    return lambda timeout: sock.pending() or poll(timeout)  # decrypted already, or still to be


def _poll_class() -> Any:
    """Return the system's `select.poll`: gevent's replacement switches to others, even with a timeout of 0."""
    monkey = sys.modules.get("gevent.monkey")
    return Poll if monkey is None else monkey.get_original("select", "poll")


class _Polled(ctypes.Structure):
    """The system's `struct pollfd`."""

    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


def readable_in_crowd(sock: Any) -> Readable:
    """Return the probe of a plain socket for when other threads wait for the interpreter's lock, which it keeps.

    Python's own releases that lock, although it doesn't wait: one of the threads is woken in vain, since it finds the
    lock taken again. A lone thread finds Python's own cheaper. PyPy has no call that keeps its lock.
    """
    if not hasattr(ctypes, "pythonapi"):
        return readable(sock)
    polled = ctypes.byref(_Polled(sock.fileno(), POLLIN, 0))
    return partial(ctypes.pythonapi.poll, polled, ctypes.c_ulong(1))


def may_block(sock: Any) -> bool:
    """Return whether a socket may block: the standard library's own, without TLS, where the system bounds its waits."""
    return SYSTEM_WAITS and type(sock).__module__ == "socket"


def block(sock: Any, seconds: float | None) -> None:
    """Have such a socket block, and the kernel end a wait for bytes: `BlockingIOError` after so many seconds."""
    sock.settimeout(None)
    set_receive_timeout(sock, seconds)


def unblock(sock: Any, seconds: float | None) -> None:
    """Have the timeout of such a socket be one of Python's again."""
    with contextlib.suppress(OSError, AttributeError):  # it is closed
        set_receive_timeout(sock, None)
        sock.settimeout(seconds)


def set_receive_timeout(sock: Any, seconds: float | None) -> None:
    """Set for how long a blocking socket waits for bytes; `None` for ever."""
    micros = 0 if seconds is None else max(1, round(seconds * 1e6))  # 0 means for ever
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", *divmod(micros, 1_000_000)))


def send_within(sock: Any, data: Any, seconds: float | None) -> None:
    """Send all of it over a blocking socket; raise `TimeoutError` where that takes more seconds."""
    try:
        size = sock.send(data, DONT_WAIT)
    except BlockingIOError:
        size = 0
    if size != len(data):
        sock.settimeout(seconds)
        try:
            sock.sendall(memoryview(data)[size:])
        finally:
            sock.settimeout(None)


def cut(sock: Any) -> None:
    """End a connection under another thread's hands: its user sees the server hang up, and nothing stranger."""
    with contextlib.suppress(OSError):
        # Not sock.shutdown(): that of a TLS socket also pulls the session from under a reader.
        shutdown = socket.socket.shutdown if isinstance(sock, socket.socket) else type(sock).shutdown
        shutdown(sock, socket.SHUT_RDWR)


def time_to_answer(connection: Any) -> float:
    """Return the seconds to wait for the answer to a PING; the connection's `socket_timeout` where that is shorter."""
    own = getattr(connection, "socket_timeout", None)
    return ANSWER_WITHIN if own is None else min(ANSWER_WITHIN, own)


def watch(connection: Any, asked: Mapping[str, Any]) -> None:
    """Add `TCP_USER_TIMEOUT` to the socket options of a connection that isn't open yet, where the platform has it.

    The kernel then ends the connection once data has gone unacknowledged for as long as a reply may take. That is
    `socket_timeout`, or the longer `socket_connect_timeout`, since it bounds connecting, too. It also bounds keepalive
    probes. Users' own `socket_keepalive_options`, or no keepalive at all, stay as they are. Keepalive is on where the
    user has not said.
    """
    options = getattr(connection, "socket_keepalive_options", None)  # none on a Unix socket
    alive, how = KEEPALIVE_UNSET
    by_user = asked.get("socket_keepalive_options", how) is not how
    if isinstance(options, Mapping) and asked.get("socket_keepalive", alive) is alive:
        connection.socket_keepalive = True
    if _TCP_USER_TIMEOUT is not None and isinstance(options, Mapping) and not by_user:
        milliseconds = round(1000 * _longest_silence(connection))
        connection.socket_keepalive_options = _with_limit(_TCP_USER_TIMEOUT, milliseconds, tuple(options.items()))


@lru_cache(maxsize=64)
def _with_limit(option: int, milliseconds: int, others: tuple[tuple[int, Any], ...]) -> dict[int, Any]:
    """Return the options: one dictionary for all connections with the same ones."""
    return {option: milliseconds, **dict(others)}


def _longest_silence(connection: Any) -> float:
    bounds = (connection.socket_timeout, connection.socket_connect_timeout)
    longest = max(SILENCE_IF_UNBOUNDED if bound is None else bound for bound in bounds)
    return float(min(max(LEAST_SILENCE, longest), MOST_SILENCE))


def check_shareable() -> None:
    """Raise `RuntimeError` under eventlet: it lets one greenlet wait for a socket, and callers that share are more."""
    if socket.socket.__module__.startswith("eventlet."):
        raise RuntimeError("eventlet: no connection can be shared: use redpool.ConnectionPool, or gevent")
