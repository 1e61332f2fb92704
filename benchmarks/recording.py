"""Measure what redis-py's OpenTelemetry recording costs: redpool's clients with it and without, and redis-py's.

::

    python benchmarks/recording.py [CASE ...] [--rounds N] [--seconds S] [--json]

One thread, 16 threads and 100 tasks repeat a GET. The sides take turns in one process, round by round; the figure is
the process's CPU time of each call, the median over the rounds. Before each measurement redis-py's recording is
switched on, with all groups that belong to commands and connections, or off. The column *recorded* is the share of the
calls whose duration was recorded. The metrics stay in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.observability.recorder
import redis.observability.recorder
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from redis.observability.config import MetricGroup, OTelConfig
from redis.observability.providers import get_observability_instance

import redpool
import redpool.asyncio
from redpool import embedded
from redpool.bench.command import positive
from redpool.bench.load import Figures, TaskLoad, ThreadLoad
from redpool.bench.place import APART, FREE, placed, why_not_apart
from redpool.bench.report import environment
from redpool.bench.setting import KEY, prepared

_GROUPS = [
    MetricGroup.COMMAND,
    MetricGroup.CONNECTION_BASIC,
    MetricGroup.CONNECTION_ADVANCED,
    MetricGroup.RESILIENCY,
]
_DURATION = "db.client.operation.duration"

OFF = "redpool"
ON = "redpool, recording"
THEIRS_OFF = "redis-py"
THEIRS_ON = "redis-py, recording"


@dataclass(frozen=True)
class Case:
    """So many callers, and how to measure them with a class of clients."""

    about: str
    measure: Callable[[Any, str, float], Figures]
    ours: Any
    theirs: Any

    def sides(self) -> Mapping[str, tuple[Any, bool]]:
        """Return the class of each side's client, and whether it is recorded."""
        return {
            OFF: (self.ours, False),
            ON: (self.ours, True),
            THEIRS_OFF: (self.theirs, False),
            THEIRS_ON: (self.theirs, True),
        }


def _threads(callers: int, client_class: Any, url: str, seconds: float) -> Figures:
    with closing(client_class.from_url(url, max_connections=callers)) as client:
        calls = [partial(client.get, KEY)] * callers
        ThreadLoad(calls).run(seconds)  # to warm up
        before = _recorded()
        load = ThreadLoad(calls)
        figures = load.run(seconds)
        return {**figures, "recorded": (_recorded() - before) / load.turns()}


def _tasks(callers: int, client_class: Any, url: str, seconds: float) -> Figures:
    async def measure() -> Figures:
        async with aclosing(client_class.from_url(url, max_connections=callers)) as client:
            calls = [partial(client.get, KEY)] * callers
            await asyncio.gather(*(call() for call in calls))  # redis-py connects for each of them
            await TaskLoad(calls).run(seconds)  # to warm up
            before = _recorded()
            load = TaskLoad(calls)
            figures = await load.run(seconds)
            return {**figures, "recorded": (_recorded() - before) / load.turns()}

    return asyncio.run(measure())


CASES = {
    "thread": Case("1 thread", partial(_threads, 1), redpool.Redis, redis.Redis),
    "threads": Case("16 threads", partial(_threads, 16), redpool.Redis, redis.Redis),
    "tasks": Case("100 tasks", partial(_tasks, 100), redpool.asyncio.Redis, redis.asyncio.Redis),
}

_reader = InMemoryMetricReader()


def _recorded() -> int:
    """Return how many durations were recorded so far."""
    data = _reader.get_metrics_data()
    if data is None:
        return 0
    points = (
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == _DURATION
        for point in metric.data.data_points
    )
    return sum(getattr(point, "count", 0) for point in points)


@contextmanager
def _recording(on: bool) -> Iterator[None]:
    if not on:
        yield
        return
    recorder = get_observability_instance()
    recorder.init(OTelConfig(metric_groups=_GROUPS))
    try:
        yield
    finally:
        recorder.shutdown()
        redis.observability.recorder.reset_collector()
        redis.asyncio.observability.recorder.reset_collector()


def measured(case: Case, url: str, rounds: int, seconds: float) -> dict[str, Figures]:
    """Return each side's medians."""
    seen: dict[str, list[Figures]] = {side: [] for side in case.sides()}
    for _ in range(rounds):
        for side, (client_class, on) in case.sides().items():
            gc.collect()
            with _recording(on):
                seen[side].append(case.measure(client_class, url, seconds))
    return {side: {name: median(each[name] for each in all_) for name in all_[0]} for side, all_ in seen.items()}


def ratios(sides: Mapping[str, Figures]) -> dict[str, float]:
    """Return what recording leaves of redpool's rate, and how much faster than redis-py it is then, by CPU time."""
    cpu = {side: figures["cpu_us"] for side, figures in sides.items()}
    return {"recording / not": cpu[OFF] / cpu[ON], "redpool / redis-py, both recording": cpu[THEIRS_ON] / cpu[ON]}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description="Measure what redis-py's OpenTelemetry recording costs.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=positive, default=0.3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown case: {', '.join(unknown)}; choose from: {', '.join(CASES)}")
    # Each `init` says that it is one.
    logging.getLogger("redis.observability").setLevel(logging.ERROR)
    metrics.set_meter_provider(MeterProvider([_reader]))
    report: dict[str, Any] = {"environment": environment(), "cases": {}}
    with embedded.start() as server, prepared(server.url, arguments.seconds) as setting:
        report["server"] = setting.probe.server()
        with placed(FREE if why_not_apart(server.pid) else APART, server.pid):
            for name in arguments.cases or CASES:
                sides = measured(CASES[name], server.url, arguments.rounds, arguments.seconds)
                report["cases"][name] = {"about": CASES[name].about, "sides": sides, "ratios": ratios(sides)}
    if arguments.json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _show(report)
    return 0


def _show(report: Mapping[str, Any]) -> None:
    lines = [", ".join(f"{name} {value}" for name, value in report["environment"].items()), report["server"]]
    for case in report["cases"].values():
        lines += ["", f"{case['about']:<24}{'CPU us /GET':>12}{'commands /s':>14}{'recorded':>10}{'errors':>8}"]
        for side, figures in case["sides"].items():
            cells = f"{figures['cpu_us']:12.2f}{figures['per_s']:14.0f}{figures['recorded']:10.0%}"
            lines.append(f"{side:<24}{cells}{figures['errors']:8.0f}")
        lines += [f"{what}: {value:.2f}" for what, value in case["ratios"].items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
