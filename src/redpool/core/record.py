"""What a pool was asked for of late, in fixed memory: enough to replay it against pools of other sizes.

A release adds to a list when its lease began and for how long it lasted, and nothing else; a checkout adds nothing,
unless it has to wait. All the rest is made of these many at a time, which costs little per lease where leases are many:
how they are distributed, the longest of them exactly, and when callers came.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain, compress
from typing import NamedTuple

from .arrivals import SECONDS, SLOTS, SLOTS_A_SECOND, Arrivals, Ring
from .histogram import GATHER, LATEST, Histogram, bucket_of
from .slot import Borrower, Granted, Slot, State
from .waiters import Ticket

LONGEST = 1024
"""how many of the longest leases are kept exactly"""
SHORT = 0.001
"""seconds; of leases no longer than that, the histogram says enough"""
CONNECTS = 256
"""how many of the latest connects are kept"""
MOST_ENDED = 2 * GATHER
"""two numbers for each lease that is gathered before these are sorted in"""
SAMPLE_EVERY = 0.1
"""seconds between two looks at which callers have several connections, where callers wait"""

_NESTING_CALLERS = 256
_NO_CALLER = 0
_LEASED = State.LEASED

FORMAT = 1
"""of a record as JSON"""


class Basics(NamedTuple):
    """What a record has of the pool itself: see `Record`."""

    name: str
    max_connections: int
    wait_p99: float
    timeouts: int


class Span(NamedTuple):
    """A lease from when its caller came, or a connect, counted from the record's beginning; and how long it lasted."""

    start: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Record:
    """What was asked of a pool in the last minute. Times are in seconds, counted from the record's beginning.

    It names no caller, no command and no server but by the pool's name. Make one with `pool.record()`.
    """

    name: str
    seconds: float
    """for how long was recorded"""
    max_connections: int
    arrivals: tuple[Arrivals, ...]
    """by slots of 10 ms; those without a caller are left out"""
    holds: tuple[tuple[float, int], ...]
    """how long leases lasted that ended in that time, and how many so long, within 1/32; the longest ones included"""
    longest: tuple[Span, ...]
    """the longest of them exactly; their callers may have come before the record's beginning"""
    exact_above: float
    """of leases that ended in the time of the record, each longer than this is among `longest`"""
    held: tuple[float, ...]
    """how old the leases are that have not ended, the oldest first"""
    connects: tuple[Span, ...]
    """the latest connects: when they began, how long they took"""
    wait_p99: float
    """of the pool's callers since it was created"""
    timeouts: int
    """callers that waited in vain since it was created"""
    callers: int
    """the most callers seen at once that had a connection or waited for one"""
    nesting: int
    """how many callers were seen that waited for a connection, or got one, while they had another"""
    deepest: int
    """the most connections that one of these had or wanted at once; 1 where none was seen"""
    kept: int = 0
    """connections that callers share now, or that were reported as leaks; they are not part of `held`"""
    age: float = 0.0
    """seconds since the pool was created"""
    commands: int = 0
    """commands sent over shared connections since then; no arrival stands for them"""

    def to_json(self) -> str:
        """Return the record as a JSON document."""
        return json.dumps({"redpool_record": FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, text: str | bytes) -> Record:
        """Return the record that `to_json` has written. Raises `ValueError` for anything else."""
        try:
            document = json.loads(text)
        except ValueError as error:
            raise ValueError(f"not a record: {error}") from None
        if not isinstance(document, dict) or document.get("redpool_record") != FORMAT:
            raise ValueError(f"not a record, as pool.record().to_json() writes it in format {FORMAT}")
        try:
            return cls._from_document(document)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a whole record: {type(error).__name__}: {error}") from None

    @classmethod
    def _from_document(cls, document: Mapping[str, list[list[float]]]) -> Record:
        said: dict[str, object] = {each.name: document[each.name] for each in fields(cls) if each.name in document}
        said["arrivals"] = tuple(
            Arrivals(int(slot), int(callers), int(group), float(span))
            for slot, callers, group, span in document["arrivals"]
        )
        said["holds"] = tuple((float(seconds), int(count)) for seconds, count in document["holds"])
        said["longest"] = tuple(Span(float(start), float(seconds)) for start, seconds in document["longest"])
        said["connects"] = tuple(Span(float(start), float(seconds)) for start, seconds in document["connects"])
        ages: Iterable[object] = document["held"]
        said["held"] = tuple(float(age) for age in ages)  # type: ignore[arg-type]  # a wrong one raises
        for name, kind in (("seconds", (int, float)), ("max_connections", int), ("name", str), ("callers", int)):
            if not isinstance(said.get(name), kind):
                raise TypeError(f"{name}={said.get(name)!r}")
        return cls(**said)  # type: ignore[arg-type]  # checked above, as far as it matters


class _Window:
    """The leases that ended in a span of time, which begins with `since`."""

    __slots__ = ("before", "kept", "kept_above", "since")

    def __init__(self, since: float, before: Mapping[int, int], kept_above: float) -> None:
        self.since = since
        self.kept_above = kept_above
        """each longer lease was kept at some time"""
        self.before = before
        """the histogram's buckets of all leases that ended earlier"""
        self.kept = array("d")
        """of the longest leases, and perhaps shorter ones, how long each lasted and when its caller came, in turn"""

    def longest(self) -> list[tuple[float, float]]:
        """Return how long the longest lasted and when their callers came, the longest first."""
        return sorted(zip(self.kept[::2], self.kept[1::2], strict=True), reverse=True)[:LONGEST]

    def exact_above(self, longest: Sequence[tuple[float, float]]) -> float:
        """Return above which length these are all that there were."""
        return max(self.kept_above, longest[-1][0] if len(longest) == LONGEST else 0.0)


class Recorder(Histogram):
    """How long leases lasted; and arrivals of the last minute, and the leases of one to two minutes.

    What must stay true, wherever it is interrupted: what was gathered is counted once or not at all, and the next call
    goes on.
    """

    __slots__ = (
        "_before", "_callers", "_created", "_deepest", "_kept_above", "_nesting", "_now", "_ring", "arrived",
        "connects", "granted", "leases", "sample_at",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        super().__init__()
        # These two stay the same lists: the hot path appends to them by itself.
        self.leases: list[float] = []
        """of each lease that has ended when it began and for how long it lasted, one after the other"""
        self.arrived: list[float] = []
        """when callers came that found no idle connection"""
        self.granted = 0
        """leases of those that had to wait for them, until they are sorted in; or more"""
        self._kept_above = SHORT
        """leases that last longer are kept exactly"""
        self.connects: deque[tuple[float, float]] = deque(maxlen=CONNECTS)
        """when each began, and how long it took"""
        self._created = now
        self._ring = Ring(now)
        self._now = self._before = _Window(now, {}, SHORT)
        """the leases of the window under way, and of the one before"""
        self.sample_at = now
        """when to look again which callers have several connections"""
        self._callers, self._deepest = 0, 1
        self._nesting: set[int] = set()

    # -- arrivals and leases -----------------------------------------------------------------------------------------

    def end(self, since: float, now: float) -> None:
        """Count a lease that has ended."""
        self.leases += (since, now - since)
        if len(self.leases) >= MOST_ENDED:
            self.sort_in()

    def repair(self, slots: Iterable[Slot]) -> None:
        """Forget the beginning of a lease whose length an interruption has kept out: it will end once more.

        And count anew which leases, of those that go on and of those that have ended, were granted after a wait.
        """
        if len(self.leases) % 2:
            self.leases.pop()
        since = [slot.since for slot in slots if slot.state is _LEASED]
        self.granted = sum(type(time) is Granted for time in (*self.leases[::2], *since))

    def sort_in(self) -> None:
        """Sort what was gathered into buckets and into the ring, and keep the longest leases."""
        since, uses, arrived = self.leases[::2], self.leases[1::2], self.arrived[:]
        self.leases.clear()
        self.arrived.clear()
        if since:
            self._add_leases(since, uses)
            arrived += self._without_granted(since) if self.granted else since
        if arrived:
            arrived.sort()
            self._ring.add(arrived)
        super().sort_in()

    def _add_leases(self, since: list[float], uses: list[float]) -> None:
        """Count leases that have ended, in the order in which they did, each in its window."""
        while since[-1] + uses[-1] >= self._now.since + SECONDS:
            end = self._now.since + SECONDS
            place = next(place for place, begun in enumerate(since) if begun + uses[place] >= end)
            if place:
                self._add_to_window(since[:place], uses[:place])
                since, uses = since[place:], uses[place:]
            self._turn_window(since[0] + uses[0])
        self._add_to_window(since, uses)

    def _add_to_window(self, since: list[float], uses: list[float]) -> None:
        if self.add_all(uses) >= bucket_of(self._kept_above):
            self._keep_longest(since, uses)

    def _without_granted(self, since: list[float]) -> list[float]:
        """Return when leases began whose callers had not waited: of the others `arrived` has it."""
        others = [time for time in since if type(time) is not Granted]
        self.granted -= len(since) - len(others)
        return others

    def _keep_longest(self, since: list[float], uses: list[float]) -> None:
        """Keep leases exactly that have just ended, those that are among the longest."""
        window, longer = self._now, self._kept_above.__lt__
        for seconds, time in compress(zip(uses, since, strict=True), map(longer, uses)):
            # In one step: what is interrupted between the two would pair each later one with another's time.
            window.kept.extend((seconds, time.came if isinstance(time, Granted) else time))
        if len(window.kept) >= 4 * LONGEST:
            longest = window.longest()
            window.kept = array("d", chain.from_iterable(longest))
            self._kept_above = longest[-1][0]

    def _turn_window(self, now: float) -> None:
        # The next window's longest may be shorter; should none be longer than this, the histogram has them.
        self._kept_above = max(SHORT, self._kept_above / 2)
        self._before, self._now = self._now, _Window(now, self.buckets(), self._kept_above)
        self._nesting.clear()
        self._callers, self._deepest = 0, 1

    @property
    def latest(self) -> list[float]:
        """The latest durations in seconds, `LATEST` at most, the newest last."""
        newest = self.leases[-2 * LATEST :]
        return [*super().latest, *newest[1::2]][-LATEST:]

    @property
    def count(self) -> int:
        """How many leases have ended."""
        return super().count + len(self.leases) // 2

    # -- callers that have several -----------------------------------------------------------------------------------

    def sample(self, slots: Iterable[Slot], waiting: Iterable[Ticket], now: float) -> None:
        """Look how many callers there are, and which have several connections; due at `sample_at`.

        A caller that waits while it has a connection counts as one that has one more.
        """
        self.sample_at = now + SAMPLE_EVERY
        each = Counter(_caller(slot.caller) for slot in slots if slot.state is _LEASED and slot.may_leak)
        each.update(_caller(ticket.borrower) for ticket in waiting)
        del each[_NO_CALLER]
        self._callers = max(self._callers, len(each))
        several = [caller for caller, connections in each.items() if connections > 1]
        if several:
            self._deepest = max(self._deepest, *(each[caller] for caller in several))
            self._nesting.update(several[: _NESTING_CALLERS - len(self._nesting)])

    # -- the record --------------------------------------------------------------------------------------------------

    def record(self, now: float, slots: Sequence[Slot], waiting: Iterable[Ticket], basics: Basics) -> Record:
        """Return what is known of the last minute."""
        self.sample(slots, waiting, now)
        self.sort_in()
        leased = [slot for slot in slots if slot.state is _LEASED]
        ring = self._ring.copy()  # a lease that goes on is counted, too, but will be when it ends
        ring.add(sorted(slot.since for slot in leased if type(slot.since) is not Granted))
        ring.turn_to(max(ring.last, int(now * SLOTS_A_SECOND)))
        first = max(int(self._created * SLOTS_A_SECOND), ring.last - SLOTS + 1)
        start = first / SLOTS_A_SECOND
        windows = (self._now,) if self._now is self._before else (self._before, self._now)
        kept = [(window, window.longest()) for window in windows]
        exact_above = max(window.exact_above(longest) for window, longest in kept)
        leases = [lease for _, longest in kept for lease in longest if lease[0] > exact_above and sum(lease) >= start]
        return Record(
            seconds=now - start,
            arrivals=tuple(ring.arrivals(first)),
            holds=tuple(self.since(self._before.before)),
            longest=tuple(sorted(Span(came - start, seconds) for seconds, came in leases)),
            exact_above=exact_above,
            held=tuple(sorted((now - slot.since for slot in leased if slot.may_leak), reverse=True)),
            connects=tuple(Span(begun - start, seconds) for begun, seconds in self.connects),
            callers=self._callers,
            nesting=len(self._nesting),
            deepest=self._deepest,
            age=now - self._created,
            kept=sum(not slot.may_leak for slot in leased),
            **basics._asdict(),
        )


def _caller(borrower: Borrower) -> int:
    """Return what tells a caller from others while both are there: the ident of a thread, the id of a task."""
    return borrower if isinstance(borrower, int) else _NO_CALLER if borrower is None else id(borrower)
