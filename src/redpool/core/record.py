"""What a pool was asked for of late, in fixed memory: enough to replay it against pools of other sizes.

A checkout adds the time to a list, and nothing else; a release compares its lease with the shortest of those that are
kept exactly. What was gathered is sorted into a ring of slots of 10 ms many at a time, which costs little per checkout
where checkouts are many. Callers that come together, as those of a fan-out, need more connections than so many that
come apart: so each slot has its largest group, and how close together that came.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

from .histogram import Histogram
from .slot import Borrower, Slot, State
from .waiters import Ticket

SLOTS_A_SECOND = 100
SECONDS = 60
"""how long a record goes back"""
SLOTS = SECONDS * SLOTS_A_SECOND
GROUP = 0.001
"""seconds within which callers come together"""
LONGEST = 1024
"""how many of the longest leases are kept exactly"""
SHORT = 0.001
"""seconds; of leases no longer than that, the histogram says enough"""
CONNECTS = 256
"""how many of the latest connects are kept"""
SAMPLE_EVERY = 0.1
"""seconds between two looks at which callers have several connections, where callers wait"""

_MOST = 0xFFFF  # what two bytes hold
_SPANS = 255  # steps of a group's span, in a byte
_NESTING_CALLERS = 256
_ZEROS = array("H", bytes(2 * SLOTS))
_NO_SPANS = bytes(SLOTS)
_NO_CALLER = 0
_LEASED = State.LEASED

FORMAT = 1
"""of a record as JSON"""


class Arrivals(NamedTuple):
    """The callers that came in one slot of 10 ms."""

    slot: int
    """0 is the first of the record"""
    callers: int
    group: int
    """the most of them within a millisecond"""
    span: float
    """seconds within which these came, but for those that came by chance"""


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

    __slots__ = ("before", "came", "kept_above", "lasted", "since")

    def __init__(self, since: float, before: Mapping[int, int], kept_above: float) -> None:
        self.since = since
        self.kept_above = kept_above
        """each longer lease was kept at some time"""
        self.before = before
        """the histogram's buckets of all leases that ended earlier"""
        self.lasted, self.came = array("d"), array("d")
        """the longest leases, and perhaps shorter ones: for how long each lasted, and when its caller came"""

    def longest(self) -> list[tuple[float, float]]:
        """Return how long the longest lasted and when their callers came, the longest first."""
        return sorted(zip(self.lasted, self.came, strict=False), reverse=True)[:LONGEST]

    def exact_above(self, longest: Sequence[tuple[float, float]]) -> float:
        """Return above which length these are all that there were."""
        return max(self.kept_above, longest[-1][0] if len(longest) == LONGEST else 0.0)


class Recorder(Histogram):
    """How long leases lasted; and arrivals of the last minute, and the leases of one to two minutes.

    What must stay true, wherever it is interrupted: what was gathered is counted once or not at all, and the next call
    goes on.
    """

    __slots__ = (
        "_before", "_callers", "_counts", "_created", "_deepest", "_groups", "_last", "_nesting", "_now", "_spans",
        "arrived", "connects", "kept_above", "sample_at",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        super().__init__()
        self.arrived: list[float] = []  # stays the same list: the hot path appends to it by itself
        self.kept_above = SHORT
        """leases that last longer are kept exactly"""
        self.connects: deque[tuple[float, float]] = deque(maxlen=CONNECTS)
        """when each began, and how long it took"""
        self._created = now
        self._last = int(now * SLOTS_A_SECOND)
        """the number of the ring's newest slot, counted from the clock's zero"""
        self._counts, self._groups, self._spans = _ZEROS[:], _ZEROS[:], bytearray(_NO_SPANS)
        self._now = self._before = _Window(now, {}, SHORT)
        """the leases of the window under way, and of the one before"""
        self.sample_at = now
        """when to look again which callers have several connections"""
        self._callers, self._deepest = 0, 1
        self._nesting: set[int] = set()

    # -- arrivals ----------------------------------------------------------------------------------------------------

    def sort_in(self) -> None:
        """Sort what was gathered into buckets and into the ring."""
        super().sort_in()
        batch = self.arrived[:]
        self.arrived.clear()
        if not batch:
            return
        batch.sort()
        if batch[-1] >= self._now.since + SECONDS:
            self._turn_window(batch[-1])
        place, most = 0, len(batch)
        while place < most:
            number = int(batch[place] * SLOTS_A_SECOND)
            end = bisect_left(batch, (number + 1) / SLOTS_A_SECOND, place)
            if number > self._last:
                self._turn_to(number)
            if number > self._last - SLOTS:
                self._note(number % SLOTS, batch, place, end)
            place = max(end, place + 1)

    def _note_largest(self, gathered: list[float]) -> None:
        if self._max <= SHORT:  # else `keep` sees to it: what is longer than the longest so far is kept
            super()._note_largest(gathered)

    def _note(self, slot: int, batch: list[float], place: int, end: int) -> None:
        """Count the arrivals from `place` to `end`, which fall into one slot."""
        callers = self._counts[slot] + end - place
        self._counts[slot] = callers if callers < _MOST else _MOST
        largest = self._groups[slot]
        while end - place > largest:
            first = batch[place]
            stop = bisect_right(batch, first + GROUP, place, end)
            if stop - place > largest:
                largest = self._groups[slot] = stop - place  # no more than are gathered
                # Twice that of the middle half, lest one that came by chance widen it.
                quarter = (stop - place) // 4
                middle = batch[stop - 1 - quarter] - batch[place + quarter]
                self._spans[slot] = min(_SPANS, int(middle * (2 / GROUP * _SPANS)))
            place = stop

    def _turn_to(self, number: int) -> None:
        """Have a later slot as the newest; those that the ring passes over are empty."""
        ahead = number - self._last
        if ahead == 1:
            slot = number % SLOTS
            self._counts[slot] = self._groups[slot] = self._spans[slot] = 0
        elif ahead > 1:
            ahead = min(ahead, SLOTS)
            start = (number - ahead + 1) % SLOTS
            self._clear(start, min(start + ahead, SLOTS))
            self._clear(0, max(0, start + ahead - SLOTS))
        self._last = number

    def _clear(self, start: int, end: int) -> None:
        self._counts[start:end] = self._groups[start:end] = _ZEROS[: end - start]
        self._spans[start:end] = _NO_SPANS[: end - start]

    # -- leases and connects -----------------------------------------------------------------------------------------

    def keep(self, came: float, seconds: float, now: float) -> None:
        """Keep a lease exactly that has just ended: when its caller came, and for how long it lasted."""
        if now >= self._now.since + SECONDS:
            self._turn_window(now)
        window = self._now
        self._max = max(self._max, seconds)
        window.lasted.append(seconds)
        window.came.append(came)
        if len(window.came) >= 2 * LONGEST:
            longest = window.longest()
            window.lasted = array("d", [seconds for seconds, _ in longest])
            window.came = array("d", [came for _, came in longest])
            self.kept_above = window.lasted[-1]

    def _turn_window(self, now: float) -> None:
        # The next window's longest may be shorter; should none be longer than this, the histogram has them.
        self.kept_above = max(SHORT, self.kept_above / 2)
        self._before, self._now = self._now, _Window(now, self.buckets(), self.kept_above)
        self._nesting.clear()
        self._callers, self._deepest = 0, 1

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
        if int(now * SLOTS_A_SECOND) > self._last:
            self._turn_to(int(now * SLOTS_A_SECOND))
        first = max(int(self._created * SLOTS_A_SECOND), self._last - SLOTS + 1)
        start = first / SLOTS_A_SECOND
        leased = [slot for slot in slots if slot.state is _LEASED]
        windows = (self._now,) if self._now is self._before else (self._before, self._now)
        kept = [(window, window.longest()) for window in windows]
        exact_above = max(window.exact_above(longest) for window, longest in kept)
        leases = [lease for _, longest in kept for lease in longest if lease[0] > exact_above and sum(lease) >= start]
        return Record(
            seconds=now - start,
            arrivals=tuple(self._arrivals(first)),
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

    def _arrivals(self, first: int) -> Iterator[Arrivals]:
        for number in range(first, self._last + 1):
            slot = number % SLOTS
            if self._counts[slot]:
                span = self._spans[slot] / _SPANS * GROUP
                yield Arrivals(number - first, self._counts[slot], self._groups[slot], span)


def _caller(borrower: Borrower) -> int:
    """Return what tells a caller from others while both are there: the ident of a thread, the id of a task."""
    return borrower if isinstance(borrower, int) else _NO_CALLER if borrower is None else id(borrower)
