"""The server's end of one connection: it reads commands, and answers each as it is told."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import hiredis
from redis.exceptions import ResponseError

from .loop import Channel, Loop
from .replies import Push, Reply, Slow, Status, encode

_ECHOED = {"GET", "ECHO"}


class Peer:
    """Answer the commands of one client, in order; only for the loop's thread.

    `decide` says what the answer to a command is, when its turn has come; "ok" is the usual one. `ended` is called
    when the connection is over.

    Attributes:
        protocol: the version of RESP that the client has asked for
        paused: commands wait until this is unset, and `work` is called

    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        decide: Callable[[str, list[bytes]], Reply],
        ended: Callable[[], object] = lambda: None,
    ) -> None:
        self._loop = loop
        self._decide = decide
        self._ended = ended
        self._reader = hiredis.Reader()
        self._inbox: deque[list[bytes]] = deque()
        self._subscribed: dict[bytes, None] = {}
        self._waiting = False  # a reply is due later, or never: what comes behind it waits
        self._over = False  # the client has hung up: it is answered what it has asked, and left
        self.protocol = 2
        self.paused = False
        self._channel = Channel(loop, sock, self._receive)

    def send(self, value: Any) -> None:
        """Send a value, as `encode` writes it, behind all that was sent before."""
        self._channel.send(encode(value, self.protocol))

    def push(self, values: list[Any]) -> None:
        """Send a push, where Redis would: over RESP3, and in RESP2 to a subscriber, as an array."""
        if self.protocol == 3 or self._subscribed:
            self.send(Push(values))

    def hang_up(self) -> None:
        """End the connection in good order: what was sent arrives, what has come is forgotten."""
        self._inbox.clear()
        self._channel.hang_up()
        self._ended()

    def work(self) -> None:
        """Answer what has come, until something has to wait."""
        while self._inbox and not (self._waiting or self.paused):
            name, *args = self._inbox.popleft()
            self._answer(name.decode("latin-1").upper(), args)
        if self._over and not self.paused:
            self.hang_up()

    def _receive(self, data: bytes) -> None:
        self._over = not data
        self._reader.feed(data)
        try:
            while (parts := self._reader.gets()) is not False:
                if not (isinstance(parts, list) and parts and all(isinstance(part, bytes) for part in parts)):
                    raise hiredis.ProtocolError("a command is an array of bulk strings")
                self._inbox.append(parts)
        except hiredis.ProtocolError as error:
            self.send(ResponseError(f"ERR Protocol error: {error}"))
            self.hang_up()
        self.work()

    def _answer(self, name: str, args: list[bytes]) -> None:
        reply = self._decide(name, args)
        if reply == "ok":
            self._answer_as_usual(name, args)
        elif reply == "never":
            self._waiting = True
        elif isinstance(reply, Slow):
            self._waiting = True
            self._loop.at(time.monotonic() + reply.seconds, partial(self._answer_late, name, args))
        elif isinstance(reply, BaseException) and not isinstance(reply, ResponseError):
            self.hang_up()
        else:
            self.send(reply)

    def _answer_late(self, name: str, args: list[bytes]) -> None:
        self._waiting = False
        self._answer_as_usual(name, args)
        self.work()

    # -- the usual answers -----------------------------------------------------------------------------------------

    def _answer_as_usual(self, name: str, args: list[bytes]) -> None:
        if name.endswith("SUBSCRIBE"):
            self._confirm(name, args)
        elif name == "HELLO":
            self.protocol = int(args[0]) if args else self.protocol
            facts = {"server": "redis", "version": "7.2.0", "proto": self.protocol, "mode": "standalone"}
            self.send(facts)
        elif name == "PING" and self.protocol == 2 and self._subscribed:
            self.send([b"pong", args[0] if args else b""])
        elif name == "PING":
            self.send(args[0] if args else Status("PONG"))
        else:
            self.send(args[0] if name in _ECHOED and args else Status("OK"))

    def _confirm(self, name: str, args: list[bytes]) -> None:
        """Confirm each subscription, or the end of each: of all, if none is named."""
        kind = name.lower().encode()
        ends = b"unsubscribe" in kind
        mark = kind.replace(b"unsubscribe", b"subscribe") + b" "  # there may be a channel and a pattern of one name
        named: list[bytes] | list[None] = (
            args or [each.removeprefix(mark) for each in self._subscribed if each.startswith(mark)] or [None]
        )
        for each in named:
            if each is not None and ends:
                self._subscribed.pop(mark + each, None)
            elif each is not None:
                self._subscribed[mark + each] = None
            self.send(Push([kind, each, len(self._subscribed)]))
