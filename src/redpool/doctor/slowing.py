"""Whether calls take longer while more of them are made: what a record says of that. Pure.

A record knows when callers came, and of the slowest leases when theirs did. If what a call takes had nothing to do with
how many there are, the slowest would be spread over the others in even shares. That they are not is tested as in a
trend test of Cochran (1954) and Armitage (1955), with a variance by the second: one time in which the server stood
still is one observation, however many calls were slow in it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

from ..core.arrivals import SLOTS_A_SECOND
from ..core.histogram import median
from ..core.record import Record

TOGETHER = 10
"""Slots of a moment: 100 ms."""

LEAST_CALLERS, LEAST_SLOW, LEAST_SECONDS = 1000, 100, 20
"""Below these a record says nothing."""

CERTAIN = 2.6
"""Standard deviations that are passed by chance in less than one of a hundred records."""


@dataclass(frozen=True, slots=True)
class Slowing:
    """The share of slow calls among those that came while many came, and among the others."""

    slow: float
    """seconds beyond which a call is one of the slow ones"""
    crowded: float
    other: float
    certainty: float
    """standard deviations by which the share grows with the callers"""

    @property
    def times(self) -> float:
        """How many times larger the share is where many came."""
        return self.crowded / self.other if self.other else math.inf


def slowing(record: Record) -> Slowing | None:
    """Return how the share of slow calls depends on how many came in the same 100 ms; `None` where too few came."""
    came: dict[int, int] = defaultdict(int)
    slow: dict[int, int] = defaultdict(int)
    for arrivals in record.arrivals:
        came[arrivals.slot // TOGETHER] += arrivals.callers
    beyond = max(record.exact_above, median(record.holds))
    for lease in record.longest:
        if 0 <= lease.start < record.seconds and lease.seconds > beyond:  # another process may have made it up
            slow[int(lease.start * SLOTS_A_SECOND) // TOGETHER] += 1
    callers, slowest = sum(came.values()), sum(slow[moment] for moment in came)
    if callers < LEAST_CALLERS or slowest < LEAST_SLOW:
        return None
    usual, mean = slowest / callers, sum(count * count for count in came.values()) / callers
    seconds: dict[int, float] = defaultdict(float)
    for moment, count in came.items():
        seconds[moment * TOGETHER // SLOTS_A_SECOND] += (count - mean) * (slow[moment] - usual * count)
    if len(seconds) < LEAST_SECONDS:
        return None
    deviation = math.sqrt(sum(each * each for each in seconds.values()))
    crowded = [moment for moment, count in came.items() if count > mean]
    among, slow_among = sum(came[each] for each in crowded), sum(slow[each] for each in crowded)
    return Slowing(
        beyond,
        slow_among / among if among else 0.0,
        (slowest - slow_among) / (callers - among),
        sum(seconds.values()) / deviation if deviation else 0.0,
    )
