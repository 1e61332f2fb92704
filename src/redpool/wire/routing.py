"""Which multiplexed connection a request had better take, what is to be done about one, and how many pay.

What holds others up goes over a connection apart: long pipelines, what was large the last time, and what is slow.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, TypeAlias

from .commands import Args, Sent, may_answer_at_length, read_only, upper
from .pipeline import Activity, Connection, Pipeline, Request

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
_Key: TypeAlias = tuple[object, ...] | None

# A server that is busy is silent, too: only after so many times the patience of a caller is a path taken to be dead.
_TIMES_SILENT = 3


class Why(Enum):
    """Why a command goes over a connection apart."""

    LARGE = "its last reply was large"
    HUNG_UP = "the server has hung up because of it"
    SLOW = "the server takes long for it"


class Apart:
    """The commands that go over a connection apart, by name and first argument, or by name."""

    def __init__(self) -> None:
        self.known: dict[_Key, Why] = {}

    def knows(self, request: Request) -> bool:
        """Return whether a request had better go there: its reply was large the last time, or is slow, for one."""
        return bool(self.known) and self._why(request) is not None

    def stands_apart(self, request: Request) -> bool:
        """Return whether it must not go over a connection that others share, if there can be another one."""
        return bool(self.known) and self._why(request) is Why.HUNG_UP

    def note(self, request: Request) -> None:
        """Remember a request whose reply was large; forget one whose reply no longer is."""
        key = key_of(request)
        if key is None or self.known.get(key) is Why.SLOW:
            return
        if request.large:
            self.remember(key, Why.LARGE)
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
            key = key_of(request)
            if key is None or request.commands is PROBE:
                return
            if may_answer_at_length(request.commands):
                self.remember(key, Why.HUNG_UP)
                return

    def forget_hang_ups(self) -> None:
        """Clear all: the server can't be reached, so that it has hung up on everybody."""
        for key in [key for key, why in self.known.copy().items() if why is Why.HUNG_UP]:
            self.known.pop(key, None)

    def remember(self, key: _Key, why: Why) -> None:
        """Have a command go over a connection apart. The oldest is forgotten where there are too many."""
        self.known[key] = why
        if len(self.known) > _MOST_LARGE:
            with contextlib.suppress(StopIteration, RuntimeError):  # other threads are at it
                self.known.pop(next(iter(self.known)), None)

    def _why(self, request: Request) -> Why | None:
        key = key_of(request)
        return None if key is None else self.known.get(key) or self.known.get(name_of(key))


def key_of(request: Request) -> _Key:
    """Return a command's name and first argument; `None` for a pipeline."""
    if type(request.commands) is not tuple:
        return None
    key = request.commands[:2]
    return key if isinstance(key[0], _WORDS) and isinstance(key[-1], _WORDS) else None


def name_of(key: tuple[object, ...]) -> tuple[object, ...]:
    """Return what stands for all commands of that name."""
    return (upper(key[0]),)


# -- what is slow ------------------------------------------------------------------------------------------------------

SLOW_FOR = 300.0
"""Seconds after which a command that was slow is forgotten, unless it was seen to be slow again."""

SLOW_TIMES, SLOW_NAMES = 2, 3
"""So often a command is to be slow; or so many commands of one name, which differ in their first argument."""

LOOKS = 4
"""Looks within the time after which a command is slow. Of one that takes an eighth longer half of the looks tell."""

LEAST_BETWEEN = 0.01
"""Seconds between two looks, at least."""

LOOKS_ON = 2.0
"""Seconds for which looks go on after a reply: most often none finds a quick command under way."""

IN_VAIN = 3
"""So often in a row others have to wait all the same for a command to share again."""

_MOST_SEEN = 256
_LONGEST_WORD = 128


class _Head(NamedTuple):
    request: Request
    since: float
    """it is at the head at least since then"""
    blamed: bool


class _Seen:
    """How often a command was found at the head, and how often it stayed there for long."""

    __slots__ = ("looked", "since", "slow")

    def __init__(self, now: float) -> None:
        self.since, self.looked, self.slow = now, 0, 0


class _Slow:
    """A command that goes apart as it is slow: until when, and how often in a row others have waited all the same."""

    __slots__ = ("in_vain", "until")

    def __init__(self, until: float) -> None:
        self.until, self.in_vain = until, 0


class SlowCommands:
    """Which commands take the server long, by looks at the heads of in-flight queues: calls themselves are not timed.

    The server works for the head alone. So what is at the head at looks that are `after` seconds apart, has taken as
    long by itself, whatever it has waited for before; what waits behind it is never blamed. Nor is it where the look is
    late, as this process stood still; where bytes have come that are not read yet; or where the head of another
    connection has been there for as long, since a server that works for one client at a time has all others wait.

    A server that stands still for a moment is slow for what happens to be at the head then. So once is not enough, and
    a command that is mostly gone by the next look is not slow: it takes half of the times that it was seen. And where
    others have waited all the same, while a command was slow that had gone apart, it shares again.
    """

    def __init__(self, after: float, apart: Apart) -> None:
        self.decisions: deque[tuple[float, str]] = deque(maxlen=_MOST_DECISIONS)
        self._after, self._apart = after, apart
        self._every = max(after / LOOKS, LEAST_BETWEEN)
        self._answered, self._used_at = -1, -math.inf
        self._heads: dict[object, _Head] = {}  # by connection
        self._due_at = math.inf
        self._seen: dict[tuple[object, ...], _Seen] = {}
        self._slow: dict[tuple[object, ...], _Slow] = {}
        self._in_vain: dict[tuple[object, ...], float] = {}  # until when they are not tried again

    def look(
        self, heads: Mapping[Connection, Request], answered: int, now: float, unread: Callable[[Connection], bool]
    ) -> float:
        """Take note of the requests at the heads; return the seconds until the next look.

        So many commands were `answered` in all. `unread` says of a connection whether bytes have come over it that are
        not read yet.
        """
        self._forget(now)
        before = self._heads if now <= self._due_at + self._after else {}
        self._heads = {}
        stay = [head.since for each, head in before.items() if heads.get(each) is head.request]
        first = min(stay, default=math.inf)
        for connection, request in heads.items():
            head = before.get(connection)
            if head is None or head.request is not request:
                head = _Head(request, now, False)
                self._note(request, now)
            elif not head.blamed and self._is_slow(head, now) and not unread(connection):
                head = _Head(request, head.since, True)
                self._note_slow(request, now, alone=head.since == first and stay.count(first) == 1)
            self._heads[connection] = head
        if heads or answered != self._answered:
            self._answered, self._used_at = answered, now
        self._due_at = now + self._every if now < self._used_at + LOOKS_ON else math.inf
        return self._due_at - now

    def _is_slow(self, head: _Head, now: float) -> bool:
        return now - head.since > 0.99 * self._after and not head.request.done  # timers may be early

    def _note(self, request: Request, now: float) -> None:
        """Note that it has come to the head."""
        key = self._key_of(request)
        if key is not None:
            for each in {key, name_of(key)}:
                self._count(each, now).looked += 1

    def _note_slow(self, request: Request, now: float, alone: bool) -> None:
        """Note that it stays there for long; `alone`: no other connection's head has been there for as long."""
        key = self._key_of(request)
        if key is None:
            return
        name = name_of(key)
        known = key if key in self._slow else name
        if known in self._slow:
            self._see_whether_it_helps(known, now, alone)
        elif alone and key not in self._in_vain and name not in self._in_vain:
            self._blame(key, name, now)

    def _blame(self, key: tuple[object, ...], name: tuple[object, ...], now: float) -> None:
        of_command, of_name = self._count(key, now), self._count(name, now)
        of_command.slow += 1
        if key != name and of_command.slow == 1:  # of each command the first time counts for its name
            of_name.slow += 1
            if of_name.slow >= SLOW_NAMES and 2 * of_name.slow >= of_name.looked:
                self._learn(name, f"all of {name[0]}", of_name, now)
        if of_command.slow >= SLOW_TIMES and 2 * of_command.slow >= of_command.looked:
            self._learn(key, f"all of {name[0]}" if key == name else f"one {name[0]}", of_command, now)

    def _see_whether_it_helps(self, key: tuple[object, ...], now: float, alone: bool) -> None:
        slow = self._slow[key]
        slow.until = now + SLOW_FOR
        slow.in_vain = 0 if alone else slow.in_vain + 1
        if slow.in_vain >= IN_VAIN:
            self._in_vain[key] = now + SLOW_FOR
            if len(self._in_vain) > _MOST_SEEN:
                del self._in_vain[next(iter(self._in_vain))]
            self._share_again(key, f"{upper(key[0])} shares again: other connections wait for it as well", now)

    @staticmethod
    def _key_of(request: Request) -> _Key:
        """Return what is remembered of it: of a long word, such as a script, nothing."""
        key = key_of(request)
        if key is None or request.commands is PROBE:
            return None
        is_long = any(isinstance(word, str | bytes) and len(word) > _LONGEST_WORD for word in key)
        return name_of(key) if is_long else key

    def _count(self, key: tuple[object, ...], now: float) -> _Seen:
        seen = self._seen.pop(key, None)
        if seen is None or now >= seen.since + SLOW_FOR:
            seen = _Seen(now)
        self._seen[key] = seen  # the one seen last stands last
        if len(self._seen) > _MOST_SEEN:
            del self._seen[next(iter(self._seen))]
        return seen

    def _learn(self, key: tuple[object, ...], what: str, seen: _Seen, now: float) -> None:
        self._slow[key] = _Slow(now + SLOW_FOR)
        self._apart.remember(key, Why.SLOW)
        times = f"{seen.slow} of the {seen.looked} times that it was seen"
        self.decisions.append((now, f"{what} goes over the bulk connection: slower than {self._after:g} s, {times}"))

    def _forget(self, now: float) -> None:
        for key, slow in self._slow.copy().items():
            if now >= slow.until or key not in self._apart.known:
                self._share_again(key, f"{upper(key[0])} shares again: it was not slow of late", now)
        for key, until in self._in_vain.copy().items():
            if now >= until:
                del self._in_vain[key]

    def _share_again(self, key: tuple[object, ...], what: str, now: float) -> None:
        del self._slow[key]
        self._seen.pop(key, None)
        if self._apart.known.get(key) is Why.SLOW:
            self._apart.known.pop(key, None)
        self.decisions.append((now, what))


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
