"""A TCP proxy with faults, to stand between a client and its server.

A fault is a few values that are read whenever bytes pass; so it holds for the connections there are and for those to
come, and `heal` puts the values back. Replies wait in one queue for each connection, and are subject to the faults of
the moment at which they leave it.
"""

from __future__ import annotations

import math
import select
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from .loop import HOST, Channel, Loop, bound

_BACKLOG = 128
# A connect on loopback is through at once unless the listener's queue is full.
_PLUGGED_AFTER = 0.2  # seconds
_MOST_PLUGS = 16


@dataclass
class _Faults:
    delay: float = 0.0
    pace: float | None = None
    commands_vanish: bool = False
    replies_vanish: bool = False
    quota: float = math.inf
    pieces: float = math.inf  # of replies, until it hangs up


class _Link:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._held: deque[tuple[float, bytes]] = deque()  # from when on each piece may pass
        self._free_at = 0.0  # when the next byte may pass
        self._next_look = math.inf
        self.quota = proxy._faults.quota
        self.pieces = proxy._faults.pieces
        self.client = Channel(proxy._loop, client, self._command)
        self.server = Channel(proxy._loop, server, self._reply, connecting=True)

    def _command(self, data: bytes) -> None:
        if not data:
            # What it said last still reaches the server, whose own hang-up then ends the link.
            self._proxy._links.discard(self)
            self.client.close()
            self.server.finish()
        elif not self._proxy._faults.commands_vanish:
            self.server.send(data)

    def _reply(self, data: bytes) -> None:
        if not self.client.closed:
            self._held.append((time.monotonic() + self._proxy._faults.delay, data))
            self._let_pass()
        elif not data:
            self.server.close()

    def _let_pass(self) -> None:
        faults = self._proxy._faults
        now = time.monotonic()
        while self._held and max(self._held[0][0], self._free_at) <= now:
            due, data = self._held.popleft()
            if not data and self._silent:
                # The end of the connection isn't seen either, until all is well again.
                self._held.append((due, data))
                return
            if not data:
                self.hang_up()
                return
            if faults.pace is not None and len(data) > 1:
                self._held.appendleft((due, data[1:]))
            self._pass_on(data if faults.pace is None else data[:1])
            self.pieces -= 1
            if self.pieces <= 0:
                self.hang_up()
                return
            if faults.pace is not None:
                self._free_at = now + faults.pace
                break
        self._look_again()

    @property
    def _silent(self) -> bool:
        return self._proxy._faults.replies_vanish or self.quota <= 0

    def _pass_on(self, data: bytes) -> None:
        if not self._silent:
            data = data if self.quota >= len(data) else data[: int(self.quota)]
            self.quota -= len(data)
            self.client.send(data)

    def _look_again(self) -> None:
        if self._held:
            when = max(self._held[0][0], self._free_at)
            if when < self._next_look:
                self._next_look = when
                self._proxy._loop.at(when, self._look)

    def _look(self) -> None:
        self._next_look = math.inf
        if not self.client.closed:
            self._let_pass()

    def heal(self) -> None:
        """Pass on what is held."""
        self.quota = self.pieces = math.inf
        self._free_at = 0.0
        self._held = deque((0.0, data) for _, data in self._held)
        self._let_pass()

    def hang_up(self) -> None:
        """End both connections, the client's in good order."""
        self._proxy._links.discard(self)
        self.client.hang_up()
        self.server.close()

    def reset(self) -> None:
        """End both connections, the client's with RST."""
        self._proxy._links.discard(self)
        self.client.reset()
        self.server.close()


class FaultProxy:
    """A TCP proxy in front of `host:port`, on a free port of 127.0.0.1, that can be made to misbehave.

        with FaultProxy(server.host, server.port) as proxy:
            client = redis.Redis.from_url(proxy.url)
            proxy.delay(0.2)
            ...
            proxy.heal()

    A fault may be set at any time, from any thread. It holds for the connections there are and for those to come, and
    has taken hold when the call returns. Faults add up until `heal()` ends them all; bytes that vanished are gone for
    good. A client that hangs up is always seen by the server. All times are in seconds.

    Attributes:
        host, port, url: where the proxy listens; the URL names database 0
        connections: how many connections have been accepted so far
        open: how many of them the client has open now

    Every method raises `RuntimeError` once the proxy is closed, except `close` itself.

    """

    def __init__(self, host: str, port: int) -> None:
        self._family, self._server = _address(host, port)
        self._accepted = 0
        self._accepting = False
        self._plugs: list[socket.socket] = []
        self._links: set[_Link] = set()
        self._faults = _Faults()
        self._listener = bound()
        self.host = HOST
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://{HOST}:{self.port}/0"
        self._loop = Loop(f"FaultProxy on port {self.port}")
        self._loop.call(self._listen)

    # -- faults ----------------------------------------------------------------------------------------------------

    def delay(self, seconds: float) -> None:
        """Hold each piece of a reply back for so long; their order is kept, and nothing else waits for them."""
        _check("seconds", seconds)
        self._set(delay=seconds)

    def byte_by_byte(self, pause: float = 0.0) -> None:
        """Let replies out one byte at a time, `pause` seconds apart, each in a packet of its own."""
        _check("pause", pause)
        self._set(pace=pause)

    def black_hole(self) -> None:
        """Bytes vanish both ways. New connections are accepted, and never answered."""
        self._set(commands_vanish=True, replies_vanish=True)

    def half_open(self) -> None:
        """Commands reach the server, which carries them out; its replies vanish."""
        self._set(commands_vanish=False, replies_vanish=True)

    def partial(self, count: int) -> None:
        """Let `count` more bytes of replies pass on each connection (a new one: its first `count`), then none."""
        _check("count", count)

        def limit() -> None:
            self._faults.quota = count
            for link in self._links:
                link.quota = count

        self._loop.call(limit)

    def hang_up_after(self, count: int) -> None:
        """Close each connection in good order (FIN) right behind its next `count` pieces of replies.

        A new one is closed behind its first ones. A client that waits for each reply gets one piece for each.
        """
        _check("count", count)

        def limit() -> None:
            self._faults.pieces = count
            for link in self._links:
                link.pieces = count

        self._loop.call(limit)

    def refuse(self) -> None:
        """Stop listening: new connections are refused; those there are stay. The port is kept."""
        self._loop.call(self._stop_listening)

    def stall_accept(self) -> None:
        """Let no connect complete: the listener's queue is full, and stays so. For Linux.

        A connect that waits when the fault ends is through when its side tries again, mostly after a second.
        Raises `RuntimeError` where the system's queue can't be filled.
        """
        self._loop.call(self._stall)

    def heal(self) -> None:
        """End every fault. Replies that were only held back go out now."""

        def mend() -> None:
            self._faults = _Faults()
            if not self._accepting:
                self._stop_listening()
                self._listen()
            for link in list(self._links):
                link.heal()

        self._loop.call(mend)

    def hang_up(self) -> None:
        """Close every client's connection in good order (FIN), now; replies held back are lost. Later ones work."""
        self._each(_Link.hang_up)

    def reset(self) -> None:
        """Break every client's connection (RST), now. Later ones work."""
        self._each(_Link.reset)

    # -- connections -----------------------------------------------------------------------------------------------

    @property
    def connections(self) -> int:
        """Return how many connections have been accepted so far."""
        return self._accepted

    @property
    def open(self) -> int:
        """Return how many connections are open: neither side has hung up, as far as the other can know."""
        return len(self._links)

    def close(self) -> None:
        """Close every connection and the port, and end the proxy's thread. Once closed, nothing happens."""
        self._loop.close()
        self._links.clear()
        for plug in self._plugs:
            plug.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- in the loop's thread --------------------------------------------------------------------------------------

    def _each(self, do: Callable[[_Link], None]) -> None:
        def to_all() -> None:
            for link in list(self._links):
                do(link)

        self._loop.call(to_all)

    def _set(self, **faults: Any) -> None:
        def change() -> None:
            self._faults = replace(self._faults, **faults)

        self._loop.call(change)

    def _listen(self) -> None:
        self._accepting = True
        self._listener.listen(_BACKLOG)
        self._loop.watch(self._listener, selectors.EVENT_READ, lambda _: self._accept())

    def _stop_listening(self) -> None:
        # A listener can't stop listening; another socket keeps the port instead, and what waited in the queue is gone.
        self._accepting = False
        self._loop.drop(self._listener)
        while self._plugs:
            self._plugs.pop().close()
        self._listener = bound(self.port)
        self._loop.watch(self._listener, 0, lambda _: None)

    def _stall(self) -> None:
        self._stop_listening()
        self._listener.listen(0)
        for _ in range(_MOST_PLUGS):
            plug = socket.socket()
            self._plugs.append(plug)
            plug.setblocking(False)
            plug.connect_ex((self.host, self.port))
            if not select.select([], [plug], [], _PLUGGED_AFTER)[1]:
                return
        raise RuntimeError("this system's queue of connections can't be filled")

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # gone again before its turn came
        server = socket.socket(self._family, socket.SOCK_STREAM)
        server.setblocking(False)
        server.connect_ex(self._server)
        self._accepted += 1
        self._links.add(_Link(self, client, server))


def _address(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return family, address


def _check(name: str, value: float) -> None:
    if value < 0:
        raise ValueError(f"{name}={value!r} is negative")
