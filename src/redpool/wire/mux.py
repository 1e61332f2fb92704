"""Sharing one connection: many callers' commands in one line, replies matched to them in order.

Rules:

- The order in which entries are written is the order in which their replies come; an entry's commands are written in
  one piece, so that a packed pipeline or a MULTI … EXEC is nobody else's business.
- An entry whose caller has left stays in the line, and its replies are dropped; one that wasn't written yet never is.
- An entry is marked as sent before its first byte can leave.
- At most `max_in_flight` commands await a reply; the others stay queued, first come first served. An entry that is
  larger than that goes alone.

Nothing here waits, locks or does I/O. It also holds when callers queue from many threads, while one of them writes and
one of them reads: `queued` and `pending` are deques, whose ends are safe to use at the same time, `written` belongs to
the writer and `answered` to the reader. Only `lost` may come in between them, from any thread, and again once they are
done: nobody takes for granted that what he has seen in a line is still there.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import hiredis

_Push: Any = hiredis.PushNotification

WRITE_SIZE = 256 * 1024
"""A write takes no further entry beyond so many bytes: what a socket takes at once, more or less."""

LARGE_REPLY = 128 * 1024
"""Replies beyond so many bytes hold those behind them up."""


class Entry:
    """One caller's place in the line: what is sent, and what has come back.

    `commands` is one command, a tuple, or a list of them; `replies` the reply to the one, or the list of them.
    """

    # What an entry seldom has stands here, so that making one sets little.
    sent = done = gone = large = False
    error: BaseException | None = None
    waker: Any = None
    """whatever tells its caller"""
    heavy = False
    """its last reply was large"""
    moves = 0
    """how many connections were lost before it was sent"""
    turn = math.inf
    """until when its caller waits for room"""
    until = math.inf
    """until when its caller waits for the reply"""

    def __init__(self, commands: Sequence[Any], data: bytes, expects: int = 0, decode: bool = True) -> None:
        self.commands = commands
        self.data = data
        self.expects = expects  # replies still to come in a list; 0 for a single command
        self.decode = decode
        self.replies: Any = [] if expects else None

    def renew(self) -> None:
        """Ready for another connection: it was not sent over this one."""
        self.done, self.error, self.moves, self.turn = False, None, self.moves + 1, math.inf


class Look(NamedTuple):
    """How a shared connection was found, in seconds, as exact as one looks often."""

    unused: float
    """since anybody has sent anything"""
    unheard: float
    """since anything has come"""
    silent: float
    """since something was awaited and nothing has come"""


class MuxCore:
    """The line of one shared connection."""

    def __init__(self, reader: hiredis.Reader, not_enough: object, max_in_flight: int, batches: list[int]) -> None:
        """Replies come from `reader`, which returns `not_enough` where it has no whole one."""
        self.queued: deque[Entry] = deque()
        self.pending: deque[Entry] = deque()
        self.written = self.answered = 0  # commands
        self.heard = 0  # times that anything came in
        self.abandoned = 0
        self.over = False  # it is lost
        self._max_in_flight = max_in_flight
        self._feed, self._gets, self._not_enough = reader.feed, reader.gets, not_enough
        self._batches = batches  # how many writes had so many commands; the last counts all larger ones
        self._largest_batch = len(batches) - 1
        self.probes = 0  # of the commands those that nobody asked for
        self._seen_used = self._seen_heard = -1
        self._used_at = self._heard_at = self._waiting_since = 0.0
        self._untold: list[Entry] = []  # answered just before an error came up
        self._arrived = 0  # bytes that came in before those with the end of a reply

    @property
    def in_flight(self) -> int:
        """Commands that await a reply."""
        return self.written - self.answered

    @property
    def full(self) -> bool:
        """Whether new entries have to wait for room."""
        return self.written - self.answered + len(self.queued) >= self._max_in_flight

    @property
    def waiting(self) -> int:
        """How many commands, or pipelines, wait for room."""
        return max(0, self.written - self.answered + len(self.queued) - self._max_in_flight)

    @property
    def load(self) -> int:
        """How much is in front of a new entry."""
        return self.written - self.answered + len(self.queued)

    def ready(self) -> bool:
        """Whether there is something to be written, and room for it."""
        try:
            count = self.queued[0].expects or 1
        except IndexError:  # whoever writes may take it out just now
            return False
        flying = self.written - self.answered
        return not flying or flying + count <= self._max_in_flight

    def take_output(self) -> bytes:
        """What is to be written next, in one piece; nothing where all is written, or enough is in flight."""
        queued, pending = self.queued, self.pending
        if len(queued) == 1 and self.written == self.answered:
            return self._take_one()
        pieces: list[bytes] = []
        size = commands = 0
        while queued and size < WRITE_SIZE:
            try:
                count = queued[0].expects or 1
                flying = self.written - self.answered
                if flying + count > self._max_in_flight and flying:
                    break
                entry = queued.popleft()
            except IndexError:  # lost meanwhile
                break
            entry.sent = True
            if entry.gone:
                entry.sent = False
                continue
            pending.append(entry)
            self.written += count
            commands += count
            pieces.append(entry.data)
            size += len(entry.data)
        if commands:
            self._batches[commands if commands < self._largest_batch else self._largest_batch] += 1
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _take_one(self) -> bytes:
        """The same where nothing is in flight, and one entry waits: the way of a lone caller."""
        try:
            entry = self.queued.popleft()
        except IndexError:  # lost meanwhile
            return b""
        entry.sent = True
        if entry.gone:
            entry.sent = False
            return b""
        count = entry.expects or 1
        self.pending.append(entry)
        self.written += count
        self._batches[count if count < self._largest_batch else self._largest_batch] += 1
        return entry.data

    def receive(self, data: Any, size: int, push: Callable[[Any], object]) -> list[Entry]:
        """The entries that are answered now by the first `size` bytes of `data`; push frames go to `push`.

        Raises what hiredis raises of bytes that are no replies, and `ConnectionAbortedError` for a reply that nobody
        awaits.
        """
        gets, pending, not_enough = self._gets, self.pending, self._not_enough
        self._feed(data, 0, size)
        self.heard += 1
        answered: list[Entry] = []
        entry: Entry | None = None
        try:
            while True:
                try:
                    entry = pending[0] if pending else None
                except IndexError:  # lost meanwhile
                    entry = None
                try:
                    reply = gets() if entry is None or entry.decode else gets(False)
                except UnicodeError as error:
                    reply = error  # its caller's alone: the reader has gone on behind it
                if reply is not_enough:
                    self._arrived += 0 if answered else size
                    return answered
                if type(reply) is _Push:
                    push(reply)
                    continue
                if entry is None:
                    if self.over:
                        return answered
                    raise ConnectionAbortedError(f"a reply that nobody awaits: {reply!r:.60}")
                if entry.expects < 2 and not self._take_out(entry):
                    return answered
                self.answered += 1
                if self._arrived > LARGE_REPLY:
                    entry.large = True
                self._arrived = 0
                if entry.expects:
                    entry.replies.append(reply)
                    entry.expects -= 1
                    if entry.expects:
                        continue
                else:
                    entry.replies = reply
                entry.done = True
                answered.append(entry)
        except BaseException:
            self._untold += answered
            if entry is not None and not entry.done and entry not in pending:
                pending.appendleft(entry)  # it was in hand: whoever loses the connection finds it there
            raise

    def _take_out(self, entry: Entry) -> bool:
        """Take the first entry out of the line; False where the line was lost meanwhile."""
        try:
            first = self.pending.popleft()
        except IndexError:
            return False
        if first is not entry:  # it came in after that, and goes the same way
            self.pending.appendleft(first)
            return False
        return True

    def looked_at(self, now: float) -> Look:
        """What has gone on since the look before."""
        if (used := self.written - self.probes) != self._seen_used:
            self._seen_used, self._used_at = used, now
        if self.heard != self._seen_heard:
            self._seen_heard, self._heard_at = self.heard, now
        if not self.pending:
            self._waiting_since = now
        return Look(now - self._used_at, now - self._heard_at, now - max(self._heard_at, self._waiting_since))

    def abandon(self, entry: Entry) -> bool:
        """Its caller leaves; whether the command may have run."""
        entry.gone = True
        if not entry.done:
            self.abandoned += 1
            if not entry.sent and self.full:  # it would stay for as long as nobody can write
                with contextlib.suppress(ValueError, IndexError):  # taken out, or others are at it
                    self.queued.remove(entry)
        return entry.sent

    def lost(self, error: BaseException) -> list[Entry]:
        """The connection is gone: all who are in the line, each with the error, and `sent` as it is known.

        With those who are answered and were not told, since their replies came together with what ended it.
        """
        lost, self._untold = self._untold, []
        self.over = True
        for line in (self.pending, self.queued):
            with contextlib.suppress(IndexError):
                while True:
                    entry = line.popleft()
                    if not entry.done:
                        entry.error, entry.done = error, True
                        lost.append(entry)
        self.answered = self.written
        return lost
