"""One caller: what the pool itself costs when no other caller competes for it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, closing
from typing import Any

import redis

from ..redispy import internals
from .contenders import Contender
from .load import Figures
from .setting import KEY, Setting

# Calls between two readings of the clock, which would otherwise be part of what is measured.
_BATCH = 100
_WARM_UP_SHARE = 0.1

_clock = time.perf_counter


def _seconds_each(batch: Callable[[int], None], seconds: float) -> float:
    """Return the mean seconds of one call; `batch(n)` makes `n` calls."""
    calls, began = 0, _clock()
    elapsed = 0.0
    while not calls or elapsed < seconds:
        batch(_BATCH)
        calls += _BATCH
        elapsed = _clock() - began
    return elapsed / calls


async def _seconds_each_async(batch: Callable[[int], Awaitable[None]], seconds: float) -> float:
    calls, began = 0, _clock()
    elapsed = 0.0
    while not calls or elapsed < seconds:
        await batch(_BATCH)
        calls += _BATCH
        elapsed = _clock() - began
    return elapsed / calls


def checkout(contender: Contender, setting: Setting) -> Figures:
    """Return the microseconds of a checkout and release, with nothing sent."""
    with closing(contender.make(setting.url, 1)) as pool:

        def pairs(times: int) -> None:
            get, release = internals.checkout(pool), pool.release
            for _ in range(times):
                release(get())

        _seconds_each(pairs, setting.seconds * _WARM_UP_SHARE)
        return {"us": 1e6 * _seconds_each(pairs, setting.seconds)}


def checkout_async(contender: Contender, setting: Setting) -> Figures:
    """Return the microseconds of a checkout and release on an event loop, with nothing sent."""

    async def measure() -> Figures:
        async with aclosing(contender.make(setting.url, 1)) as pool:

            async def pairs(times: int) -> None:
                get, release = internals.checkout(pool), pool.release
                for _ in range(times):
                    await release(await get())

            await _seconds_each_async(pairs, setting.seconds * _WARM_UP_SHARE)
            return {"us": 1e6 * await _seconds_each_async(pairs, setting.seconds)}

    return asyncio.run(measure())


def get(contender: Contender, setting: Setting) -> Figures:
    """Return the GETs per second of one thread through `redis.Redis`."""
    with closing(contender.make(setting.url, 1)) as pool:
        client: Any = redis.Redis(connection_pool=pool)

        def gets(times: int) -> None:
            for _ in range(times):
                client.get(KEY)

        _seconds_each(gets, setting.seconds * _WARM_UP_SHARE)
        return {"per_s": 1.0 / _seconds_each(gets, setting.seconds)}
