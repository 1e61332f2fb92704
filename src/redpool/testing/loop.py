"""One thread that looks after sockets and timers: what the proxy, the server and the script stand on.

Everything that a loop calls back runs in its one thread, so what is touched only there needs no lock. Other threads
come in through `Loop.call`.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_CHUNK = 65536  # bytes
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER of no time at all: a close sends RST
HOST = "127.0.0.1"


def bound(port: int = 0) -> socket.socket:
    """Return a socket bound to a loopback port (0: a free one), not listening yet: the port is ours, and refuses."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((HOST, port))
    sock.setblocking(False)
    return sock


class Loop:
    """A thread with a selector and a heap of timers, until `close`."""

    def __init__(self, name: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._owned: set[socket.socket] = set()
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._door = threading.Lock()
        self._open = True
        self._bell, self._ear = socket.socketpair()
        self.watch(self._ear, _READ, lambda _: self._answer_calls())
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T]) -> T:
        """Have the loop run `function`, and wait for what it returns or raises."""
        if threading.current_thread() is self._thread:
            return function()
        answer: Future[T] = Future()
        with self._door:
            if not self._open:
                raise RuntimeError(f"{self._thread.name} is closed")
            self._calls.append((function, answer))
            self._bell.send(b"!")
        return answer.result()

    def at(self, when: float, function: Callable[[], object]) -> None:
        """Have `function` run at a time of `time.monotonic()`; only from the loop's own thread."""
        heapq.heappush(self._timers, (when, next(self._numbers), function))

    def watch(self, sock: socket.socket, events: int, ready: Callable[[int], object]) -> None:
        """Call `ready` whenever one of `events` has come; with no events, only keep the socket until the end."""
        self._owned.add(sock)
        registered = sock in self._selector.get_map()
        if not events:
            if registered:
                self._selector.unregister(sock)
        elif registered:
            self._selector.modify(sock, events, ready)
        else:
            self._selector.register(sock, events, ready)

    def drop(self, sock: socket.socket) -> None:
        """Close a socket."""
        self.watch(sock, 0, lambda _: None)
        self._owned.discard(sock)
        sock.close()

    def close(self) -> None:
        """End the thread and close every socket. Once closed, nothing happens."""
        with contextlib.suppress(RuntimeError):
            self.call(self._shut)
        self._thread.join()

    def _shut(self) -> None:
        self._open = False

    def _run(self) -> None:
        try:
            while self._open:
                pause = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
                ready = self._selector.select(pause)
                # What came before a call is done before it, in whichever order the system tells of sockets.
                for key, events in sorted(ready, key=lambda each: each[0].fileobj is self._ear):
                    key.data(events)
                self._run_timers(time.monotonic())
        finally:
            self._end()

    def _run_timers(self, now: float) -> None:
        # Those set meanwhile wait for the next turn, so that sockets get theirs.
        due = []
        while self._timers and self._timers[0][0] <= now:
            due.append(heapq.heappop(self._timers)[2])
        for function in due:
            function()

    def _answer_calls(self) -> None:
        for _ in self._ear.recv(_CHUNK):  # one byte for each call
            function, answer = self._calls.popleft()
            try:
                answer.set_result(function())
            except BaseException as error:
                answer.set_exception(error)

    def _end(self) -> None:
        with self._door:
            self._open = False
            for _, answer in self._calls:
                answer.set_exception(RuntimeError(f"{self._thread.name} is closed"))
        self._selector.close()
        for sock in (*self._owned, self._bell):
            sock.close()


class Channel:
    """A connected socket of a loop: what comes in is handed to `received`, what doesn't go out at once is kept.

    `received` gets b"" once, when the other side has hung up or the connection is broken. Only for the loop's thread.
    """

    def __init__(
        self, loop: Loop, sock: socket.socket, received: Callable[[bytes], object], connecting: bool = False
    ) -> None:
        sock.setblocking(False)
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop = loop
        self._sock = sock
        self._received = received
        self._out = bytearray()
        self._blocked = connecting
        self._reading = True
        self._finishing = False
        self.closed = False
        self._watch()

    def send(self, data: bytes) -> None:
        """Send this after all that was sent before."""
        if not (self.closed or self._finishing):
            self._out += data
            self._write()

    def finish(self) -> None:
        """Say FIN once everything is sent; the other side may go on."""
        self._finishing = True
        self._write()

    def hang_up(self) -> None:
        """Say FIN once everything is sent, listen to nothing more, and close when the other side has closed."""
        self._received = lambda data: None if data else self.close()
        self.finish()
        if not self._reading:
            self.close()

    def reset(self) -> None:
        """Break the connection with RST, now."""
        if not self.closed:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            self.close()

    def close(self) -> None:
        """Close the socket, whatever is still to be sent."""
        if not self.closed:
            self.closed = True
            self._loop.drop(self._sock)

    def _watch(self) -> None:
        self._loop.watch(self._sock, _READ * self._reading | _WRITE * self._blocked, self._ready)

    def _ready(self, events: int) -> None:
        if events & _WRITE and not self.closed:
            self._blocked = False
            self._write()
            self._watch()
        if events & _READ and not self.closed and self._reading:
            self._read()

    def _write(self) -> None:
        if self.closed or self._blocked:
            return
        try:
            while self._out:
                del self._out[: self._sock.send(self._out)]
            if self._finishing:
                self._sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            self._blocked = True
            self._watch()
        except OSError:
            self._out.clear()  # it is broken: reading will tell

    def _read(self) -> None:
        try:
            data = self._sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._reading = False
            self._watch()
        self._received(data)
