"""More callers than the server serves, each with 100 ms for all: the rows of `benchmarks/overload.py`.

First it is measured how many calls the server does; each is 2 ms of its time, and the pool has 8 connections. *Good*
are the calls answered in time, each second; *after* those of the callers that came from a second after the trouble's
end on (or from the middle), as a share of what the server can do of them; *p99* how long the good ones took in all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

import redis
import redis.asyncio

import redpool
import redpool.asyncio
from redpool.tuning import workloads
from redpool.tuning.simulator import quantile
from redpool.tuning.workloads import Caller

from .ground import Ground, Row, alongside, capacity, milliseconds, play

ROUND_TRIP = 0.005
WORK = 0.002
SIZE = 8
DEADLINE = 0.1
AFTER = 1.0
"""seconds from the end of the trouble to all being well again"""
SCHEMES: dict[str, dict[str, Any]] = {"no bound": {}, 'shed="codel"': {"shed": "codel"}}


class Scenario(NamedTuple):
    """What comes, as a share of what the server can do, and what happens from a third of the run on."""

    share: float
    slower: float = 1.0
    """the server is so many times slower"""
    lasts: float = 0.0
    """for so many seconds; or it stands still for so long"""
    tries: int = 1


SCENARIOS = {
    "0.8": Scenario(0.8),
    "1.3": Scenario(1.3),
    "slower": Scenario(0.5, slower=4.0, lasts=2.0),
    "stop": Scenario(0.8, lasts=0.6),
    "retries": Scenario(0.8, lasts=0.6, tries=3),
}


def rows(name: str, ground: Ground, seconds: float, seed: int) -> Iterator[Row]:
    """Measure a scenario with each scheme."""
    ground.delay(ROUND_TRIP)
    scenario = SCENARIOS[name]
    most = asyncio.run(capacity(ground.server.url, WORK, min(1.0, seconds)))
    callers = workloads.poisson(scenario.share * most, workloads.fixed(WORK))(Random(seed), seconds)
    for scheme, options in SCHEMES.items():
        row = asyncio.run(_measured(scenario, ground, options, callers, seconds))
        yield {"load": name, "scheme": scheme, "capacity /s": round(most)} | row


async def _measured(
    scenario: Scenario, ground: Ground, options: dict[str, Any], callers: Sequence[Caller], seconds: float
) -> Row:
    loop, ended, took, good = asyncio.get_running_loop(), Counter[str](), list[float](), list[float]()
    begins = seconds / 3
    ends = begins + scenario.lasts
    stops = scenario.lasts if scenario.slower == 1 else 0.0
    async with redpool.asyncio.ConnectionPool.from_url(ground.url, max_connections=SIZE, **options) as pool:
        await pool.warm_up(SIZE)
        client: Any = redis.asyncio.Redis(connection_pool=pool)
        began = loop.time()

        async def call(caller: Caller) -> None:
            for _ in range(scenario.tries):
                now = loop.time()
                slower = scenario.slower if begins <= now - began < ends else 1.0
                try:
                    async with redpool.deadline(DEADLINE):
                        await client.execute_command("DEBUG", "SLEEP", f"{caller.hold * slower:.6f}")
                except redis.RedisError as error:
                    ended[type(error).__name__] += 1
                else:
                    took.append(loop.time() - now)
                    good.append(caller.at)
                    return

        async with alongside(ground.stop(begins, stops)):
            played = await play(callers, call, seconds)
    since = ends + AFTER if scenario.lasts else seconds / 2
    came = sum(caller.at >= since for caller in callers) * min(1.0, 1 / scenario.share)
    after = sum(at >= since for at in good) / came if came else 0.0
    return {
        "came /s": round(len(callers) / seconds),
        "good /s": round(len(good) / seconds),
        "after": round(after, 2),
        "p99 ms": milliseconds(quantile(took, 0.99)),
        "turned away": ended["PoolOverloaded"],
        "in vain": ended.total() - ended["PoolOverloaded"],
    } | played.columns()
