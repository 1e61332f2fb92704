"""Which multiplexed connection a request had better take, what is to be done about one, and how many pay.

What holds others up, long pipelines and what was large the last time, goes over a connection apart.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from .commands import Args, Sent, may_answer_at_length, read_only
from .pipeline import Activity, Pipeline, Request

MOST_ENDING = 4
"""So many connections may still be ending when another one is taken to be stalled: the server may be at fault."""

LARGEST_BATCH = 4096
"""The most commands in a write that are counted apart."""

LONG_PIPELINE = 500
"""Commands; a longer pipeline holds others up."""

LARGE_REQUEST = 128 * 1024
"""Bytes; the same of what is sent."""

MOST_MOVES = 3
"""How often a call that was not sent moves on to another connection, if they break one after another."""

PROBE = ("PING",)
"""What is sent over a connection over which nothing has come for long."""

STALLED_AFTER = 1.0
"""Seconds after which a connection that owes a reply is taken to be stalled, so that others go elsewhere."""

_MOST_LARGE = 1024
_WORDS = (str, bytes, int)
_Key = tuple[object, ...] | None

# A server that is busy is silent, too: only after so many times the patience of a caller is a path taken to be dead.
_TIMES_SILENT = 3


class LargeReplies:
    """The commands whose last reply was large, or because of which a server has hung up, by name and key."""

    def __init__(self) -> None:
        self.known: dict[_Key, bool] = {}  # whether the server has hung up

    def knows(self, request: Request) -> bool:
        """Return whether its reply was large the last time, or never came since the server has hung up."""
        return bool(self.known) and self._key(request) in self.known

    def stands_apart(self, request: Request) -> bool:
        """Return whether it must not go over a connection that others share, if there can be another one."""
        return bool(self.known) and self.known.get(self._key(request), False)

    def note(self, request: Request) -> None:
        """Remember a request whose reply was large; forget one whose reply no longer is."""
        key = self._key(request)
        if key is None:
            return
        if request.large:
            self._remember(key, hung_up=False)
        else:
            self.known.pop(key, None)

    def note_hang_up(self, pending: Iterable[Request]) -> None:
        """Remember for which request the server may have hung up, as it does beyond its output buffer limit.

        That stood at the head, but for those whose replies are short: they may have been lost with it. A reply that
        comes next time, and is small, clears it.
        """
        for request in pending:
            if request.done:
                continue
            key = self._key(request)
            if key is None or request.commands is PROBE:
                return
            if may_answer_at_length(request.commands):
                self._remember(key, hung_up=True)
                return

    def forget_hang_ups(self) -> None:
        """Clear all: the server can't be reached, so that it has hung up on everybody."""
        for key in [key for key, hung_up in self.known.copy().items() if hung_up]:
            self.known.pop(key, None)

    def _remember(self, key: _Key, hung_up: bool) -> None:
        self.known[key] = hung_up
        if len(self.known) > _MOST_LARGE:
            with contextlib.suppress(StopIteration, RuntimeError):  # other threads are at it
                self.known.pop(next(iter(self.known)), None)

    @staticmethod
    def _key(request: Request) -> _Key:
        if type(request.commands) is not tuple:
            return None
        key = request.commands[:2]
        return key if isinstance(key[0], _WORDS) and isinstance(key[-1], _WORDS) else None


class HealthAction(Enum):
    """What is to be done about a multiplexed connection, as far as observing it can tell."""

    PROBE = "nothing has come for long, so that the server is asked for a word"
    SUSPECT = "nothing has flowed for a while, though a reply is awaited: new requests had better go elsewhere"
    RETIRE = "no caller needs it"
    LOSE = "nothing has flowed for so long that it is dead"


def health_action(
    pipeline: Pipeline, seen: Activity, patience: float, answer_within: float, retire_after: float, probe_after: float
) -> HealthAction | None:
    """Return what is due, by what was seen of a connection, all in seconds.

    Callers have `patience`, a server that is probed answers within so many, a connection is retired after so many in
    which no caller has used it, and probed after so many in which nothing has come.
    """
    head = pipeline.head
    probed = head is not None and head.commands is PROBE and pipeline.in_flight == 1
    if seen.silent >= (min(patience, answer_within) if probed else _TIMES_SILENT * patience):
        return HealthAction.LOSE
    if head is not None and seen.silent >= min(patience, STALLED_AFTER):
        return HealthAction.SUSPECT
    if seen.unused >= retire_after:
        return HealthAction.RETIRE
    if seen.unheard >= probe_after and head is None:
        return HealthAction.PROBE
    return None


def may_go_elsewhere(pipeline: Pipeline, request: Request) -> bool:
    """Return whether a request had better go over another connection than the one that is stalled.

    It may where it only reads, and waits behind one that doesn't: a write while the server pauses writes, for one.
    """
    head = pipeline.head
    return head is not None and head is not request and may_move(request) and not _only_reads(head.commands)


def may_move(request: Request) -> bool:
    """Return whether a request can be sent over another connection, too, without making any difference."""
    return request.moves < MOST_MOVES and _only_reads(request.commands)


def _only_reads(sent: Sent) -> bool:
    several: Sequence[Args] = [sent] if type(sent) is tuple else sent
    return all(read_only(args) for args in several)


# -- how many pay ------------------------------------------------------------------------------------------------------

BUSY, BUSY_LOOKS = 8, 3
"""Requests under way for each connection, at so many looks in a row, that have another one tried."""

QUIET, QUIET_LOOKS = 2, 60
"""With fewer than so many for each connection, at so many looks in a row, one is retired."""

ROUNDS = 3
"""How often a trial compares a window with the further connection to those before and after it."""

CONNECT_LOOKS = 5
"""Looks after which a connection that is to be tried is taken to be not to be had."""

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 640.0
"""Seconds from a trial that failed to the next one; they double."""

_MUCH_MORE, _AS_MANY, _MUCH_LESS = 1.15, 0.95, 0.5
_SHORTEST_WINDOW, _LONGEST_WINDOW = 0.9, 30.0  # a look may come early
# What was under way at a switch counts for the window behind it: so many times as much must be answered there.
_TIMES_UNDER_WAY = 8
_MOST_DECISIONS = 8


class Window(NamedTuple):
    """What was seen between two looks."""

    rate: float
    """replies a second"""
    under_way: int
    """requests, when it ended"""

    def beats(self, other: Window) -> bool:
        """Return whether it has many more replies, or as many to half as many callers: each waits half as long."""
        if self.rate >= _MUCH_MORE * other.rate:
            return self.rate > 0
        return self.rate >= _AS_MANY * other.rate and self.under_way <= _MUCH_LESS * other.under_way

    def __str__(self) -> str:
        return f"{self.rate:.0f} replies/s, {self.under_way} under way"


class Spread:
    """Over how many multiplexed connections requests are spread: as many as pay, up to a maximum.

    A further connection pays where the server serves each one by a thread of its own. Elsewhere it costs: requests
    are written in more and smaller pieces. Nothing but a trial can tell:

    1. Where many requests are under way at three looks in a row, a further connection is opened.
    2. Requests take it in every other window of a second or more, so that a load that grows or shrinks favors neither.
    3. It is kept if each of three windows with it beats the windows before and after, which do without.
    4. Else it is retired at once, and the pause until the next trial doubles.
    5. Where hardly anything is under way for a minute, one that was kept is retired.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.kept = self.wanted = self.taking = 1
        """those that have proved to pay; those there should be; those that requests take"""
        self.decisions: deque[tuple[float, str]] = deque(maxlen=_MOST_DECISIONS)
        self._since, self._answered = -math.inf, 0
        self._busy = self._quiet = self._missing = 0  # looks in a row
        self._windows: list[Window] | None = None  # of a trial, every other one with the further connection
        self._not_before, self._pause = -math.inf, FIRST_PAUSE

    @property
    def quiet(self) -> bool:
        """Whether so little is under way that a connection that is missing need not be replaced."""
        return self._quiet > 0

    def look(self, now: float, answered: int, under_way: int, there: int) -> None:
        """Take note of what was answered in all, what is under way now, and how many connections are there."""
        seconds, replies = now - self._since, answered - self._answered
        settles = replies < _TIMES_UNDER_WAY * under_way and seconds < _LONGEST_WINDOW
        if seconds < _SHORTEST_WINDOW or settles:
            return
        self._since, self._answered = now, answered
        window = Window(replies / seconds, under_way)
        if self.wanted > self.kept:
            self._try(now, window, there)
        else:
            self._wait(now, window)

    def _wait(self, now: float, window: Window) -> None:
        """See whether it is time to try one more, or to have one fewer."""
        is_busy = window.rate > 0 and window.under_way >= BUSY * self.kept
        self._busy = self._busy + 1 if is_busy else 0
        self._quiet = self._quiet + 1 if window.under_way < QUIET * self.kept else 0
        if self._quiet >= QUIET_LOOKS and self.kept > 1:
            self._decide(now, f"retired shared connection {self.kept}: {window}")
            self._settle(self.kept - 1)
        elif self._busy >= BUSY_LOOKS and self.kept < self.most and now >= self._not_before:
            self.wanted, self._windows, self._missing = self.kept + 1, None, 0
            self._decide(now, f"opened shared connection {self.wanted} on trial: {window}")

    def _try(self, now: float, window: Window, there: int) -> None:
        """Go on with a trial; the window that has ended is the first one that counts once the connection is there."""
        windows = self._windows
        if there < self.wanted:
            self._missing += 1
            if windows is not None or self._missing >= CONNECT_LOOKS:
                self._reject(now, "it was not to be had")
        elif windows is None:
            self._windows = []
        else:
            windows.append(window)
            self.taking = self.kept + len(windows) % 2  # in the window that begins
            if len(windows) % 2 and len(windows) > 1:
                self._compare(now, windows)

    def _compare(self, now: float, windows: list[Window]) -> None:
        before, tried, after = windows[-3:]
        seen = f"{tried} with it; {before} before, {after} after"
        if not (tried.beats(before) and tried.beats(after)):
            self._reject(now, seen)
        elif len(windows) > 2 * ROUNDS:
            self._decide(now, f"kept shared connection {self.wanted}: {seen}")
            self._pause = FIRST_PAUSE
            self._settle(self.wanted)

    def _reject(self, now: float, why: str) -> None:
        self._decide(now, f"gave up shared connection {self.wanted}, for {self._pause:.0f} s at least: {why}")
        self._not_before = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._settle(self.kept)

    def _settle(self, count: int) -> None:
        self.kept = self.wanted = self.taking = count
        self._busy = self._quiet = 0

    def _decide(self, now: float, what: str) -> None:
        self.decisions.append((now, what))
