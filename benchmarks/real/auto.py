"""A pool that sizes itself, and one of the default size: the same callers, the same trouble.

The scenarios are those of the simulation (`docs/sizing.md`), six times slower: about 900 commands a second, a round
trip of some 6 ms. *Wait* is for a connection, *reply* from a caller's coming to its reply: where the server is slow, a
shorter wait for a connection is a longer one at the server. *Mean* and *most* are open connections, *growth* the most
after the trouble began over those before; *turns* is how often a minute the pool's limit went down after it had gone
up, or up after down. *Advised* is the size that the pool of the default size is advised to have, by its record.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from random import Random
from statistics import fmean, median
from typing import Any, NamedTuple

import redpool.asyncio
from redpool.core.config import MaxConnections
from redpool.core.record import Record
from redpool.tuning import workloads
from redpool.tuning.advice import advise
from redpool.tuning.simulator import quantile
from redpool.tuning.workloads import Caller, Workload

from .ground import Ground, Row, Watch, alongside, capacity, milliseconds, play, work

ROUND_TRIP = 0.005
"""seconds by which the proxy delays each reply"""
WORK = 0.001
"""seconds of the server's time that a call takes, on average"""
EXECUTION = workloads.exponential(WORK)
LEAST_TARGET = 0.002
LOOK_EVERY = 0.01


class Scenario(NamedTuple):
    """What comes, by the calls a second that the server can do and the length of the run; and what happens."""

    workload: Callable[[float, float], Workload]
    counts_from: float
    """the waits of callers from then on are looked at: a share of the run"""
    slower: float = 1.0
    """from a third of the run on the server is so many times slower"""
    stops: float = 0.0
    """then it stands still for so many seconds"""
    kept: bool = False
    """callers keep their connection for their time, in place of having the server work"""
    seconds: float = 10.0

    @property
    def troubled(self) -> bool:
        """Whether it is the server that makes callers wait."""
        return self.slower > 1 or self.stops > 0


def _jump(most: float, seconds: float) -> Workload:
    return workloads.steps(EXECUTION, (0, most / 12), (seconds / 3, most * 2 / 3))


def _bursts(most: float, seconds: float) -> Workload:
    """Half a second of ten times as many, every five seconds."""
    turns = range(int(seconds / 5) + 1)
    levels = [level for turn in turns for level in ((5 * turn, most / 12), (5 * turn + 4.5, most * 5 / 6))]
    return workloads.steps(EXECUTION, *(level for level in levels if level[0] < seconds))


def _half(most: float, seconds: float) -> Workload:
    return workloads.poisson(most / 2, EXECUTION)


def _lognormal(most: float, seconds: float) -> Workload:
    return workloads.poisson(most / 3, workloads.lognormal(0.008, 3))


SCENARIOS = {
    "jump": Scenario(_jump, 1 / 3, seconds=20.0),
    "bursts": Scenario(_bursts, 1 / 5, seconds=25.0),
    "slower": Scenario(_half, 1 / 3, slower=1.8),
    "overload": Scenario(_half, 1 / 3, slower=4.0),
    "stop": Scenario(_half, 2 / 3, stops=0.3),
    "lognormal": Scenario(_lognormal, 1 / 5, kept=True, seconds=25.0),
}


def rows(name: str, ground: Ground, seconds: float, seed: int) -> Iterator[Row]:
    """Measure a scenario with a pool of the default size, and with one that sizes itself."""
    ground.delay(ROUND_TRIP)
    scenario = SCENARIOS[name]
    most = asyncio.run(capacity(ground.server.url, WORK, min(1.0, seconds)))
    callers = scenario.workload(most, seconds)(Random(seed), seconds)
    advised: Any = ""
    sizes: dict[str, MaxConnections] = {"fixed": None, "auto": "auto"}
    for pool, size in sizes.items():
        row, record = asyncio.run(_measured(scenario, ground, size, callers, seconds))
        if pool == "fixed" and not scenario.troubled and record.callers:
            advised = advise(record).size
        yield {"scenario": name, "pool": pool, "capacity /s": round(most)} | row | {"advised": advised}


class _Sizes(Watch):
    """Besides, how large the pool is."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[float, int, int]] = []
        """the time, the open connections, and the pool's limit"""
        self.replies: list[tuple[float, float]] = []
        """when a caller had its reply, and how long after it came"""

    async def look(self, pool: redpool.asyncio.ConnectionPool) -> None:
        """Note how large it is, again and again."""
        while True:
            stats = pool.stats()
            self.sizes.append((self.now(), stats.open, stats.max_connections))
            await asyncio.sleep(LOOK_EVERY)

    def turns(self) -> float:
        """Return how often a minute the limit went the other way than before."""
        limits = [limit for _, _, limit in self.sizes]
        grew = [after > before for before, after in itertools.pairwise(limits) if after != before]
        turns = sum(one != other for one, other in itertools.pairwise(grew))
        return round(60 * turns / self.sizes[-1][0], 1)

    def columns(self, since: float, trouble_at: float) -> Row:
        """Return the figures, those of waits from `since` on."""
        use = median(self.uses) if self.uses else 0.0
        opened = [opened for _, opened, _ in self.sizes]
        before = max((opened for at, opened, _ in self.sizes if at < trouble_at), default=0)
        return {
            "wait p99 ms": milliseconds(self.wait(0.99, since)),
            "reply p99 ms": milliseconds(quantile([took for at, took in self.replies if at >= since], 0.99)),
            "target ms": milliseconds(max(LEAST_TARGET, use)),
            "mean": round(fmean(opened), 1),
            "most": max(opened),
            "growth": round(max(opened) / max(1, before), 1),
            "turns /min": self.turns(),
        }


async def _measured(
    scenario: Scenario, ground: Ground, size: MaxConnections, callers: Sequence[Caller], seconds: float
) -> tuple[Row, Record]:
    watch, begins = _Sizes(), seconds / 3
    async with redpool.asyncio.ConnectionPool.from_url(
        ground.url, max_connections=size, timeout=None, instruments=(watch,)
    ) as pool:

        async def call(caller: Caller) -> None:
            came = watch.now()
            async with pool.connection() as connection:
                if scenario.kept:
                    await work(connection, 0.0)
                    await asyncio.sleep(caller.hold)
                else:
                    slower = scenario.slower if watch.now() >= begins else 1.0
                    await work(connection, caller.hold * slower)
            watch.replies.append((watch.now(), watch.now() - came))

        async with alongside(watch.look(pool), ground.stop(begins, scenario.stops)):
            played = await play(callers, call, seconds)
        since = scenario.counts_from * seconds + 0.1
        figures = watch.columns(since, begins) | {"connects": pool.stats().connected}
        return figures | played.columns(), pool.record()
