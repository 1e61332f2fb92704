"""A record, made into callers again. Pure.

What is exact stays exact: the callers of each 10 ms, the group that came together, and the longest leases with their
times, so that a worker's long lease is followed by its next one as it was. All other holds are drawn from the record's
histogram, and no more callers are there at once than the pool needed connections for, where that is known: threads that
wait for a reply don't come meanwhile.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from random import Random

from ..core.arrivals import GROUP, SLOTS_A_SECOND, Arrivals
from ..core.histogram import GATHER, median
from ..core.record import CONNECTS, SAMPLE_EVERY, Record
from .workloads import Caller

LEAST_TARGET = 0.002
"""seconds: a p99 wait of so much is nothing to improve"""

MOST_CALLERS = 150_000
"""a record with more is replayed for a part of its time only: the busiest"""

_WHOLE_LIFE = 1.1
"""a pool's age over the seconds of its record, up to which that is as good as all of it"""
_MANY_LOOKS = 100
_SLOT = 1 / SLOTS_A_SECOND
_WITHIN = 33 / 32  # a hold in a record's histogram is known so well


def replayed(record: Record, seed: int = 0, load: float = 1.0) -> tuple[list[Caller], float]:
    """Return the callers of a record, in order, and how many seconds they take.

    With a `load` of 2.5 there are two and a half times as many: the record is laid over itself, each time with other
    chance within the same 10 ms, and of the last layer only so large a share comes.
    """
    first, last = _busiest(record.arrivals, int(MOST_CALLERS / max(1.0, load)))
    seconds = (record.seconds if last is None else min(record.seconds, last * _SLOT)) - first * _SLOT
    part = [each for each in record.arrivals if each.slot >= first and (last is None or each.slot < last)]
    most = needed_at_most(record)
    layers: list[list[Caller]] = []
    while load > 0:
        random = Random(f"replay {seed}" if not layers else f"replay {seed} {len(layers)}")
        callers: Iterable[Caller] = _callers(record, part, first * _SLOT, seconds, random)
        if most is not None:
            callers = _no_more_than(most, callers, seconds)
        layers.append([caller for caller in callers if load >= 1 or random.random() < load])
        load = round(load - 1, 9)
    return list(heapq.merge(*layers, key=_at)), seconds


def needed_at_most(record: Record) -> int | None:
    """Return how many connections of their own callers needed at most, where the pool itself has shown that.

    It opened no more since it was created, and 99 % of its callers hardly waited. One that was full has had no more
    callers at once, either, whenever it was looked at. Of a pool that is older than the record, that says little of the
    last minute: there it was never full, and was looked at often, without a caller that waited.
    """
    opened, own = len(record.connects), len(record.connects) - shared_by_callers(record)
    if opened == CONNECTS or own < max(1, len(record.held)) or record.wait_p99 > usual_target(record):
        return None
    had_room, none_waited = opened < record.max_connections, record.callers <= own
    if record.age <= _WHOLE_LIFE * record.seconds:
        return own if had_room or none_waited else None
    looks = min(record.seconds / SAMPLE_EVERY, sum(each.callers for each in record.arrivals) / GATHER)
    return own if had_room and none_waited and looks >= _MANY_LOOKS else None


def shared_by_callers(record: Record) -> int:
    """Return how many of the pool's connections callers share."""
    return max(1, record.kept) if record.commands else 0


def usual_target(record: Record) -> float:
    """Return the p99 wait that is asked for where nothing else is said: the median hold, at least 2 ms."""
    return max(LEAST_TARGET, median(record.holds))


def _callers(
    record: Record, part: Iterable[Arrivals], start: float, seconds: float, random: Random
) -> Iterator[Caller]:
    """Yield the callers of a part of a record, in order, with times that count from its start."""
    leases, end = _exact(record), start + seconds
    known = Counter(int(begun * SLOTS_A_SECOND) for begun, _ in leases if begun >= 0)
    exact = [Caller(begun, ends - begun) for begun, ends in leases if begun < end and ends > start]
    times: list[float] = []
    for arrivals in part:
        begins = arrivals.slot * _SLOT
        passed = min(1.0, (record.seconds - begins) / _SLOT)  # of the record's last slot
        others = max(0, arrivals.callers - known[arrivals.slot])
        times += [begins + at * passed for at in _times(arrivals, others, random)]
    times.sort()
    drawn = map(Caller, times, _draw(record, len(times), random))
    for at, hold, *_ in heapq.merge(sorted(exact, key=_at), drawn, key=_at):
        yield Caller(max(0.0, at - start), hold - max(0.0, start - at))


def _no_more_than(most: int, callers: Iterable[Caller], seconds: float) -> Iterator[Caller]:
    """Yield callers, some of them later, so that no more than so many are there at once if none has to wait."""
    ends: list[float] = []
    for at, hold, *_ in callers:
        while ends and ends[0] <= at:
            heapq.heappop(ends)
        begins = heapq.heappop(ends) if len(ends) == most else at
        if begins < seconds:
            heapq.heappush(ends, begins + hold)
            yield Caller(begins, hold)
        else:
            heapq.heappush(ends, begins)


def _exact(record: Record) -> list[tuple[float, float]]:
    """Return when the leases began and ended of which all is known; some may have begun before the record."""
    ended = [(lease.start, lease.start + lease.seconds) for lease in record.longest]
    goes_on = record.seconds + 1.0
    return ended + [(record.seconds - age, goes_on) for age in record.held if age > record.exact_above]


def _times(arrivals: Arrivals, callers: int, random: Random) -> list[float]:
    """Return when the callers of a slot came within it: a group together, the others apart from it and at any time."""
    group = min(arrivals.group, callers) if arrivals.group > 1 else 0
    begins = random.random() * (_SLOT - GROUP)
    together = [begins + random.random() * arrivals.span for _ in range(group)]
    apart = [random.random() * (_SLOT - GROUP * (group > 0)) for _ in range(callers - group)]
    return together + [at + GROUP * (group > 0 and at > begins) for at in apart]


def _draw(record: Record, count: int, random: Random) -> list[float]:
    """Return holds for so many callers, of those that are not known exactly."""
    short = [(seconds, times) for seconds, times in record.holds if seconds <= record.exact_above * _WITHIN]
    short = short or list(record.holds) or [(0.0, 1)]
    reached = list(accumulate(times for _, times in short))
    return random.choices([seconds for seconds, _ in short], cum_weights=reached, k=count)


def _busiest(arrivals: tuple[Arrivals, ...], most: int) -> tuple[int, int | None]:
    """Return the first slot and the one after the last that are replayed: of many, the busiest of their kind."""
    if sum(each.callers for each in arrivals) <= most:
        return 0, None
    best, first, callers = (0.0, 0, 0), 0, 0
    for place, each in enumerate(arrivals):
        callers += each.callers
        while callers > most and first < place:
            callers -= arrivals[first].callers
            first += 1
        span = each.slot + 1 - arrivals[first].slot
        if first:
            best = max(best, (callers / span, arrivals[first].slot, each.slot + 1))
    return best[1], best[2]


def _at(caller: Caller) -> float:
    return caller.at
