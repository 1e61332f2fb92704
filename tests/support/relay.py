"""A TCP relay for tests of paths: its flows can fall silent while new ones work, and its uplink can be narrow."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Self

_PIECE = 32 * 1024


class Relay:
    """Stand between clients and a server, on a free port of 127.0.0.1.

    With `uplink`, bytes per second, each flow carries no more than that to the server, and holds little of the rest.
    """

    def __init__(self, host: str, port: int, uplink: float | None = None) -> None:
        self._server, self._uplink = (host, port), uplink
        self._silent: set[socket.socket] = set()
        self._clients: list[socket.socket] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket()
        if uplink is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _PIECE)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self.host: str = "127.0.0.1"
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def silence(self) -> None:
        """Let nothing pass any more over the flows there are, and leave them open; those to come work."""
        self._silent.update(self._clients)

    def close(self) -> None:
        """End all of it."""
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @staticmethod
    def _start(work: object, *args: object) -> None:
        threading.Thread(target=work, args=args, daemon=True, name="relay").start()  # type: ignore[arg-type]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += [client, server]
            self._clients.append(client)
            self._start(self._carry, client, server, client, self._uplink)
            self._start(self._carry, server, client, client, None)

    def _carry(self, source: socket.socket, target: socket.socket, flow: socket.socket, pace: float | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE):
                if flow in self._silent:
                    continue
                target.sendall(data)
                if pace is not None:
                    time.sleep(len(data) / pace)
            target.shutdown(socket.SHUT_WR)
