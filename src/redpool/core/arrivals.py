"""When callers came, in fixed memory: a ring of slots of 10 ms, a minute long.

Callers that come together, as those of a fan-out, need more connections than so many that come apart: so each slot has
its largest group, and how close together that came.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

SLOTS_A_SECOND = 100
SECONDS = 60
"""how long the ring goes back"""
SLOTS = SECONDS * SLOTS_A_SECOND
GROUP = 0.001
"""seconds within which callers come together"""

_MOST = 0xFFFF  # what two bytes hold
_SPANS = 255  # steps of a group's span, in a byte
_ZEROS = array("H", bytes(2 * SLOTS))
_NO_SPANS = bytes(SLOTS)
_NO_TIMES = array("d", bytes(8 * SLOTS))


class Arrivals(NamedTuple):
    """The callers that came in one slot of 10 ms."""

    slot: int
    """0 is the first of the record"""
    callers: int
    group: int
    """the most of them within a millisecond"""
    span: float
    """seconds within which these came, but for those that came by chance"""


class Ring:
    """The arrivals of the last minute, which may be added in any order.

    Those of one group are, where their leases end one after the other: so it is known when the largest one came.
    """

    __slots__ = ("_begins", "_counts", "_ends", "_groups", "_spans", "last")

    def __init__(self, now: float) -> None:
        self.last = int(now * SLOTS_A_SECOND)
        """the number of the newest slot, counted from the clock's zero"""
        self._counts, self._groups, self._spans = _ZEROS[:], _ZEROS[:], bytearray(_NO_SPANS)
        self._begins, self._ends = _NO_TIMES[:], _NO_TIMES[:]
        """when the first and the last of a slot's largest group came; of a slot without one it means nothing"""

    def copy(self) -> Ring:
        """Return another ring that has the same arrivals."""
        other = Ring(0.0)
        other.last = self.last
        other._counts, other._groups, other._spans = self._counts[:], self._groups[:], self._spans[:]
        other._begins, other._ends = self._begins[:], self._ends[:]
        return other

    def add(self, times: list[float]) -> None:
        """Count arrivals, given in ascending order; those that are older than the ring are forgotten."""
        place, most = 0, len(times)
        while place < most:
            number = int(times[place] * SLOTS_A_SECOND)
            number += times[place] >= (number + 1) / SLOTS_A_SECOND  # 0.29 * 100 is less than 29
            end = bisect_left(times, (number + 1) / SLOTS_A_SECOND, place)
            if number > self.last:
                self.turn_to(number)
            if number > self.last - SLOTS:
                self._note(number % SLOTS, times, place, end)
            place = end

    def _note(self, slot: int, times: list[float], place: int, end: int) -> None:
        """Count the arrivals from `place` to `end`, which fall into one slot."""
        callers = self._counts[slot] + end - place
        self._counts[slot] = callers if callers < _MOST else _MOST
        if self._groups[slot]:
            self._join_group(slot, times, place, end)
        largest = self._groups[slot]
        while end - place > largest:
            first = times[place]
            stop = bisect_right(times, first + GROUP, place, end)
            if stop - place > largest:
                largest = self._groups[slot] = min(stop - place, _MOST)
                # Twice that of the middle half, lest one that came by chance widen it.
                quarter = (stop - place) // 4
                middle = times[stop - 1 - quarter] - times[place + quarter]
                self._spans[slot] = min(_SPANS, int(middle * (2 / GROUP * _SPANS)))
                self._begins[slot], self._ends[slot] = first, times[stop - 1]
            place = stop

    def _join_group(self, slot: int, times: list[float], place: int, end: int) -> None:
        """Count those from `place` to `end` with the slot's largest group that came together with all of it."""
        begin = bisect_left(times, self._ends[slot] - GROUP, place, end)
        first = self._begins[slot] if begin == end else min(self._begins[slot], times[begin])
        stop = bisect_right(times, first + GROUP, begin, end)
        if stop > begin:
            self._groups[slot] = min(self._groups[slot] + stop - begin, _MOST)
            self._begins[slot], self._ends[slot] = first, max(self._ends[slot], times[stop - 1])

    def turn_to(self, number: int) -> None:
        """Have a later slot as the newest; those that the ring passes over are empty."""
        ahead = number - self.last
        if ahead == 1:
            slot = number % SLOTS
            self._counts[slot] = self._groups[slot] = self._spans[slot] = 0
        elif ahead > 1:
            ahead = min(ahead, SLOTS)
            start = (number - ahead + 1) % SLOTS
            self._clear(start, min(start + ahead, SLOTS))
            self._clear(0, max(0, start + ahead - SLOTS))
        self.last = number

    def _clear(self, start: int, end: int) -> None:
        self._counts[start:end] = self._groups[start:end] = _ZEROS[: end - start]
        self._spans[start:end] = _NO_SPANS[: end - start]

    def arrivals(self, first: int) -> Iterator[Arrivals]:
        """Yield what each slot has from the one with that number on, but for those without a caller."""
        for number in range(first, self.last + 1):
            slot = number % SLOTS
            if self._counts[slot]:
                span = self._spans[slot] / _SPANS * GROUP
                yield Arrivals(number - first, self._counts[slot], self._groups[slot], span)
