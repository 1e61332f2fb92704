"""Signal handlers, finalizers and cancels in the middle of a call: notes 5, 42, 43 and 52."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
import warnings
from collections import Counter
from typing import Any

from support.faces import Doing

from .interruptions import at_each_step, at_step, cancelled_at
from .rows import Finding, row
from .scenes import attempt
from .sides import Side


class Interrupted(BaseException):
    """As KeyboardInterrupt, or a worker's time limit."""


@row(
    5,
    "a GET alice is interrupted by a BaseException wherever a signal could do so, one step after another; then GET bob",
)
def interrupted_at_each_step(side: Side) -> Finding:
    """Wherever the interruption comes: the next reply is right, and no slot is lost."""
    pool = side.threads.waiting_pool(max_connections=3, timeout=1.0)
    client = side.threads.client(pool)
    client.mset({"alice": "ALICE-SECRET", "bob": "bob-value"})
    wrong: Counter[str] = Counter()
    steps = 0
    while wrong.total() < 3:
        interrupted = attempt(lambda step=steps: _interrupted(client, step))  # type: ignore[misc]
        if interrupted.value is False:
            break
        steps += 1
        outcome = attempt(lambda: client.get("bob"))
        if outcome.value != b"bob-value":
            wrong[repr(outcome.value) if outcome.error is None else type(outcome.error).__name__] += 1
    # By another thread, which a lock that was left behind would stop.
    taken = Doing(lambda: [attempt(pool.get_connection).error for _ in range(3)]).result()
    lost = sum(error is not None for error in taken)
    what = ", ".join(f"{count} times {name}" for name, count in wrong.items()) or "always right"
    return Finding(not wrong and not lost, f"interrupted at {steps} steps; GET bob {what}; {lost} of 3 slots lost")


def _interrupted(client: Any, step: int) -> bool:
    def interrupt() -> None:
        raise Interrupted

    try:
        return at_step(lambda: client.get("alice"), step, interrupt)
    except Interrupted:
        return True


@row(43, "a signal handler does one INCR, at each step of a checkout and release in turn; the pool that waits")
def a_handler_at_each_step(side: Side) -> Finding:
    """The handler runs where the interpreter could call it, in the thread that is inside the pool."""
    pool = side.threads.waiting_pool(max_connections=5, timeout=1)
    client = side.threads.client(pool)
    client.ping()
    steps = at_each_step(lambda: pool.release(pool.get_connection()), lambda: client.incr("n"))
    done = int(client.get("n") or 0)
    return Finding(done == steps, f"{done} INCR at {steps} steps")


@row(
    42, "the GC finds an abandoned WATCH pipeline, at each step of a checkout and release in turn; the pool that waits"
)
def a_finalizer_at_each_step(side: Side) -> Finding:
    """Its finalizer releases the connection to the pool that the thread is inside of."""
    warnings.simplefilter("ignore", ResourceWarning)
    pool = side.threads.waiting_pool(max_connections=5, timeout=1)
    client = side.threads.client(pool)
    client.ping()
    gc.freeze()  # the cycles of today are found quickly then
    gc.disable()
    found = steps = 0

    def work() -> None:
        pool.release(pool.get_connection())

    def interrupt() -> None:
        nonlocal found
        found += gc.collect() > 0

    while True:
        _abandon(client)
        if not at_step(work, steps, interrupt):
            break
        steps += 1
    gc.collect()
    taken = [pool.get_connection() for _ in range(5)]
    return Finding(found == steps and len(taken) == 5, f"{found} finalizers at {steps} steps, no slot lost")


def _abandon(client: Any) -> None:
    pipeline = client.pipeline()
    pipeline.watch("key")
    pipeline.itself = pipeline


@row(43, "a timer's signal handler does one INCR every ms, the main thread GETs for 1 s; the pool that waits")
def a_timer_signal(side: Side) -> Finding:
    """As a worker's watchdog or statistics do it."""
    client = side.threads.client(side.threads.waiting_pool(max_connections=5, timeout=1))
    client.ping()
    signals = gets = 0

    def handle(*_: object) -> None:
        nonlocal signals
        client.incr("n")
        signals += 1
        signal.setitimer(signal.ITIMER_REAL, 0.001)  # again, but never within itself

    signal.signal(signal.SIGALRM, handle)
    end = time.monotonic() + 1.0
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    while time.monotonic() < end:
        client.get("key")
        gets += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    n = int(client.get("n") or 0)
    return Finding(n == signals > 0, f"{signals} signals during {gets} GETs, {n} INCR")


@row(52, "asyncio: a transaction with WATCH is cancelled at each of its awaits in turn; a pool of 2 connections")
async def cancelled_at_each_await(side: Side) -> Finding:
    """Wherever the cancel comes, also in the release: the slot is free again, and the next replies are right."""
    pool = side.tasks.pool(max_connections=2)
    client = side.tasks.client(pool)
    await client.mset({"bob": "bob-value", "n": 0})

    async def transact() -> Any:
        async with client.pipeline() as pipeline:
            await pipeline.watch("n")
            n = int(await pipeline.get("n"))
            pipeline.multi()
            pipeline.set("n", n + 1)
            return await pipeline.execute()

    awaits = wrong = 0
    while await cancelled_at(awaits, transact()):
        awaits += 1
        # So that the next one also connects, and the awaits on the way are among those tried.
        await pool.disconnect()
        both = await asyncio.gather(client.get("bob"), client.get("bob"))
        wrong += list(both) != [b"bob-value"] * 2
    return Finding(awaits > 0 and not wrong, f"cancelled at {awaits} awaits, wrong afterwards {wrong} times")
