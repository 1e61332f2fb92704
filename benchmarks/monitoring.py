"""Measure what exporters and traces cost: CPU time of a checkout and release, and of a GET, with each and without.

::

    python -m benchmarks.monitoring [CASE ...] [--rounds N] [--seconds S] [--json]

One thread, and one task, check a connection out and release it; one thread, 16 threads and 100 tasks repeat a GET by
redpool's client. The sides take turns in one process, round by round. The figure is the process's CPU time of each
call, the median over the rounds; the ratio is to the first side, which has nothing. *Gauges* are Prometheus' collector
and OpenTelemetry's observable instruments, both of which are read once a second meanwhile. Spans go to a processor that
drops them: what exporting them costs is the exporter's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, closing, contextmanager
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
from redpool.bench.load import Figures, TaskLoad, ThreadLoad
from redpool.bench.setting import KEY
from redpool.instrumentation import opentelemetry as tracing
from redpool.metrics import opentelemetry
from redpool.metrics.logs import EventLog
from redpool.metrics.prometheus import PoolCollector

from . import in_turn
from .in_turn import Case, Rounds

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


def _checkout(watching: Watching, url: str, seconds: float) -> Figures:
    with redpool.ConnectionPool.from_url(url) as pool, watching(pool):
        get, release = pool.get_connection, pool.release
        release(get())
        began, end, pairs = time.process_time(), time.monotonic() + seconds, 0
        while time.monotonic() < end:
            for _ in range(_PAIRS):
                release(get())
            pairs += _PAIRS
        return {"cpu_us": 1e6 * (time.process_time() - began) / pairs}


def _checkout_async(watching: Watching, url: str, seconds: float) -> Figures:
    async def measure() -> Figures:
        async with redpool.asyncio.ConnectionPool.from_url(url) as pool:
            with watching(pool):
                get, release = pool.get_connection, pool.release
                await release(await get())
                began, end, pairs = time.process_time(), time.monotonic() + seconds, 0
                while time.monotonic() < end:
                    for _ in range(_PAIRS):
                        await release(await get())
                    pairs += _PAIRS
                return {"cpu_us": 1e6 * (time.process_time() - began) / pairs}

    return asyncio.run(measure())


def _threads(callers: int, watching: Watching, url: str, seconds: float) -> Figures:
    with closing(redpool.Redis.from_url(url)) as client, watching(client.connection_pool):
        calls = [partial(client.get, KEY)] * callers
        ThreadLoad(calls).run(seconds / 4)  # to warm up
        return ThreadLoad(calls).run(seconds)


def _tasks(callers: int, watching: Watching, url: str, seconds: float) -> Figures:
    async def measure() -> Figures:
        async with aclosing(redpool.asyncio.Redis.from_url(url)) as client:
            with watching(client.connection_pool):
                calls = [partial(client.get, KEY)] * callers
                await TaskLoad(calls).run(seconds / 4)  # to warm up
                return await TaskLoad(calls).run(seconds)

    return asyncio.run(measure())


def _case(about: str, sides: Mapping[str, Watching], measure: Callable[[Watching, str, float], Figures]) -> Case:
    return Case(about, {side: partial(measure, watching) for side, watching in sides.items()})


CASES = {
    "checkout": _case("checkout and release, 1 thread", _OF_POOLS, _checkout),
    "checkout-async": _case("checkout and release, 1 task", _OF_POOLS, _checkout_async),
    "thread": _case("GET, 1 thread", _OF_CALLS, partial(_threads, 1)),
    "threads": _case("GET, 16 threads", _OF_CALLS, partial(_threads, 16)),
    "tasks": _case("GET, 100 tasks", _OF_CALLS, partial(_tasks, 100)),
}


def summarized(seen: Rounds) -> dict[str, Any]:
    """Return each side's median, and the median of its ratios to the first side in the same round."""
    cpu = {side: [figures["cpu_us"] for figures in all_] for side, all_ in seen.items()}
    return {
        "sides": {
            side: {
                "cpu_us": median(all_),
                "ratio": median(each / first for each, first in zip(all_, cpu[NOTHING], strict=True)),
            }
            for side, all_ in cpu.items()
        }
    }


def shown(case: Mapping[str, Any]) -> list[str]:
    """Return the lines of a case's table."""
    lines = [f"{case['about']:<34}{'CPU us':>10}{'ratio':>8}"]
    for side, figures in case["sides"].items():
        lines.append(f"{side:<34}{figures['cpu_us']:10.2f}{figures['ratio']:8.3f}")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table or JSON."""
    logging.getLogger("redpool.events").setLevel(logging.ERROR)
    return in_turn.run(argv, "Measure what exporters and traces cost.", CASES, 1.0, summarized, shown)


if __name__ == "__main__":
    sys.exit(main())
