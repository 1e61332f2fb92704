"""All that an in-memory server's sessions share; only for the server's own thread."""

from __future__ import annotations

import fnmatch
import itertools
import math
import socket
from collections.abc import Callable, Iterable

from .keyspace import Keyspace
from .loop import Channel, Loop
from .resp import Push
from .session import Session, Waiting

Answer = bytes | Callable[[list[bytes]], bytes | None]


class Backend:
    """Who is connected, what is remembered, and how the test wants it."""

    def __init__(self, loop: Loop, clock: Callable[[], float], password: str | None, max_clients: int) -> None:
        self._loop = loop
        self._numbers = itertools.count(1)
        self.password = password
        self.max_clients = max_clients
        self.paused = False
        self.answers: dict[str, Answer] = {}
        self.log: list[tuple[int, str]] = []
        self.keys = Keyspace(clock, self._changed)
        self.sessions: dict[int, Session] = {}
        self.waiting: list[Session] = []  # in blocking commands, the longest first

    def welcome(self, sock: socket.socket, address: tuple[str, int]) -> None:
        """A client has connected."""
        session = Session(self, next(self._numbers), address)
        session.channel = Channel(self._loop, sock, session.receive)
        if len(self.sessions) >= self.max_clients:
            session.channel.send(b"-ERR max number of clients reached\r\n")
            session.end()
        else:
            self.sessions[session.id] = session

    def forget(self, session: Session) -> None:
        """The client is gone, or has to go."""
        self.sessions.pop(session.id, None)
        if session in self.waiting:
            self.waiting.remove(session)

    def kill(self, sessions: Iterable[Session]) -> int:
        """Hang up on these clients; how many they were."""
        ended = list(sessions)
        for session in ended:
            session.end()
        return len(ended)

    def resume(self) -> None:
        """Take up what came during a pause."""
        self.paused = False
        for session in list(self.sessions.values()):
            session.work()
        self.serve_waiting()

    # -- blocking commands -----------------------------------------------------------------------------------------

    def await_turn(self, session: Session, waiting: Waiting) -> None:
        """The session waits for others to write."""
        self.waiting.append(session)
        if waiting.until < math.inf:
            self._loop.at(waiting.until, self.serve_waiting)

    def serve_waiting(self) -> None:
        """End the blocking commands that have got what they wait for, or have waited long enough."""
        for session in [] if self.paused else list(self.waiting):
            if session.waiting:
                session.try_again()

    # -- what sessions tell each other -------------------------------------------------------------------------------

    def _changed(self, db: int, key: bytes) -> None:
        for session in self.sessions.values():
            session.dirty = session.dirty or (db, key) in session.watched

    def publish(self, channel: bytes, message: bytes) -> int:
        """Tell everybody who listens; how many times it was told."""
        raised = 0
        for session in list(self.sessions.values()):
            if channel in session.channels:
                session.send(Push([b"message", channel, message]))
                raised += 1
            for pattern in session.patterns:
                if matches(pattern, channel):
                    session.send(Push([b"pmessage", pattern, channel, message]))
                    raised += 1
        return raised


def matches(pattern: bytes, channel: bytes) -> bool:
    """Whether a channel's name is meant by a pattern with `*`, `?` and `[...]`."""
    return fnmatch.fnmatchcase(channel.decode("latin-1"), pattern.decode("latin-1"))
