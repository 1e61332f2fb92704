"""Cases with more callers than connections, or with all callers at once."""

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
    """Measure `callers` threads that GET in a loop over `connections` connections."""
    with closing(contender.make(setting.url, connections)) as pool:
        client: Any = redis.Redis(connection_pool=pool)
        return same_call(partial(client.get, KEY), callers, setting)


def same_call(call: Callable[[], object], callers: int, setting: Setting) -> Figures:
    """Measure `callers` threads that repeat `call`, after a shorter run to warm up.

    The figure `connections` counts what both runs opened.
    """
    before = setting.probe.connections_opened()
    ThreadLoad([call] * callers).run(setting.seconds * _WARM_UP_SHARE)
    figures = ThreadLoad([call] * callers).run(setting.seconds)
    return {**figures, "connections": setting.probe.connections_opened() - before}


def tasks(contender: Contender, setting: Setting, *, callers: int, connections: int) -> Figures:
    """Measure `callers` asyncio tasks that GET in a loop over `connections` connections."""

    async def measure() -> Figures:
        async with aclosing(contender.make(setting.url, connections)) as pool:
            client: Any = redis.asyncio.Redis(connection_pool=pool)
            calls = [partial(client.get, KEY)] * callers
            await TaskLoad(calls).run(setting.seconds * _WARM_UP_SHARE)
            return await TaskLoad(calls).run(setting.seconds)

    return asyncio.run(measure())


def burst(contender: Contender, setting: Setting, *, callers: int) -> Figures:
    """Measure `callers` GETs at once on a pool without open connections: when all are done, and how many it opened."""

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
    """Return the microseconds of a hand-over by redpool's asyncio pool while `waiting` tasks are in its queue."""

    async def measure() -> Figures:
        async with aclosing(ASYNC_OURS.make(setting.url, _GRANT_CONNECTIONS)) as pool:
            return {"us": 1e6 * await _seconds_per_grant(pool, waiting, setting.seconds)}

    return asyncio.run(measure())


async def _seconds_per_grant(pool: Any, waiting: int, seconds: float) -> float:
    granted = 0
    end = math.inf

    async def take_turns() -> None:
        nonlocal granted
        # Each task reads the clock: with a pool that doesn't hand over, the event loop would never get its turn.
        while _clock() < end:
            connection = await pool.get_connection()
            granted += 1
            await pool.release(connection)

    # No connection is released until all tasks are in the queue. From then on each release hands over and each checkout
    # has to wait, so that the tasks take turns.
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
