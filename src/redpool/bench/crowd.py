"""More callers than connections, or all of them at once."""

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import aclosing, closing
from functools import partial
from typing import Any

import redis
import redis.asyncio

from .contenders import ASYNC_OURS, Contender
from .load import Figures, TaskLoad, ThreadLoad
from .setting import KEY, Setting

_WARM_UP_SHARE = 0.2
_GRANT_CONNECTIONS = 16
_BURST_CONNECTIONS = 50

_clock = time.perf_counter


def threads(contender: Contender, setting: Setting, *, callers: int, connections: int) -> Figures:
    """`callers` threads that GET in a loop over `connections` connections."""
    with closing(contender.make(setting.url, connections)) as pool:
        client: Any = redis.Redis(connection_pool=pool)
        return same_call(partial(client.get, KEY), callers, setting)


def same_call(call: Callable[[], object], callers: int, setting: Setting) -> Figures:
    """`callers` threads that repeat `call`, after a shorter run to warm up; connections opened in both."""
    before = setting.probe.connections_opened()
    ThreadLoad([call] * callers).run(setting.seconds * _WARM_UP_SHARE)
    figures = ThreadLoad([call] * callers).run(setting.seconds)
    return {**figures, "connections": setting.probe.connections_opened() - before}


def tasks(contender: Contender, setting: Setting, *, callers: int, connections: int) -> Figures:
    """`callers` asyncio tasks that GET in a loop over `connections` connections."""

    async def measure() -> Figures:
        async with aclosing(contender.make(setting.url, connections)) as pool:
            client: Any = redis.asyncio.Redis(connection_pool=pool)
            calls = [partial(client.get, KEY)] * callers
            await TaskLoad(calls).run(setting.seconds * _WARM_UP_SHARE)
            return await TaskLoad(calls).run(setting.seconds)

    return asyncio.run(measure())


def burst(contender: Contender, setting: Setting, *, callers: int) -> Figures:
    """`callers` GETs at once on a pool with nothing open: till all are done, and connections opened."""

    async def measure() -> Figures:
        before = setting.probe.connections_opened()
        async with aclosing(contender.make(setting.url, _BURST_CONNECTIONS)) as pool:
            client: Any = redis.asyncio.Redis(connection_pool=pool)
            began = _clock()
            await asyncio.gather(*(client.get(KEY) for _ in range(callers)))
            elapsed = _clock() - began
        return {"done_ms": 1e3 * elapsed, "connections": setting.probe.connections_opened() - before}

    return asyncio.run(measure())


def grant(setting: Setting, *, waiting: int) -> Figures:
    """Microseconds per hand-over by redpool's asyncio pool while `waiting` tasks stand in its queue."""

    async def measure() -> Figures:
        async with aclosing(ASYNC_OURS.make(setting.url, _GRANT_CONNECTIONS)) as pool:
            return {"us": 1e6 * await _seconds_per_grant(pool, waiting, setting.seconds)}

    return asyncio.run(measure())


async def _seconds_per_grant(pool: Any, waiting: int, seconds: float) -> float:
    granted = 0
    end = math.inf

    async def take_turns() -> None:
        nonlocal granted
        # Each looks at the clock: under a pool that doesn't hand over, the loop would never come round.
        while _clock() < end:
            connection = await pool.get_connection()
            granted += 1
            await pool.release(connection)

    # Nothing is free until everybody stands in the queue; from then on each release hands over and each
    # checkout has to wait, so that the tasks take turns.
    held = [await pool.get_connection() for _ in range(_GRANT_CONNECTIONS)]
    async with asyncio.TaskGroup() as group:
        for _ in range(waiting + _GRANT_CONNECTIONS):
            group.create_task(take_turns())
        await asyncio.sleep(0)
        warm = _clock() + seconds * _WARM_UP_SHARE
        end = warm + seconds
        for connection in held:
            await pool.release(connection)
        await asyncio.sleep(warm - _clock())
        granted_before, began = granted, _clock()
        await asyncio.sleep(end - began)
        grants, elapsed = granted - granted_before, _clock() - began
    return elapsed / max(grants, 1)
