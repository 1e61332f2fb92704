"""Closed formulas of queues, for pools of which only counters are known. Pure.

Sources: A. K. Erlang, Solution of some problems in the theory of probabilities of significance in automatic telephone
exchanges (1917), for `erlang_c`; A. O. Allen and C. J. Cunneen (1978) for the wait of other arrivals and holds, scaled
by their dispersion; HikariCP's wiki, About Pool Sizing, for `deadlock_floor`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

_LEFT_TO_OTHERS = 0.1


def erlang_c(size: int, load: float) -> float:
    """Return the share of callers that wait, where `load` connections are busy on average of `size`."""
    if load <= 0:
        return 0.0
    if load >= size:
        return 1.0
    blocked = 1.0
    for servers in range(1, size + 1):
        blocked = load * blocked / (servers + load * blocked)
    return size * blocked / (size - load * (1 - blocked))


def wait(size: int, rate: float, hold: float, share: float, dispersion: float, variation: float) -> float:
    """Return the wait in seconds that `share` of the callers have at most; infinite where they come too fast.

    `dispersion` is the variance over the mean of how many come in a while (1: independently of each other), `variation`
    the squared coefficient of variation of holds (1: exponential).
    """
    load = rate * hold
    if load >= size:
        return math.inf
    waiting = erlang_c(size, load)
    longer = 1 - share
    if waiting <= longer:
        return 0.0
    return hold / (size - load) * math.log(waiting / longer) * (dispersion + variation) / 2


def deadlock_floor(callers: int, deepest: int) -> int:
    """Return with how many connections so many callers that need `deepest` of them at once can't block each other."""
    return callers * (deepest - 1) + 1 if deepest > 1 else 0


def left_to_others(limit: int, others: int = 0) -> int:
    """Return how many of a server's clients are left to others: a tenth, or as many as they are where they are more."""
    return max(others, math.ceil(limit * _LEFT_TO_OTHERS))


def for_each(limit: int, processes: int, others: int = 0) -> int:
    """Return how many connections a server that takes so many clients has for each of so many processes."""
    return max(1, (limit - left_to_others(limit, others)) // processes)


def one_by_one(times: Sequence[float], works: Sequence[float], share: float, at_once: int) -> float:
    """Return the wait that `share` of the callers have at most where each is served after the one before (Lindley).

    No more than `at_once` are there at once: the next one comes when one of these is through.
    """
    through: deque[float] = deque(maxlen=at_once)
    free_at, waits = 0.0, []
    for at, work in zip(times, works, strict=True):
        comes = max(at, through[0]) if len(through) == at_once else at
        begins = max(free_at, comes)
        waits.append(begins - comes)
        free_at = begins + work
        through.append(free_at)
    waits.sort()
    return waits[math.ceil(share * len(waits)) - 1] if waits else 0.0
