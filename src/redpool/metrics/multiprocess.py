"""Pools in prometheus_client's multiprocess mode: each process has files of its own, and a scrape adds them up.

The files hold what `Gauge`, `Counter` and `Histogram` of prometheus_client were told; a custom collector is never asked
there. So a daemon thread of each process reads the pools at intervals, and tells these what has changed. It is started
when a pool connects: the parent of forked workers, which has the pools but no use for them, gets no thread and adds
nothing to the sums. Gauges of a process that has ended vanish by prometheus_client's `mark_process_dead`; what it has
counted stays.

`Histogram` takes one value at a time. To add many at once takes private names of it: `_add`.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from ..core.histogram import BOUNDS, Distributions
from ..core.instrument import Instrument
from ..core.stats import PoolStats
from . import numbers
from .pools import HasStats, Pools


@dataclass
class _Written:
    """What is written of a pool already."""

    gauges: set[tuple[str, str]] = field(default_factory=set)
    counters: dict[tuple[str, str], float] = field(default_factory=dict)
    distributions: Distributions = field(default_factory=Distributions)


class Writer(Instrument):
    """Writes pools' numbers to the files of each process in which one of them connects."""

    def __init__(self, every: float) -> None:
        self.every = every
        self._pools = Pools()
        self._gauges = {
            name: _metric(Gauge, name, each.text, each.label, multiprocess_mode=f"live{each.over_processes}")
            for name, each in numbers.GAUGES.items()
        }
        self._counters = {
            name: _metric(Counter, name, each.text, each.label) for name, each in numbers.COUNTERS.items()
        }
        self._histograms = {
            name: _metric(Histogram, f"{name}_seconds", text, buckets=BOUNDS)
            for name, text in numbers.HISTOGRAMS.items()
        }
        self._pid = 0  # of the process that writes
        self._written: dict[str, _Written] = {}
        self._writing = threading.Lock()
        atexit.register(self.write)

    def add(self, *pools: HasStats) -> None:
        """Write these pools, too. Raises `ValueError` where another pool has the same name."""
        self._pools.add(*pools)
        for pool in pools:
            pool.watch(self)
        if any(stats.connected or stats.connect_failures for stats in self._pools.stats()):
            self._begin()

    def connected(self, _pool: str, _seconds: float) -> None:
        """Begin to write in this process, if it doesn't yet: its pools are used from now on."""
        self._begin()

    def connect_failed(self, _pool: str, _error: BaseException) -> None:
        """Do the same."""
        self._begin()

    def _begin(self) -> None:
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        # A forked child has written nothing so far, and its parent's lock may be held for ever.
        self._written, self._writing = {}, threading.Lock()
        threading.Thread(target=self._run, name="redpool metrics", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(self.every)
            self.write()

    def write(self) -> None:
        """Write what has changed, where this process writes."""
        if self._pid != os.getpid():
            return
        with self._writing:
            pools = self._pools.alive()
            _each(self._write_pool, pools)
            _each(self._zero, self._written.keys() - {pool.config.name for pool in pools})

    def _write_pool(self, pool: HasStats) -> None:
        stats = pool.stats()
        written = self._written.setdefault(stats.name, _Written())
        self._write_numbers(stats, written)
        now, before = pool.distributions(), written.distributions
        for name, histogram in self._histograms.items():
            _add(histogram.labels(stats.name), getattr(now, name).since(getattr(before, name)))
        written.distributions = now

    def _write_numbers(self, stats: PoolStats, written: _Written) -> None:
        for name, gauge in self._gauges.items():
            for each, value in numbers.values(stats, name).items():
                written.gauges.add((name, each))
                _of(gauge, stats.name, each).set(value)
        for name, counter in self._counters.items():
            for each, value in numbers.values(stats, name).items():
                before = written.counters.get((name, each), 0)
                # Of one that has fallen, the pool was reset, or is another one of that name.
                _of(counter, stats.name, each).inc(value - before if value >= before else value)
                written.counters[name, each] = value

    def _zero(self, name: str) -> None:
        """Have a pool that is gone count for nothing; a process can't take a line of its files back."""
        for gauge, each in self._written.pop(name).gauges:
            _of(self._gauges[gauge], name, each).set(0)


_writers: list[Writer] = []
_starting = threading.Lock()


def write(pools: Iterable[HasStats], every: float) -> None:
    """Have this process write these pools' numbers every `every` seconds; of several calls the shortest time counts."""
    with _starting:
        writer = _writers[0] if _writers else Writer(every)
        _writers[:] = [writer]
    writer.every = min(writer.every, every)
    writer.add(*pools)


def _metric(kind: Any, name: str, text: str, label: str | None = None, **more: Any) -> Any:
    labels = ("pool",) if label is None else ("pool", label)
    # No registry: that of the scrape has a `MultiProcessCollector`, which reads the files.
    return kind(f"redpool_{name}", text, labels, registry=None, **more)


def _of(metric: Any, pool: str, each: str) -> Any:
    return metric.labels(pool, each) if each else metric.labels(pool)


def _add(histogram: Any, more: Any) -> None:
    """Add a distribution to a histogram of prometheus_client's, whose buckets each count what the ones below don't."""
    each = itertools.pairwise((0, *more.counts))
    for value, (below, count) in zip(histogram._buckets, each, strict=True):
        if count > below:
            value.inc(count - below)
    if more.sum:
        histogram._sum.inc(more.sum)


def _each(do: Any, things: Iterable[Any]) -> None:
    for thing in things:
        do(thing)
