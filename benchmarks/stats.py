"""Measure what `stats()` of a large pool costs, in microseconds of CPU time.

::

    python benchmarks/stats.py [--connections 1000] [--rounds 9]

Of each kind of pool, with all of its connections idle and with all of them on lease; between two calls a wait and a use
are counted, of durations that spread over a few hundred buckets, as in a pool at work. Printed is the median over the
rounds, and the smallest: other load on the machine makes the former larger.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from random import Random
from typing import Any

import redpool
import redpool.asyncio
from redpool import embedded

_CALLS = 200
_COUNTED = 20_000
_PATIENCE = 120.0  # seconds


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with embedded.server() as url:
        for kind in (redpool.ConnectionPool, redpool.MultiplexedConnectionPool):
            _of_threads(kind, url, options.connections, options.rounds)
        asyncio.run(_of_tasks(url, options.connections, options.rounds))


def _of_threads(kind: Any, url: str, connections: int, rounds: int) -> None:
    pool = kind.from_url(url, max_connections=connections, timeout=_PATIENCE)
    pool.warm_up(connections, _PATIENCE)
    core = pool._engine.core  # noqa: SLF001  where it counts
    _have_worked(core)
    _measure(f"{kind.__name__}, idle", pool.stats, core, rounds)
    held = [redpool.ConnectionPool.get_connection(pool) for _ in range(connections)]
    _measure(f"{kind.__name__}, on lease", pool.stats, core, rounds)
    for connection in held:
        redpool.ConnectionPool.release(pool, connection)
    pool.shutdown(force=True)


async def _of_tasks(url: str, connections: int, rounds: int) -> None:
    pool = redpool.asyncio.ConnectionPool.from_url(url, max_connections=connections, timeout=_PATIENCE)
    await pool.warm_up(connections, _PATIENCE)
    core = pool._core()  # noqa: SLF001  as above
    _have_worked(core)
    _measure("asyncio.ConnectionPool, idle", pool.stats, core, rounds)
    held = [await pool.get_connection() for _ in range(connections)]
    _measure("asyncio.ConnectionPool, on lease", pool.stats, core, rounds)
    for connection in held:
        await pool.release(connection)
    await pool.shutdown(force=True)


def _have_worked(core: Any) -> None:
    """Count waits and uses as of a pool that has been at work."""
    random = Random(1)
    for histogram in (core.counters.use, core.counters.wait):
        for _ in range(_COUNTED):
            histogram.add(random.lognormvariate(-6.0, 1.5))


def _measure(what: str, stats: Callable[[], Any], core: Any, rounds: int) -> None:
    taken = []
    for _ in range(rounds):
        total = 0.0
        for _ in range(_CALLS):
            core.counters.use.add(0.001)
            core.counters.wait.add(0.002)
            begun = time.thread_time()
            stats()
            total += time.thread_time() - begun
        taken.append(total / _CALLS * 1e6)
    sys.stdout.write(f"{what:45} {statistics.median(taken):6.1f} us, at least {min(taken):.1f}\n")


if __name__ == "__main__":
    main()
