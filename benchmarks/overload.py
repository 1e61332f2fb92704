"""Measure what becomes of a pool that more callers come to than its server serves.

::

    python benchmarks/overload.py

The production core decides, under a virtual clock: a server of 8 000 commands a second has 16 connections, and each
caller 100 ms for all; a later reply is cut off. *Good* are the replies in time, each second; *after* those in the last
two seconds, of what came then. `python -m benchmarks.real overload` measures the same on a real server.
"""

from __future__ import annotations

import argparse
import sys
from bisect import bisect_left
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

from redpool.core.config import PoolConfig
from redpool.tuning import workloads
from redpool.tuning.servers import OneByOne, Trouble
from redpool.tuning.simulator import Manner, Outcome, Simulator
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


def print_table() -> None:
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


def main() -> int:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print_table()
    return 0


if __name__ == "__main__":
    sys.exit(main())
