"""Measure what redis-py's OpenTelemetry recording costs: redpool's clients with it and without, and redis-py's.

::

    python -m benchmarks.recording [CASE ...] [--rounds N] [--seconds S] [--json]

One thread, 16 threads and 100 tasks repeat a GET. The sides take turns in one process, round by round; the figure is
the process's CPU time of each call, the median over the rounds. Before each measurement redis-py's recording is
switched on, with all groups that belong to commands and connections, or off. The column *recorded* is the share of the
calls whose duration was recorded. The metrics stay in memory.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing, contextmanager
from functools import partial
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
from redpool.bench.load import Figures, TaskLoad, ThreadLoad
from redpool.bench.setting import KEY

from . import in_turn
from .in_turn import Case, Measure, Rounds, medians

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


def _recorded_or_not(measure: Callable[[Any, str, float], Figures], client: Any, on: bool) -> Measure:
    def measured(url: str, seconds: float) -> Figures:
        with _recording(on):
            return measure(client, url, seconds)

    return measured


def _case(about: str, measure: Callable[[Any, str, float], Figures], ours: Any, theirs: Any) -> Case:
    sides = {OFF: (ours, False), ON: (ours, True), THEIRS_OFF: (theirs, False), THEIRS_ON: (theirs, True)}
    return Case(about, {side: _recorded_or_not(measure, *each) for side, each in sides.items()})


CASES = {
    "thread": _case("1 thread", partial(_threads, 1), redpool.Redis, redis.Redis),
    "threads": _case("16 threads", partial(_threads, 16), redpool.Redis, redis.Redis),
    "tasks": _case("100 tasks", partial(_tasks, 100), redpool.asyncio.Redis, redis.asyncio.Redis),
}


def summarized(seen: Rounds) -> dict[str, Any]:
    """Return each side's medians, and what recording leaves of redpool's rate and of its lead, by CPU time."""
    sides = medians(seen)
    cpu = {side: figures["cpu_us"] for side, figures in sides.items()}
    ratios = {"recording / not": cpu[OFF] / cpu[ON], "redpool / redis-py, both recording": cpu[THEIRS_ON] / cpu[ON]}
    return {"sides": sides, "ratios": ratios}


def shown(case: Mapping[str, Any]) -> list[str]:
    """Return the lines of a case's table."""
    lines = [f"{case['about']:<24}{'CPU us /GET':>12}{'commands /s':>14}{'recorded':>10}{'errors':>8}"]
    for side, figures in case["sides"].items():
        cells = f"{figures['cpu_us']:12.2f}{figures['per_s']:14.0f}{figures['recorded']:10.0%}"
        lines.append(f"{side:<24}{cells}{figures['errors']:8.0f}")
    return [*lines, *(f"{what}: {value:.2f}" for what, value in case["ratios"].items())]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table or JSON."""
    # Each `init` says that it is one.
    logging.getLogger("redis.observability").setLevel(logging.ERROR)
    metrics.set_meter_provider(MeterProvider([_reader]))
    about = "Measure what redis-py's OpenTelemetry recording costs."
    return in_turn.run(argv, about, CASES, 0.3, summarized, shown)


if __name__ == "__main__":
    sys.exit(main())
