"""The advisor, asked by a pool whose callers come in groups, and what becomes of its advice.

The pool of 50 connections is recorded; then pools of the advised size and of smaller ones, all of them warm, get the
same callers. *Replayed* is what the advisor has foretold of the size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import redis.asyncio

import redpool.asyncio
from redpool.core.record import Record
from redpool.tuning import workloads
from redpool.tuning.advice import advise
from redpool.tuning.workloads import Caller

from .ground import Ground, Row, Watch, milliseconds, play

ROUND_TRIP = 0.05
RECORDED = 50
GROUPS = workloads.fan_out(10, workloads.fixed(ROUND_TRIP), size=10)


def rows(ground: Ground, seconds: float, seed: int) -> Iterator[Row]:
    """Record, ask, and try."""
    ground.delay(ROUND_TRIP)
    callers = GROUPS(Random(seed), seconds)
    row, record = asyncio.run(_measured(ground, RECORDED, callers, seconds))
    yield row
    if not record.callers:
        return
    advice = advise(record)
    foretold = {each.size: milliseconds(each.wait_p99) for each in advice.curve}
    for size in sorted({max(1, advice.size - 6), max(1, advice.size - 3), advice.size}):
        row, _ = asyncio.run(_measured(ground, size, callers, seconds))
        yield row | {"replayed p99 ms": foretold.get(size, ""), "advised": size == advice.size}


async def _measured(ground: Ground, size: int, callers: Sequence[Caller], seconds: float) -> tuple[Row, Record]:
    watch = Watch()
    async with redpool.asyncio.ConnectionPool.from_url(
        ground.url, max_connections=size, max_connecting=size, instruments=(watch,)
    ) as pool:
        await pool.warm_up(size)
        client: Any = redis.asyncio.Redis(connection_pool=pool)

        async def call(_caller: Caller) -> None:
            await client.get("key")

        played = await play(callers, call, seconds)
        wait = milliseconds(watch.wait(0.99))
        row = {"connections": size, "wait p99 ms": wait, "replayed p99 ms": "", "advised": ""}
        return row | played.columns(), pool.record()
