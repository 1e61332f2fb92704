"""An in-memory Redis, for tests: real sockets, no process, and it does as the test says."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from . import data, talk  # noqa: F401  the tables of commands
from .backend import Answer, Backend
from .loop import HOST, Loop, bound

_BACKLOG = 511


class MemoryServer:
    """A small Redis in a thread of this process, on a free port of 127.0.0.1, empty when it begins.

        with MemoryServer() as server:
            redis.Redis.from_url(server.url).set("foo", "bar")
            assert (1, "SET") in server.commands

    It speaks RESP2 and RESP3, to clients of any kind, and knows the commands that tests of connections need: strings,
    lists (blocking, too), hashes, transactions, subscriptions, CLIENT; to others it answers `-ERR unknown command`.
    The answers are those of Redis 7.2, in 16 databases. Keys expire by `clock` (seconds, as `time.time`; a
    `redpool.testing.Clock` will do); a blocking command's timeout is real.

    Every method may be called from any thread; it has taken effect when it returns, and raises `RuntimeError` once the
    server is closed, except `close` itself.

    Attributes:
        host, port, url: where it listens; the URL names database 0, without the password
        password: what the user "default" must say; None lets everybody in. Holds for those who connect from now on
        max_clients: one more is told `-ERR max number of clients reached`, and hung up on
    """

    def __init__(
        self, *, password: str | None = None, max_clients: int = 10_000, clock: Callable[[], float] = time.time
    ) -> None:
        self._listener = bound()
        self._listener.listen(_BACKLOG)
        self.host = HOST
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://{HOST}:{self.port}/0"
        self._loop = Loop(f"MemoryServer on port {self.port}")
        self._backend = Backend(self._loop, clock, password, max_clients)
        self._loop.call(lambda: self._loop.watch(self._listener, selectors.EVENT_READ, lambda _: self._accept()))

    # -- what can be seen ------------------------------------------------------------------------------------------

    @property
    def clients(self) -> int:
        """How many clients are connected now."""
        return self._loop.call(lambda: len(self._backend.sessions))

    @property
    def commands(self) -> list[tuple[int, str]]:
        """What was carried out so far, in order: the connection's id (as CLIENT ID) and the command's name.

        Those of a transaction appear when it is executed. What was refused (unknown, not authenticated, with a wrong
        number of arguments) doesn't appear.
        """
        return self._loop.call(lambda: list(self._backend.log))

    # -- how it behaves --------------------------------------------------------------------------------------------

    @property
    def password(self) -> str | None:
        return self._backend.password

    @password.setter
    def password(self, password: str | None) -> None:
        self._loop.call(lambda: setattr(self._backend, "password", password))

    @property
    def max_clients(self) -> int:
        return self._backend.max_clients

    @max_clients.setter
    def max_clients(self, count: int) -> None:
        self._loop.call(lambda: setattr(self._backend, "max_clients", count))

    def answer(self, name: str, reply: Answer | None) -> None:
        """Answer the command `name` with `reply` from now on, in place of carrying it out; None ends that.

        `reply` is what goes over the wire, such as `b"-READONLY You can't write.\\r\\n"`; with `b""` the client waits
        for ever. Or a function that gets the arguments (bytes), in the server's thread, and returns such bytes, or None
        to have the command carried out this time. For a command with subcommands `name` is its first word.
        """

        def change() -> None:
            self._backend.answers.pop(name.upper(), None)
            if reply is not None:
                self._backend.answers[name.upper()] = reply

        self._loop.call(change)

    def pause(self) -> None:
        """Answer no caller until `resume()`: as a stopped process, connections are still accepted, by the system."""
        self._loop.call(lambda: setattr(self._backend, "paused", True))

    def resume(self) -> None:
        """Go on, with all that came meanwhile."""
        self._loop.call(self._backend.resume)

    def kill_clients(self) -> int:
        """Hang up on every client, in good order; how many they were."""
        return self._loop.call(lambda: self._backend.kill(self._backend.sessions.values()))

    def push(self, raw: bytes) -> None:
        """Send these bytes to every client, out of turn: a push, a stray reply, or rubbish."""

        def send() -> None:
            for session in self._backend.sessions.values():
                session.channel.send(raw)

        self._loop.call(send)

    # -- life ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close every connection and the port, and end the server's thread. Once closed, nothing happens."""
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        try:
            sock, address = self._listener.accept()
        except OSError:
            return  # gone again before we came to it
        self._backend.welcome(sock, address)
