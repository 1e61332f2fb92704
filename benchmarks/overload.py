"""Measure what becomes of a pool that more callers come to than its server serves.

::

    python benchmarks/overload.py            the production core under a virtual clock
    python benchmarks/overload.py --real     a server of one's own, with scripts that take their time

In the virtual table a server of 8 000 commands a second has 16 connections, and each caller 100 ms for all; a later
reply is cut off. *Good* are the replies in time, each second; *after* those in the last two seconds, of what came then.
With `--real`, each call runs a script that keeps the server busy for 5 ms; first it is measured how many it serves.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

import redis

import redpool
import redpool.asyncio
from redpool import embedded
from redpool.core.config import PoolConfig
from redpool.tuning import workloads
from redpool.tuning.servers import OneByOne, Trouble
from redpool.tuning.simulator import Manner, Outcome, Simulator, quantile
from redpool.tuning.workloads import Caller, Workload

CAPACITY = 8000
DEADLINE = 0.1
SIZE = 16
SECONDS = 12.0
SCHEMES: dict[str, dict[str, Any]] = {
    "no bound": {},
    "max_waiting=64": {"max_waiting": 64},
    'shed="codel"': {"shed": "codel"},
}


class Row(NamedTuple):
    """What comes, what happens to the server, and how often a caller tries again."""

    name: str
    share: float
    troubles: Sequence[Trouble] = ()
    retries: int = 0
    bursts: int = 0


ROWS = (
    Row("load 0.8", 0.8),
    Row("load 1.3", 1.3),
    Row("0.6, and 200 more at once, 10 times a second", 0.6, bursts=200),
    Row("0.5, 4 times slower for 5 s", 0.5, (Trouble(3, 8, 4),)),
    Row("0.8, stopped for 0.6 s", 0.8, (Trouble(3, 3.6),)),
    Row("the same, tried 3 times", 0.8, (Trouble(3, 3.6),), retries=2),
    Row("0.9, 4 times slower for 1 s, tried 4 times", 0.9, (Trouble(3, 4, 4),), retries=3),
)


def virtual(row: Row, options: dict[str, Any]) -> Outcome:
    """Return what becomes of a row's callers."""
    execution = workloads.fixed(1 / CAPACITY)
    workload: Workload = workloads.poisson(row.share * CAPACITY, execution)
    if row.bursts:
        turns = range(int(10 * SECONDS))
        at_once = [Caller(0.1 * turn, 1 / CAPACITY) for turn in turns for _ in range(row.bursts)]
        workload = workloads.both(workload, lambda _random, _seconds: at_once)
    simulator = Simulator(
        PoolConfig(max_connections=SIZE, **options), OneByOne(0.001, row.troubles), seed=1, warm=True,
        keep_replies=True, manner=Manner(deadline=DEADLINE, retries=row.retries),
    )  # fmt: skip
    return simulator.run(workload(Random(1), SECONDS), SECONDS)


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def print_virtual() -> None:
    """Print the table of all rows and schemes."""
    say(f"{'':46} {'scheme':16} {'good/s':>7} {'after':>6} {'p99 ms':>7} {'told at once':>12} {'late':>7}")
    for row in ROWS:
        for name, options in SCHEMES.items():
            outcome = virtual(row, options)
            after = (len(outcome.replied_at) - bisect_left(outcome.replied_at, SECONDS - 2)) / 2
            coming = row.share * CAPACITY + 10 * row.bursts
            say(
                f"{row.name:46} {name:16} {outcome.served / SECONDS:7.0f} {after / min(coming, CAPACITY):6.0%} "
                f"{outcome.reply(0.99) * 1000:7.1f} {outcome.rejected:12} {outcome.lost + outcome.timeouts:7}"
            )


# -- on a real server --------------------------------------------------------------------------------------------------

BUSY = """
local until_then = redis.call('TIME')
local ends = until_then[1] * 1000000 + until_then[2] + tonumber(ARGV[1])
repeat local now = redis.call('TIME') until now[1] * 1000000 + now[2] >= ends
return 1
"""
WORK = 5000
"""Microseconds that a call keeps the server busy."""
REAL_SECONDS = 6.0
REAL_ROWS = (("load 0.8", 0.8, 0.0), ("load 1.3", 1.3, 0.0), ("0.8, stopped for 0.6 s", 0.8, 0.6))


async def real(url: str, share: float, stop: float, options: dict[str, Any]) -> tuple[Counter[str], list[float], float]:
    """Return how calls have ended, how long those took that were answered, and the share of good ones at the end."""
    pool = redpool.asyncio.ConnectionPool.from_url(url, max_connections=8, timeout=5.0, **options)
    client: Any = redis.asyncio.Redis(connection_pool=pool)
    ended, took, good_at = Counter[str](), list[float](), list[float]()
    random, running = Random(1), set[asyncio.Task[None]]()

    async def call() -> None:
        began = time.perf_counter()
        try:
            async with redpool.deadline(DEADLINE):
                await client.eval(BUSY, 0, WORK)
        except redis.RedisError as error:
            ended[type(error).__name__] += 1
        else:
            ended["good"] += 1
            took.append(time.perf_counter() - began)
            good_at.append(time.perf_counter())

    async def closed_loop(seconds: float) -> float:
        """Return the calls a second where each connection has one after the other."""
        done, ends = 0, time.perf_counter() + seconds

        async def loop() -> None:
            nonlocal done
            while time.perf_counter() < ends:
                await client.eval(BUSY, 0, WORK)
                done += 1

        await asyncio.gather(*(loop() for _ in range(8)))
        return done / seconds

    await pool.warm_up(8)
    capacity = await closed_loop(1.5)
    start = due = time.perf_counter()
    stopped = not stop
    while due < start + REAL_SECONDS:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        if not stopped and due > start + 2:
            stopped = True
            async with redis.asyncio.Redis.from_url(url) as operator:
                await operator.client_pause(int(stop * 1000))
        task = asyncio.create_task(call())
        running.add(task)
        task.add_done_callback(running.discard)
        due += random.expovariate(share * capacity)
    await asyncio.gather(*running)
    await pool.shutdown(timeout=1.0, force=True)
    later = sum(start + REAL_SECONDS - 2 <= at < start + REAL_SECONDS for at in good_at) / 2
    return ended, took, later / (min(1.0, share) * capacity)


def print_real() -> None:
    """Print the table of the rows that a real server is good for, each the median of three runs."""
    say(f"{'':26} {'scheme':16} {'good/s':>7} {'after':>6} {'p99 ms':>7}  others, in the last run")
    for name, share, stop in REAL_ROWS:
        for scheme in ("no bound", 'shed="codel"'):
            runs = []
            for _ in range(3):
                with embedded.server() as url:
                    runs.append(asyncio.run(real(url, share, stop, SCHEMES[scheme])))
            good = statistics.median(ended["good"] / REAL_SECONDS for ended, _, _ in runs)
            after = statistics.median(later for _, _, later in runs)
            p99 = statistics.median(quantile(took, 0.99) for _, took, _ in runs)
            others = {kind: count for kind, count in runs[-1][0].items() if kind != "good"}
            say(f"{name:26} {scheme:16} {good:7.0f} {after:6.0%} {p99 * 1000:7.1f}  {others}")


def main() -> int:
    """Print the table that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", action="store_true", help="on a server of its own")
    if parser.parse_args().real:
        print_real()
    else:
        print_virtual()
    return 0


if __name__ == "__main__":
    sys.exit(main())
