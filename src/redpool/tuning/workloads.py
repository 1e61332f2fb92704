"""Workloads: which callers come, when, and how long each keeps its connection. Pure, and seeded.

A workload is a function of a `random.Random` and of a number of seconds; it returns callers in the order in which they
come. What a caller does is drawn when it is made, so that pools of any size meet the same callers.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple, TypeAlias


class Caller(NamedTuple):
    """A caller that comes at a time, and keeps its connection for so long while the server is well.

    `then` gives what it does afterwards, one `(pause, hold)` after the other: after so many seconds it comes again. So
    a page's commands follow each other, and a worker's loop goes on, as fast as the pool serves them.
    """

    at: float
    hold: float
    then: Iterator[tuple[float, float]] | None = None
    kind: str = ""


Holds: TypeAlias = Callable[[Random], float]
Workload: TypeAlias = Callable[[Random, float], list[Caller]]


# -- how long a connection is kept -------------------------------------------------------------------------------------


def fixed(seconds: float) -> Holds:
    """Return holds that all last the same."""
    return lambda _: seconds


def exponential(mean: float) -> Holds:
    """Return holds with an exponential distribution."""
    return lambda random: random.expovariate(1 / mean)


def lognormal(mean: float, cv: float) -> Holds:
    """Return holds with a lognormal distribution; `cv` is the standard deviation over the mean."""
    sigma = math.sqrt(math.log(1 + cv * cv))
    mu = math.log(mean) - sigma * sigma / 2
    return lambda random: random.lognormvariate(mu, sigma)


def mostly(usual: float, rare: float, share: float) -> Holds:
    """Return holds of `usual` seconds, of which a share lasts `rare` seconds."""
    return lambda random: rare if random.random() < share else usual


# -- when callers come -------------------------------------------------------------------------------------------------


def poisson(rate: float, holds: Holds) -> Workload:
    """Return a workload of many callers that know nothing of each other."""

    def callers(random: Random, seconds: float) -> list[Caller]:
        return _arrivals(random, holds, rate, 0.0, seconds)

    return callers


def steps(holds: Holds, *levels: tuple[float, float]) -> Workload:
    """Return a workload whose rate changes: `(from, rate)` each, the first from 0 on."""

    def callers(random: Random, seconds: float) -> list[Caller]:
        found: list[Caller] = []
        for place, (start, rate) in enumerate(levels):
            end = levels[place + 1][0] if place + 1 < len(levels) else seconds
            found += _arrivals(random, holds, rate, start, min(end, seconds))
        return found

    return callers


def bursts(rate: float, holds: Holds, *, times: float, length: float, every: float) -> Workload:
    """Return a workload of `rate` a second, `times` as many for a `length`; such bursts begin, on average, `every`."""

    def callers(random: Random, seconds: float) -> list[Caller]:
        found: list[Caller] = []
        now = 0.0
        while now < seconds:
            begins = now + random.expovariate(1 / max(every - length, 1e-9))
            found += _arrivals(random, holds, rate, now, min(begins, seconds))
            now = begins + length
            found += _arrivals(random, holds, rate * times, begins, min(now, seconds))
        return found

    return callers


def fan_out(rate: float, holds: Holds, *, size: float) -> Workload:
    """Return a workload of groups, `rate` a second, whose callers come at once: about `size` of them."""

    def callers(random: Random, seconds: float) -> list[Caller]:
        found: list[Caller] = []
        now = random.expovariate(rate)
        while now < seconds:
            members = max(1, round(random.gauss(size, size / 5)))
            found += [Caller(now, holds(random)) for _ in range(members)]
            now += random.expovariate(rate)
        return found

    return callers


def pages(rate: float, holds: Holds, *, commands: int, pause: float) -> Workload:
    """Return a workload of pages, `rate` a second, each with so many commands, one after the other."""

    def callers(random: Random, seconds: float) -> list[Caller]:
        found: list[Caller] = []
        now = random.expovariate(rate)
        while now < seconds:
            rest = [(random.expovariate(1 / pause), holds(random)) for _ in range(commands - 1)]
            found.append(Caller(now, holds(random), iter(rest)))
            now += random.expovariate(rate)
        return found

    return callers


def workers(count: int, holds: Holds, pause: Holds) -> Workload:
    """Return a workload of workers in a loop: each keeps a connection, pauses, and comes again."""

    def callers(random: Random, _seconds: float) -> list[Caller]:
        loops = (_loop(Random(random.random()), holds, pause) for _ in range(count))
        return sorted((Caller(*next(loop), loop) for loop in loops), key=_at)

    return callers


def of_class(name: str, part: Workload) -> Workload:
    """Return a workload whose callers are all of this class."""
    return lambda random, seconds: [caller._replace(kind=name) for caller in part(random, seconds)]


def both(*parts: Workload) -> Workload:
    """Return a workload of all these together."""

    def callers(random: Random, seconds: float) -> list[Caller]:
        return list(heapq.merge(*(part(Random(random.random()), seconds) for part in parts), key=_at))

    return callers


def _loop(random: Random, holds: Holds, pause: Holds) -> Iterator[tuple[float, float]]:
    while True:
        yield pause(random), holds(random)


def _arrivals(random: Random, holds: Holds, rate: float, start: float, end: float) -> list[Caller]:
    if rate <= 0:
        return []
    found: list[Caller] = []
    now = start + random.expovariate(rate)
    while now < end:
        found.append(Caller(now, holds(random)))
        now += random.expovariate(rate)
    return found


def _at(caller: Caller) -> float:
    return caller.at
