"""Ask the advisor for the size of a pool, for workloads whose best size a search over all sizes finds.

::

    python benchmarks/tuning.py [WORKLOAD ...] [--seconds 60] [--seed 1] [--json]

Each workload is simulated on a pool of 50 connections (`redpool.tuning.simulator`: the pool's own decisions, virtual
clock), which records it; `redpool.tuning.advice` sees the record alone. *Best* is the smallest size with which the
workload itself, not the record, has a p99 wait within the target. The advice may be two connections above that at most,
and the p99 wait with it twice the target at most; exit status 1 where it isn't. The last column is the advisor's time.
`python -m benchmarks.real advisor` asks and tries on a real server.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random

from redpool.core.config import PoolConfig
from redpool.core.record import Record
from redpool.tuning import workloads
from redpool.tuning.advice import SHARE, Advice, advise
from redpool.tuning.simulator import Outcome, Simulator
from redpool.tuning.workloads import Workload, exponential, fixed, lognormal, mostly

MOST_ABOVE_BEST = 2
MOST_TIMES_TARGET = 2.0

_SHORT = exponential(0.002)

WORKLOADS: dict[str, Workload] = {
    "poisson": workloads.poisson(2000, _SHORT),
    "fixed": workloads.poisson(2000, fixed(0.002)),
    "lognormal": workloads.poisson(2000, lognormal(0.002, 3.0)),
    "rare-slow": workloads.poisson(970, mostly(0.001, 0.2, 0.01)),
    "short-bursts": workloads.bursts(1875, _SHORT, times=5, length=0.1, every=2.0),
    "long-bursts": workloads.bursts(1020, _SHORT, times=8, length=2.0, every=30.0),
    "fan-out": workloads.fan_out(47.5, _SHORT, size=20),
    "celery-prefetch": workloads.both(
        workloads.workers(8, lognormal(0.0015, 1.0), exponential(0.05)),
        workloads.fan_out(8, exponential(0.001), size=8),
    ),
    "page-30-gets": workloads.pages(40, exponential(0.0005), commands=30, pause=0.0003),
    "blpop": workloads.both(
        workloads.workers(4, lambda random: min(5.0, random.expovariate(0.5)), exponential(0.005)),
        workloads.poisson(300, exponential(0.001)),
    ),
}


@dataclass(frozen=True)
class Row:
    """What the advisor said of a workload, and what is true. Times are in milliseconds, `took` in seconds."""

    workload: str
    busy: float
    best: int
    best_p99: float
    chosen: int
    chosen_p99: float
    target: float
    fresh_p99: float
    """with callers that were not recorded: other ones of the same workload"""
    took: float

    @property
    def met(self) -> bool:
        """Whether the advice is as good as it must be."""
        return self.chosen - self.best <= MOST_ABOVE_BEST and self.chosen_p99 <= MOST_TIMES_TARGET * self.target


def simulated(workload: Workload, size: int, seconds: float, seed: int, *, warm: bool = True) -> tuple[Outcome, Record]:
    """Return what became of a workload on a pool of this size, and the pool's record of it."""
    simulator = Simulator(PoolConfig(max_connections=size, timeout=None), seed=seed, warm=warm)
    outcome = simulator.run(workload(Random(f"workload {seed}"), seconds), seconds)
    return outcome, Record.from_json(simulator.core.record(seconds).to_json())


def best_size(workload: Workload, target: float, seconds: float, seed: int, near: int) -> tuple[int, float]:
    """Return the smallest size with which the workload meets the target, and its p99 wait: by a walk from `near`."""

    def p99(size: int) -> float:
        return simulated(workload, size, seconds, seed)[0].wait(SHARE)

    size, wait = near, p99(near)
    while wait > target:
        size, wait = size + 1, p99(size + 1)
    while size > 1 and (lower := p99(size - 1)) <= target:
        size, wait = size - 1, lower
    return size, wait


def measured(name: str, seconds: float, seed: int) -> tuple[Row, Advice]:
    """Return the row of a workload, and the advice."""
    workload = WORKLOADS[name]
    _, record = simulated(workload, 50, seconds, seed, warm=False)
    began = time.process_time()
    advice = advise(record)
    took = time.process_time() - began
    best, best_p99 = best_size(workload, advice.target, seconds, seed, advice.size)
    chosen = simulated(workload, advice.size, seconds, seed)[0].wait(SHARE)
    fresh = simulated(workload, advice.size, seconds, seed + 1000)[0].wait(SHARE)
    row = Row(
        name, advice.load.busy, best, best_p99 * 1e3, advice.size, chosen * 1e3, advice.target * 1e3, fresh * 1e3, took
    )
    return row, advice


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is asked for; return 1 where the advice is not good enough."""
    parser = argparse.ArgumentParser(description="Ask the advisor for the size of a pool whose best size is known.")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the record (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (default: 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args(argv)
    unknown = set(arguments.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(WORKLOADS)}")
    rows = []
    if not arguments.json:
        _say(f"{'workload':16} busy  best (p99 ms)  chosen (p99 ms)  / target  fresh p99  advisor s")
    for name in arguments.workloads or WORKLOADS:
        row, _ = measured(name, arguments.seconds, arguments.seed)
        rows.append(row)
        if not arguments.json:
            _say(
                f"{name:16} {row.busy:4.1f}  {row.best:4} ({row.best_p99:6.2f})  {row.chosen:6} ({row.chosen_p99:6.2f})"
                f"  {row.chosen_p99 / row.target:8.2f}  {row.fresh_p99:9.2f}  {row.took:9.1f}"
                + ("" if row.met else "  MISSED")
            )
    if arguments.json:
        _say(json.dumps([asdict(row) for row in rows], indent=2))
    return 0 if all(row.met for row in rows) else 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
