"""Relay to a server, and delay each reply: a network's round trip on one machine.

It runs as a program, `relay.py HOST PORT SECONDS`, so that it takes no turn of the client's interpreter. It prints its
port, then for every line on its standard input the seconds of CPU that it has used so far. It ends where the input
ends, and needs the standard library only.

Commands pass at once, and replies wait for the whole round trip; a client can't distinguish that from half of it each
way.
"""

import os
import select
import selectors
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import NoReturn

_BACKLOG = 1024
_RECEIVE_BYTES = 65536

_clock = time.monotonic


class Relay:
    """Pairs of sockets, and the replies that are on their way, each with the moment at which it is due."""

    def __init__(self, server: tuple[str, int], round_trip: float) -> None:
        self._server = server
        self._round_trip = round_trip
        self._selector = selectors.DefaultSelector()
        # All wait equally long, so they are due in the order in which they came.
        self._held: deque[tuple[float, socket.socket, bytes]] = deque()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(sys.stdin, selectors.EVENT_READ, self._answer)
        self._tell(self._listener.getsockname()[1])

    def run(self) -> NoReturn:
        """Relay until the standard input ends."""
        while True:
            self._wait()
            for key, _ in self._selector.select(0):
                key.data()
            self._send_due()

    def _wait(self) -> None:
        # A selector rounds its time limit up to whole milliseconds, `select` doesn't.
        limit = max(0.0, self._held[0][0] - _clock()) if self._held else None
        select.select([self._selector], [], [], limit)

    def _send_due(self) -> None:
        now = _clock()
        while self._held and self._held[0][0] <= now:
            _, client, data = self._held.popleft()
            if client.fileno() >= 0:
                self._send(client, data)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = socket.create_connection(self._server)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(client, selectors.EVENT_READ, partial(self._pass_on, client, server, False))
        self._selector.register(server, selectors.EVENT_READ, partial(self._pass_on, server, client, True))

    def _pass_on(self, source: socket.socket, target: socket.socket, reply: bool) -> None:
        if source.fileno() < 0:
            return  # the other side ended it a moment ago
        try:
            data = source.recv(_RECEIVE_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            for sock in (source, target):
                self._selector.unregister(sock)
                sock.close()
        elif reply:
            self._held.append((_clock() + self._round_trip, target, data))
        else:
            self._send(target, data)

    @staticmethod
    def _send(sock: socket.socket, data: bytes) -> None:
        # A blocking send is fine: what is measured through a relay is short, and fits into the system's buffers.
        # `_pass_on` notices a closed connection when it reads.
        with suppress(ConnectionError):
            sock.sendall(data)

    def _answer(self) -> None:
        lines = os.read(sys.stdin.fileno(), _RECEIVE_BYTES)
        if not lines:
            sys.exit()
        for _ in range(lines.count(b"\n")):
            self._tell(time.process_time())

    @staticmethod
    def _tell(value: float) -> None:
        sys.stdout.write(f"{value}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    Relay((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).run()
