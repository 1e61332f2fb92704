"""Sockets that were dialled by redis-py and are shared by threads: one of them sends while another one receives.

A stream receives into its own buffer, whose owner is whoever receives. What is sent goes as far as the socket takes it
at once: nobody who sends waits for the server to read.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any

DONT_WAIT = getattr(socket, "MSG_DONTWAIT", 0)
"""What `send` takes as its second argument."""

_BUFFER_SIZE = 64 * 1024
_LONGEST_POLL = 3600.0


class Stream:
    """A plain socket of the standard library. It blocks, so that a reply costs one system call and no poll.

    `send(data, DONT_WAIT)` returns how many bytes the socket took at once, `receive(buffer)` how many have come, 0 at
    the end. Both raise `BlockingIOError` for none: `receive` once the patience of the connection is at its end.
    """

    struck_anywhere = True
    """whether a caller can be interrupted at any of his steps, not only where he waits"""

    send: Callable[[Any, int], int]
    receive: Callable[[Any], int]

    def __init__(self, sock: Any, patience: float | None) -> None:
        self.sock = sock
        self.buffer = bytearray(_BUFFER_SIZE)
        self._take(patience)

    def _take(self, patience: float | None) -> None:
        self.sock.settimeout(None)
        self._set_receive_timeout(patience or 0.0)
        self.send, self.receive = self.sock.send, self.sock.recv_into

    def receive_within(self, seconds: float) -> int:
        """The same within so many seconds."""
        if not self.wait(select.POLLIN, seconds):
            raise BlockingIOError
        return self.receive(self.buffer)

    def wait(self, events: int, seconds: float) -> int:
        """Which of the events of `select.poll` has come within so many seconds."""
        poll = select.poll()
        try:
            poll.register(self.sock, events)
        except ValueError as error:  # it was closed meanwhile
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from error
        found = poll.poll(1000 * min(max(0.0, seconds), _LONGEST_POLL))
        return found[0][1] if found else 0

    def has_come(self) -> bool:
        """Whether there is something to receive, or the end."""
        return bool(self.wait(select.POLLIN, 0.0))

    def give_back(self, patience: float | None) -> None:
        """Leave the socket as redis-py had it."""
        self._set_receive_timeout(0.0)  # else it would strike once somebody waits for ever
        self.sock.settimeout(patience)

    def _set_receive_timeout(self, seconds: float) -> None:
        whole = math.floor(seconds)
        micros = round((seconds - whole) * 1e6)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", whole, micros))


class _Secured(Stream):
    """A TLS socket, whose session must not be used for sending and receiving at the same time."""

    def _take(self, patience: float | None) -> None:
        self._patience = math.inf if patience is None else patience
        self._session = threading.Lock()
        self.sock.setblocking(False)
        self.send, self.receive = self._send, self._receive

    def _receive(self, buffer: Any) -> int:
        return self.receive_within(self._patience)

    def receive_within(self, seconds: float) -> int:
        while True:
            try:
                with self._session:
                    return int(self.sock.recv_into(self.buffer))
            except ssl.SSLWantReadError:
                events = select.POLLIN
            except ssl.SSLWantWriteError:
                events = select.POLLOUT
            except ssl.SSLZeroReturnError:
                return 0
            if not self.wait(events, seconds):
                raise BlockingIOError

    def _send(self, data: Any, flags: int) -> int:
        try:
            with self._session:
                return int(self.sock.send(data))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def has_come(self) -> bool:
        with self._session:
            decrypted = self.sock.pending()
        return bool(decrypted) or super().has_come()

    def give_back(self, patience: float | None) -> None:
        self.sock.settimeout(patience)


class _Cooperative(Stream):
    """A socket of another kind, gevent's for one, whose own timeouts are the only ones that let others run."""

    struck_anywhere = False

    def _take(self, patience: float | None) -> None:
        self._patience = patience
        self.send, self.receive = self._send, self._receive

    def _receive(self, buffer: Any) -> int:
        return self._receive_timed(self._patience)

    def receive_within(self, seconds: float) -> int:
        return self._receive_timed(max(seconds, 0.001))

    def _receive_timed(self, seconds: float | None) -> int:
        self.sock.settimeout(seconds)
        try:
            return int(self.sock.recv_into(self.buffer))
        except TimeoutError:
            raise BlockingIOError from None

    def _send(self, data: Any, flags: int) -> int:
        self.sock.settimeout(self._patience)
        return int(self.sock.send(data))

    def give_back(self, patience: float | None) -> None:
        self.sock.settimeout(patience)


def take_over(connection: Any) -> Stream:
    """The stream of a connection that redis-py has opened; the connection keeps the socket, and closes it."""
    sock, patience = connection._sock, connection.socket_timeout
    kinds: dict[str, type[Stream]] = {"socket": Stream, "ssl": _Secured}
    with contextlib.suppress(OSError):
        return kinds.get(type(sock).__module__, _Cooperative)(sock, patience)
    return _Cooperative(sock, patience)
