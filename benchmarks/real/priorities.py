"""Classes of callers: one with connections of its own, beside another that brings twice of what it can do.

The server is never the slow part: each call takes the proxy's delay. Eight connections, of which four are the web's, or
none. Waits are those that callers see, the ones included that had waited in vain by the end.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from random import Random
from statistics import median
from typing import Any

import redpool
import redpool.asyncio
from redpool.tuning import workloads
from redpool.tuning.simulator import quantile
from redpool.tuning.workloads import Caller

from .ground import Ground, Row, milliseconds, play, work

ROUND_TRIP = 0.01
SIZE = 8
RESERVED = {"web": 4}
RATES = {"web": 100, "mail": 50, "batch": 800}
"""calls a second of each class: four connections serve somewhat less than 400"""

_CALLERS = workloads.both(
    *(workloads.of_class(name, workloads.poisson(rate, workloads.fixed(0.0))) for name, rate in RATES.items())
)


def rows(ground: Ground, seconds: float, seed: int) -> Iterator[Row]:
    """Measure each class, without connections of its own and with."""
    ground.delay(ROUND_TRIP)
    callers = _CALLERS(Random(seed), seconds)
    for reserved in ({}, RESERVED):
        yield from asyncio.run(_measured(ground, reserved, callers, seconds))


async def _measured(ground: Ground, reserved: dict[str, int], callers: Sequence[Caller], seconds: float) -> list[Row]:
    options: dict[str, Any] = {"reserved": reserved} if reserved else {}
    loop, served = asyncio.get_running_loop(), Counter[str]()
    waits, uses = defaultdict[str, list[float]](list), list[float]()
    async with redpool.asyncio.ConnectionPool.from_url(
        ground.url, max_connections=SIZE, timeout=None, **options
    ) as pool:
        await pool.warm_up(SIZE)

        async def call(caller: Caller) -> None:
            came = loop.time()
            with redpool.priority(caller.kind):
                try:
                    connection = await pool.get_connection()
                finally:
                    had = loop.time()
                    waits[caller.kind].append(had - came)
                try:
                    await work(connection, caller.hold)
                finally:
                    await pool.release(connection)
                uses.append(loop.time() - had)
                served[caller.kind] += 1

        played = await play(callers, call, seconds)
    use = median(uses) if uses else 0.0
    return [
        {
            "reserved": ", ".join(f"{count} for {each}" for each, count in reserved.items()) or "none",
            "class": name,
            "come /s": RATES[name],
            "served /s": round(served[name] / seconds),
            "wait p50 ms": milliseconds(quantile(waits[name], 0.5)),
            "wait p99 ms": milliseconds(quantile(waits[name], 0.99)),
            "wait max ms": milliseconds(max(waits[name], default=0.0)),
            "use p50 ms": milliseconds(use),
        }
        | played.columns()
        for name in RATES
    ]
