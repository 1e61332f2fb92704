"""Measure what exporters and traces cost: CPU time of a checkout and release, and of a GET, with each and without.

::

    python benchmarks/monitoring.py [CASE ...] [--rounds N] [--seconds S] [--json]

One thread, and one task, check a connection out and release it; one thread, 16 threads and 100 tasks repeat a GET by
redpool's client. The sides take turns in one process, round by round. The figure is the process's CPU time of each
call, the median over the rounds; the ratio is to the first side, which has nothing. *Gauges* are Prometheus' collector
and OpenTelemetry's observable instruments, both of which are read once a second meanwhile. Spans go to a processor that
drops them: what exporting them costs is the exporter's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from prometheus_client import CollectorRegistry, generate_latest

import redpool
import redpool.asyncio
from redpool import embedded
from redpool.bench.command import positive
from redpool.bench.load import TaskLoad, ThreadLoad
from redpool.bench.place import APART, FREE, placed, why_not_apart
from redpool.bench.report import environment
from redpool.bench.setting import KEY, prepared
from redpool.instrumentation import opentelemetry as tracing
from redpool.metrics import opentelemetry
from redpool.metrics.logs import EventLog
from redpool.metrics.prometheus import PoolCollector

NOTHING = "nothing"
_PAIRS = 100  # between two looks at the clock

Watching = Callable[[Any], AbstractContextManager[None]]
"""Has a pool watched for the time of a block."""


@contextmanager
def _gauges(pool: Any) -> Iterator[None]:
    registry, reader, end = CollectorRegistry(), InMemoryMetricReader(), threading.Event()
    registry.register(PoolCollector(pool))
    provider = MeterProvider([reader], shutdown_on_exit=False)
    opentelemetry.instrument(pool, meter=provider.get_meter("redpool"))

    def read() -> None:
        while not end.wait(1.0):
            generate_latest(registry)
            reader.get_metrics_data()

    reading = threading.Thread(target=read)
    reading.start()
    try:
        yield
    finally:
        end.set()
        reading.join()
        provider.shutdown()


@contextmanager
def _instrument(make: Callable[[], object], pool: Any) -> Iterator[None]:
    made = make()
    pool.watch(made)
    try:
        yield
    finally:
        pool.unwatch(made)


def _histograms() -> object:
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    return opentelemetry.OpenTelemetryInstrument(provider.get_meter("redpool"))


@contextmanager
def _spans(sampler: Sampler, _pool: Any) -> Iterator[None]:
    provider = TracerProvider(sampler, shutdown_on_exit=False)
    provider.add_span_processor(SpanProcessor())
    tracing.instrument(provider)
    try:
        yield
    finally:
        tracing.uninstrument()


_OF_POOLS: dict[str, Watching] = {
    NOTHING: contextlib.nullcontext,
    "gauges": _gauges,
    "event log": partial(_instrument, EventLog),
    "event log, no waits": partial(_instrument, partial(EventLog, long_wait=None)),
    "OpenTelemetry histograms": partial(_instrument, _histograms),
}
_OF_CALLS: dict[str, Watching] = {
    NOTHING: contextlib.nullcontext,
    "gauges": _gauges,
    "spans, none sampled": partial(_spans, ALWAYS_OFF),
    "spans": partial(_spans, ALWAYS_ON),
}


@dataclass(frozen=True)
class Case:
    """What is measured with each of the sides."""

    about: str
    sides: Mapping[str, Watching]
    measure: Callable[[Watching, str, float], float]
    """returns the microseconds of CPU time of each call"""


def _checkout(watching: Watching, url: str, seconds: float) -> float:
    with redpool.ConnectionPool.from_url(url) as pool, watching(pool):
        get, release = pool.get_connection, pool.release
        release(get())
        began, end, pairs = time.process_time(), time.monotonic() + seconds, 0
        while time.monotonic() < end:
            for _ in range(_PAIRS):
                release(get())
            pairs += _PAIRS
        return 1e6 * (time.process_time() - began) / pairs


def _checkout_async(watching: Watching, url: str, seconds: float) -> float:
    async def measure() -> float:
        async with redpool.asyncio.ConnectionPool.from_url(url) as pool:
            with watching(pool):
                get, release = pool.get_connection, pool.release
                await release(await get())
                began, end, pairs = time.process_time(), time.monotonic() + seconds, 0
                while time.monotonic() < end:
                    for _ in range(_PAIRS):
                        await release(await get())
                    pairs += _PAIRS
                return 1e6 * (time.process_time() - began) / pairs

    return asyncio.run(measure())


def _threads(callers: int, watching: Watching, url: str, seconds: float) -> float:
    with closing(redpool.Redis.from_url(url)) as client, watching(client.connection_pool):
        calls = [partial(client.get, KEY)] * callers
        ThreadLoad(calls).run(seconds / 4)  # to warm up
        return ThreadLoad(calls).run(seconds)["cpu_us"]


def _tasks(callers: int, watching: Watching, url: str, seconds: float) -> float:
    async def measure() -> float:
        async with aclosing(redpool.asyncio.Redis.from_url(url)) as client:
            with watching(client.connection_pool):
                calls = [partial(client.get, KEY)] * callers
                await TaskLoad(calls).run(seconds / 4)  # to warm up
                return (await TaskLoad(calls).run(seconds))["cpu_us"]

    return asyncio.run(measure())


CASES = {
    "checkout": Case("checkout and release, 1 thread", _OF_POOLS, _checkout),
    "checkout-async": Case("checkout and release, 1 task", _OF_POOLS, _checkout_async),
    "thread": Case("GET, 1 thread", _OF_CALLS, partial(_threads, 1)),
    "threads": Case("GET, 16 threads", _OF_CALLS, partial(_threads, 16)),
    "tasks": Case("GET, 100 tasks", _OF_CALLS, partial(_tasks, 100)),
}


def measured(case: Case, url: str, rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Return each side's median, and the median of its ratios to the first side in the same round."""
    seen: dict[str, list[float]] = {side: [] for side in case.sides}
    for _ in range(rounds):
        for side, watching in case.sides.items():
            gc.collect()
            seen[side].append(case.measure(watching, url, seconds))
    return {
        side: {
            "cpu_us": median(all_),
            "ratio": median(each / first for each, first in zip(all_, seen[NOTHING], strict=True)),
        }
        for side, all_ in seen.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description="Measure what exporters and traces cost.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=positive, default=1.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown case: {', '.join(unknown)}; choose from: {', '.join(CASES)}")
    logging.getLogger("redpool.events").setLevel(logging.ERROR)
    report: dict[str, Any] = {"environment": environment(), "cases": {}}
    with embedded.start() as server, prepared(server.url, arguments.seconds) as setting:
        report["server"] = setting.probe.server()
        with placed(FREE if why_not_apart(server.pid) else APART, server.pid):
            for name in arguments.cases or CASES:
                sides = measured(CASES[name], server.url, arguments.rounds, arguments.seconds)
                report["cases"][name] = {"about": CASES[name].about, "sides": sides}
    if arguments.json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _show(report)
    return 0


def _show(report: Mapping[str, Any]) -> None:
    lines = [", ".join(f"{name} {value}" for name, value in report["environment"].items()), report["server"]]
    for case in report["cases"].values():
        lines += ["", f"{case['about']:<34}{'CPU us':>10}{'ratio':>8}"]
        for side, figures in case["sides"].items():
            lines.append(f"{side:<34}{figures['cpu_us']:10.2f}{figures['ratio']:8.3f}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
