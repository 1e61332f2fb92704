"""Sockets that redis-py has connected and that threads share: one thread sends while another one receives.

A stream receives into its own buffer, which belongs to the thread that receives. `send` passes on what the socket takes
at once: a thread that sends doesn't wait for the server to read.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from . import sockets

DONT_WAIT = getattr(socket, "MSG_DONTWAIT", 0)
"""The second argument of `send`."""

_BUFFER_SIZE = 64 * 1024
_LONGEST_POLL = 3600.0
_AT_ONCE = 0.001  # seconds; the kernel takes 0 for never


class Stream:
    """A plain socket of the standard library. It blocks, so that a reply costs one system call and no poll.

    `readable(0)` returns at once whether there are bytes to receive, or the end; one thread at a time may call it.

    `send(data, DONT_WAIT)` returns how many bytes the socket took at once, `receive(buffer)` how many have come, 0 at
    the end. Both raise `BlockingIOError` for none: `receive` once it has waited for `seconds`.
    """

    interrupted_anywhere = True
    """whether a thread can be interrupted at each of its steps, not only where it waits"""

    _closes = False
    send: Callable[[Any, int], int]
    receive: Callable[[Any], int]

    def __init__(self, sock: Any, seconds: float, readable: sockets.Readable) -> None:
        self.sock = sock
        self.readable = readable
        self.buffer = bytearray(_BUFFER_SIZE)
        self.hurried = False
        self._seconds = seconds
        self._take()
        self._closes = True

    def _take(self) -> None:
        self.sock.settimeout(None)
        self._set_receive_timeout(self._seconds)
        self.send, self.receive = self.sock.send, self.sock.recv_into

    def receive_within(self, seconds: float) -> int:
        """Receive into the buffer, and return how many bytes came; 0 at the end.

        Raises `BlockingIOError` where none have come within `seconds`.
        """
        if not self.wait(sockets.POLLIN, seconds):
            raise _nothing()
        return self.receive(self.buffer)

    def wait(self, events: int, seconds: float) -> int:
        """Wait up to `seconds` for these events of `select.poll`, and return those that have come; 0 for none."""
        poll = sockets.Poll()
        try:
            poll.register(self.sock, events)
        except ValueError as error:  # it was closed meanwhile
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from error
        found: list[tuple[int, int]] = poll.poll(1000 * min(max(0.0, seconds), _LONGEST_POLL))
        return found[0][1] if found else 0

    def has_come(self) -> bool:
        """Return whether there are bytes to receive, or the end."""
        return bool(self.wait(sockets.POLLIN, 0.0))

    def hurry(self) -> None:
        """Have a `receive` that signals have prolonged end at the next signal.

        After each signal the kernel begins to wait anew, for as long as the socket's option says by then.
        """
        self._set_receive_timeout(_AT_ONCE)
        self.hurried = True

    def calm(self) -> None:
        """Have `receive` wait for its usual time again."""
        self.hurried = False
        self._set_receive_timeout(self._seconds)

    def backlog(self) -> int:
        """Return how many bytes of a large request the kernel still has; 0 for a small one."""
        size = sockets.backlog(self.sock)
        return size if size > sockets.LARGE_BACKLOG else 0

    def detach(self, patience: float | None) -> None:
        """Restore the socket for redis-py, with `patience` as its timeout."""
        self._closes = False
        self._set_receive_timeout(0.0)  # else it would end the wait of a later borrower that waits for ever
        self.sock.settimeout(patience)

    def close(self) -> None:
        """Close the socket; no thread may be using it."""
        self.sock.close()

    def __del__(self) -> None:
        """Close the socket of a lost connection whose role an interrupted thread has never left."""
        if self._closes:
            self.sock.close()

    def _set_receive_timeout(self, seconds: float) -> None:
        whole = math.floor(seconds)
        micros = round((seconds - whole) * 1e6)
        with contextlib.suppress(OSError):  # it was closed meanwhile
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", whole, micros))


class _Nonblocking(Stream):
    """The same where the system doesn't bound how long a blocking socket waits: each receive waits for bytes first."""

    def _take(self) -> None:
        self.sock.setblocking(False)
        self.send, self.receive = self.sock.send, self._receive

    def _receive(self, _buffer: Any) -> int:
        return self.receive_within(self._seconds)

    def receive_within(self, seconds: float) -> int:
        if not self.wait(sockets.POLLIN, seconds):
            raise _nothing()
        return int(self.sock.recv_into(self.buffer))

    def hurry(self) -> None:
        """Do nothing: no signal prolongs a poll."""

    def detach(self, patience: float | None) -> None:
        self._closes = False
        self.sock.settimeout(patience)


class _Secured(_Nonblocking):
    """A TLS socket, whose session must not be used for sending and receiving at the same time."""

    def _take(self) -> None:
        self._session = threading.Lock()
        self._unguarded, self.readable = self.readable, self._readable
        self.sock.setblocking(False)
        self.send, self.receive = self._send, self._receive

    def _readable(self, timeout: int) -> Any:
        with self._session:
            return self._unguarded(timeout)

    def receive_within(self, seconds: float) -> int:
        end = time.monotonic() + seconds  # a record may come in many parts
        while True:
            try:
                with self._session:
                    return int(self.sock.recv_into(self.buffer))
            except ssl.SSLWantReadError:
                events = sockets.POLLIN
            except ssl.SSLWantWriteError:
                events = sockets.POLLOUT
            except ssl.SSLZeroReturnError:
                return 0
            if not self.wait(events, end - time.monotonic()):
                raise _nothing()

    def _send(self, data: Any, _flags: int) -> int:
        try:
            with self._session:
                return int(self.sock.send(data))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise _nothing() from None

    def has_come(self) -> bool:
        with self._session:
            decrypted = self.sock.pending()
        return bool(decrypted) or super().has_come()


class _Cooperative(Stream):
    """A socket of another kind, such as gevent's: only its own timeouts let other greenlets run."""

    interrupted_anywhere = False

    def _take(self) -> None:
        self.send, self.receive = self._send, self._receive

    def _receive(self, _buffer: Any) -> int:
        return self._receive_timed(self._seconds)

    def receive_within(self, seconds: float) -> int:
        return self._receive_timed(max(seconds, 0.001))

    def _receive_timed(self, seconds: float) -> int:
        self.sock.settimeout(seconds)
        try:
            return int(self.sock.recv_into(self.buffer))
        except TimeoutError:
            raise _nothing() from None

    def _send(self, data: Any, _flags: int) -> int:
        self.sock.settimeout(self._seconds)
        try:
            return int(self.sock.send(data))
        except TimeoutError:
            raise _nothing() from None

    def hurry(self) -> None:
        """Do nothing: no signal prolongs this wait."""

    def detach(self, patience: float | None) -> None:
        self._closes = False
        self.sock.settimeout(patience)


def _nothing() -> BlockingIOError:
    return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def take_over(connection: Any, seconds: float) -> Stream:
    """Return the stream of a connection that redis-py has opened; its `receive` waits for `seconds`."""
    sock = connection._sock
    connection.multiplexed = True
    connection.leave_socket()
    kinds: dict[str, type[Stream]] = {"socket": Stream if sockets.SYSTEM_WAITS else _Nonblocking, "ssl": _Secured}
    with contextlib.suppress(OSError):
        return kinds.get(type(sock).__module__, _Cooperative)(sock, seconds, connection.readable)
    return _Cooperative(sock, seconds, connection.readable)
