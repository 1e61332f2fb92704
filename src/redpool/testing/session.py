"""One client's connection, as an in-memory server sees it: its state, and how a command is taken up."""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import hiredis

from .keyspace import Keyspace
from .loop import Channel
from .resp import NO_ARRAY, CommandError, Raw, Several, Status, encode
from .table import COMMANDS

if TYPE_CHECKING:
    from .backend import Backend

# What a blocking command answers when it has to wait.
BLOCKED: Final = object()

_BEFORE_AUTH = {"AUTH", "HELLO", "QUIT"}
_IN_TRANSACTION = {"EXEC", "DISCARD", "MULTI", "WATCH", "QUIT"}
_WHILE_SUBSCRIBED = {"SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "PING", "QUIT"}


@dataclass
class Waiting:
    """A blocking command: what to try again when something has changed, and for how many seconds (0: no end)."""

    attempt: Callable[[], Any]
    seconds: float

    def __post_init__(self) -> None:
        self.until = time.monotonic() + self.seconds if self.seconds else math.inf


class Session:
    """Only for the server's own thread."""

    def __init__(self, backend: Backend, number: int, address: tuple[str, int]) -> None:
        self.backend = backend
        self.id = number
        self.address = "{}:{}".format(*address)
        self.channel: Channel
        self.authenticated = backend.password is None
        self.protocol = 2
        self.db = 0
        self.about = {"name": b"", "lib-name": b"", "lib-ver": b""}
        self.queue: list[tuple[str, list[bytes]]] | None = None  # between MULTI and EXEC
        self.spoilt = False  # a queued command was refused
        self.in_transaction = False  # EXEC is under way
        self.watched: set[tuple[int, bytes]] = set()
        self.dirty = False  # a watched key was changed
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.mute = 0.0  # how many replies are not to be sent
        self.waiting: Waiting | None = None
        self.leaving = False
        self._inbox: deque[list[bytes] | None] = deque()
        self._reader = hiredis.Reader()

    @property
    def keys(self) -> Keyspace:
        """What the server remembers."""
        return self.backend.keys

    # -- taking up -------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Bytes have come from the client; b"" when it has hung up."""
        if not data and self.waiting:
            self.end()
            return
        if not data:
            self._inbox.append(None)
        self._reader.feed(data)
        try:
            while (parts := self._reader.gets()) is not False:
                if not isinstance(parts, list) or not all(isinstance(part, bytes) for part in parts):
                    raise hiredis.ProtocolError("a command is an array of bulk strings")
                self._inbox.append(parts)
        except hiredis.ProtocolError as error:
            self.send(CommandError(f"ERR Protocol error: {error}"))
            self.end()
        self.work()

    def work(self) -> None:
        """Carry out what has come, as far as that is possible now."""
        while self._inbox and not (self.waiting or self.backend.paused or self.leaving):
            parts = self._inbox.popleft()
            if parts is None:
                self.leaving = True
            elif parts:
                self._reply(self._take_up(parts[0].decode("latin-1").upper(), parts[1:]))
                self.backend.serve_waiting()
        if self.leaving:
            self.end()

    def _take_up(self, name: str, args: list[bytes]) -> Any:
        try:
            self._admit(name, args)
        except CommandError as error:
            self.spoilt = self.queue is not None
            return error
        if self.queue is not None and name not in _IN_TRANSACTION:
            self.queue.append((name, args))
            return Status("QUEUED")
        return self.run(name, args)

    def _admit(self, name: str, args: list[bytes]) -> None:
        if self.backend.password is not None and not self.authenticated and name not in _BEFORE_AUTH:
            raise CommandError("NOAUTH Authentication required.")
        if self.protocol == 2 and (self.channels or self.patterns) and name not in _WHILE_SUBSCRIBED:
            raise CommandError(
                f"ERR Can't execute '{name.lower()}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "
                "are allowed in this context"
            )
        if name in self.backend.answers:
            return
        if name not in COMMANDS:
            raise CommandError(f"ERR unknown command '{name}', with args beginning with: ")
        COMMANDS[name].check_arguments(args)

    def run(self, name: str, args: list[bytes]) -> Any:
        """Carry a command out: its reply."""
        self.backend.log.append((self.id, name))
        try:
            answer = self.backend.answers.get(name)
            other = answer(args) if callable(answer) else answer
            return COMMANDS[name].function(self, args) if other is None else Raw(other)
        except CommandError as error:
            return error
        except Exception as error:  # the test's own function failed: its client shall know
            return CommandError(f"ERR {name} could not be answered: {error!r}")

    # -- answering -------------------------------------------------------------------------------------------------

    def _reply(self, value: Any) -> None:
        if value is BLOCKED:
            return
        if self.mute:
            self.mute -= 1
            return
        for each in value if isinstance(value, Several) else [value]:
            self.send(each)

    def send(self, value: Any) -> None:
        """Send a reply or a push, the caller that asked for it."""
        self.channel.send(encode(value, self.protocol))

    def wait(self, waiting: Waiting) -> None:
        """Take up nothing more until the blocking command has ended."""
        self.waiting = waiting
        self.backend.await_turn(self, waiting)

    def try_again(self) -> None:
        """The blocking command ends now, if it can."""
        assert self.waiting is not None
        value = None
        with contextlib.suppress(CommandError):  # a key of another kind: go on waiting
            value = self.waiting.attempt()
        if value is None and time.monotonic() >= self.waiting.until:
            value = NO_ARRAY
        if value is not None:
            self.waiting = None
            self.backend.waiting.remove(self)
            self._reply(value)
            self.work()

    def end(self) -> None:
        """Say goodbye in good order."""
        self.leaving = True
        self.backend.forget(self)
        self.channel.hang_up()
