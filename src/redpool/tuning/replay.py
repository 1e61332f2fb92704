"""A record, made into callers again. Pure.

What is exact stays exact: the callers of each 10 ms, the group that came together, and the longest leases with their
times, so that a worker's long lease is followed by its next one as it was. All other holds are drawn from the record's
histogram.
"""

from __future__ import annotations

import heapq
from collections import Counter
from itertools import accumulate
from random import Random

from ..core.arrivals import GROUP, SLOTS_A_SECOND, Arrivals
from ..core.record import Record
from .workloads import Caller

MOST_CALLERS = 150_000
"""a record with more is replayed for a part of its time only: the busiest"""

_SLOT = 1 / SLOTS_A_SECOND
_WITHIN = 33 / 32  # a hold in a record's histogram is known so well


def replayed(record: Record, seed: int = 0) -> tuple[list[Caller], float]:
    """Return the callers of a record, in order, and how many seconds they take."""
    random = Random(f"replay {seed}")
    first, last = _busiest(record.arrivals)
    start = first * _SLOT if first else 0.0
    end = record.seconds if last is None else min(record.seconds, last * _SLOT)
    leases = _exact(record)
    known = Counter(int(begun * SLOTS_A_SECOND) for begun, _ in leases if begun >= 0)
    exact = [Caller(begun, ends - begun) for begun, ends in leases if begun < end and ends > start]
    times: list[float] = []
    for arrivals in record.arrivals:
        if arrivals.slot >= first and (last is None or arrivals.slot < last):
            times += _times(arrivals, max(0, arrivals.callers - known[arrivals.slot]), random)
    times.sort()
    drawn = map(Caller, times, _draw(record, len(times), random))
    merged = heapq.merge(sorted(exact, key=_at), drawn, key=_at)
    return [Caller(max(0.0, at - start), hold - max(0.0, start - at)) for at, hold, *_ in merged], end - start


def _exact(record: Record) -> list[tuple[float, float]]:
    """Return when the leases began and ended of which all is known; some may have begun before the record."""
    ended = [(lease.start, lease.start + lease.seconds) for lease in record.longest]
    goes_on = record.seconds + 1.0
    return ended + [(record.seconds - age, goes_on) for age in record.held if age > record.exact_above]


def _times(arrivals: Arrivals, callers: int, random: Random) -> list[float]:
    """Return when the callers of a slot came: a group together, the others apart from it and at any time."""
    start = arrivals.slot * _SLOT
    group = min(arrivals.group, callers) if arrivals.group > 1 else 0
    begins = random.random() * (_SLOT - GROUP)
    together = [start + begins + random.random() * arrivals.span for _ in range(group)]
    apart = [random.random() * (_SLOT - GROUP * (group > 0)) for _ in range(callers - group)]
    return together + [start + at + GROUP * (group > 0 and at > begins) for at in apart]


def _draw(record: Record, count: int, random: Random) -> list[float]:
    """Return holds for so many callers, of those that are not known exactly."""
    short = [(seconds, times) for seconds, times in record.holds if seconds <= record.exact_above * _WITHIN]
    short = short or list(record.holds) or [(0.0, 1)]
    reached = list(accumulate(times for _, times in short))
    return random.choices([seconds for seconds, _ in short], cum_weights=reached, k=count)


def _busiest(arrivals: tuple[Arrivals, ...]) -> tuple[int, int | None]:
    """Return the first slot and the one after the last that are replayed: of many, the busiest of their kind."""
    if sum(each.callers for each in arrivals) <= MOST_CALLERS:
        return 0, None
    best, first, callers = (0.0, 0, 0), 0, 0
    for place, each in enumerate(arrivals):
        callers += each.callers
        while callers > MOST_CALLERS and first < place:
            callers -= arrivals[first].callers
            first += 1
        span = each.slot + 1 - arrivals[first].slot
        if first:
            best = max(best, (callers / span, arrivals[first].slot, each.slot + 1))
    return best[1], best[2]


def _at(caller: Caller) -> float:
    return caller.at
