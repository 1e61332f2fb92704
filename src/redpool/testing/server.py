"""A server that does as it is told, for tests: real sockets, no process, no data."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

from redis.exceptions import ResponseError

from .loop import HOST, Loop, bound
from .peer import Peer
from .replies import Raw, Reply, check_reply

_BACKLOG = 511

Answer = Reply | Callable[[list[bytes]], Reply]


class Command(NamedTuple):
    """A command that the server has taken up: the number of its connection (from 1), its name in capitals, the rest."""

    connection: int
    name: str
    args: list[bytes]


class ScriptedServer:
    """A server that answers what it is told, in a thread of this process, on a free port of 127.0.0.1.

        with ScriptedServer() as server, redis.Redis.from_url(server.url) as client:
            server.answer("GET", ResponseError("LOADING not yet"), b"bar")
            ...
            assert server.count("GET") == 2

    It speaks RESP2 and RESP3, to clients of any kind, and remembers nothing but what it was asked. What it was not told
    how to answer it answers as a `Script` does: the handshake, PING and subscriptions as Redis, `GET` and `ECHO` with
    their argument, so that swapped replies show, and other commands with OK.

    A reply is

        a value       `bytes`, `int`, `None`, a list or a dict of such, as Redis would send it
        Raw(bytes)    these bytes as they are; with `Raw(b"")` the command gets no reply, but those behind it do
        a step        as for the answers of a `Script`: "ok" (the usual answer), "never" (nor to those behind it),
                      `Slow(seconds)`, a `redis.ResponseError` (an error reply, by its text), any other exception (the
                      server hangs up)
        a function    of the arguments, in the server's thread, that returns one of the above

    Every method may be called from any thread or task; it has taken effect when it returns, and raises `RuntimeError`
    once the server is closed, except `close` itself.

    Attributes:
        host, port, url: where it listens; the URL names database 0

    """

    def __init__(self) -> None:
        self._listener = bound()
        self._listener.listen(_BACKLOG)
        self.host = HOST
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://{HOST}:{self.port}/0"
        self._answers: dict[str, list[Answer]] = {}
        self._commands: list[Command] = []
        self._peers: dict[int, Peer] = {}
        self._accepted = 0
        self._paused = False
        self._loop = Loop(f"ScriptedServer on port {self.port}")
        self._loop.call(lambda: self._loop.watch(self._listener, selectors.EVENT_READ, lambda _: self._accept()))

    # -- what it does ----------------------------------------------------------------------------------------------

    def answer(self, name: str, *replies: Answer) -> None:
        """Answer the command `name` with these replies from now on: one after the other, the last for ever.

        All connections together use them up. With no replies the usual answer is given again. For a command with
        subcommands `name` is its first word. Raises `TypeError` for what is no reply.
        """
        for reply in replies:
            if not callable(reply):
                check_reply(name, reply)
        self._loop.call(lambda: self._answers.update({name.upper(): list(replies)}))

    def push(self, value: list[Any] | Raw) -> None:
        """Send this out of turn, as a push to all who speak RESP3 or have subscribed; `Raw` goes to every client."""
        self._each(lambda peer: peer.send(value) if isinstance(value, Raw) else peer.push(value))

    def pause(self) -> None:
        """Answer no client until `resume()`: as with a stopped process, the system still accepts connections."""
        self._pause(True)

    def resume(self) -> None:
        """Go on, with all that has come meanwhile."""
        self._pause(False)
        self._each(Peer.work)

    def hang_up(self) -> None:
        """Close every client's connection in good order (FIN), now. Later ones work."""
        self._each(Peer.hang_up)

    def close(self) -> None:
        """Close every connection and the port, and end the server's thread. Once closed, nothing happens."""
        self._loop.close()

    # -- what it has seen ------------------------------------------------------------------------------------------

    @property
    def clients(self) -> int:
        """Return how many clients are connected now."""
        return self._loop.call(lambda: len(self._peers))

    @property
    def commands(self) -> list[Command]:
        """Return what it was asked so far, in order, as `(connection, name, args)`; not what waits in a pause."""
        return self._loop.call(lambda: list(self._commands))

    def count(self, name: str) -> int:
        """Return how often it was asked this, whatever the answer."""
        return [each.name for each in self.commands].count(name.upper())

    # -- in the loop's thread --------------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return  # gone again before its turn came
        self._accepted += 1
        number = self._accepted
        peer = Peer(self._loop, sock, partial(self._decide, number), lambda: self._peers.pop(number, None))
        peer.paused = self._paused
        self._peers[number] = peer

    def _decide(self, number: int, name: str, args: list[bytes]) -> Reply:
        self._commands.append(Command(number, name, args))
        answers = self._answers.get(name) or ["ok"]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if not callable(answer):
            return answer
        try:
            reply = answer(args)
            check_reply(name, reply)
        except Exception as error:  # the test's own function failed: its client shall know
            return ResponseError(f"ERR {name} could not be answered: {error!r}")
        return reply

    def _pause(self, paused: bool) -> None:
        def change() -> None:
            self._paused = paused
            for peer in self._peers.values():
                peer.paused = paused

        self._loop.call(change)

    def _each(self, do: Callable[[Peer], None]) -> None:
        def to_all() -> None:
            for peer in list(self._peers.values()):
                do(peer)

        self._loop.call(to_all)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
