"""Both shells with each gate in each state, over scripted connections: all that a call can meet."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from .shells import by_tasks, by_threads
from .ways import Way, ways

AT_ONCE = 32


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No thread of a pool and no socket is left."""
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    for thread in [each for each in threading.enumerate() if each.name.startswith(("redpool ", "Script"))]:
        thread.join(20.0)
        assert not thread.is_alive(), thread
    assert len(os.listdir("/proc/self/fd")) <= before, "a socket was left open"


def combinations() -> list[tuple[Way, int]]:
    """Each way, for pools of one connection and of two."""
    return list(itertools.product(ways(), (1, 2)))


def test_by_threads() -> None:
    """A caller gets something in time, and no caller another's answer; in the end every slot is free."""
    with ThreadPoolExecutor(AT_ONCE) as executor:
        running = {executor.submit(by_threads, way, size): f"{way}; size {size}" for way, size in combinations()}
        faults = [f"{name}: {error!r}" for each, name in running.items() if (error := each.exception())]
    assert not faults, "\n".join([f"{len(faults)} of them:", *faults[:20]])


@pytest.mark.filterwarnings("ignore:unclosed Connection:ResourceWarning")  # redis-py's word about what is dropped
def test_by_tasks() -> None:
    """The same on an event loop, which in the end has no task left."""

    async def main() -> list[str]:
        gate, faults = asyncio.Semaphore(AT_ONCE), []

        async def one(way: Way, size: int) -> None:
            async with gate:
                try:
                    await by_tasks(way, size)
                except Exception as error:
                    faults.append(f"{way}; size {size}: {error!r}")

        await asyncio.gather(*(one(way, size) for way, size in combinations()))
        await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == 1, asyncio.all_tasks()
        return faults

    faults = asyncio.run(main())
    assert not faults, "\n".join([f"{len(faults)} of them:", *faults[:20]])
