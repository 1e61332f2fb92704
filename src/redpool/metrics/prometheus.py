"""Export pools to Prometheus: `export(pool)`.

In one process a collector reads the pools when Prometheus scrapes. In prometheus_client's multiprocess mode, as under
gunicorn, custom collectors aren't asked: there each process writes what has changed to its own files, at intervals.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping

try:
    from prometheus_client import REGISTRY
except ModuleNotFoundError as error:
    message = f"{__name__} needs prometheus_client: pip install 'redpool[prometheus]'"
    raise ImportError(message) from error
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from ..core.histogram import BOUNDS, Distribution
from ..core.stats import PoolStats
from . import intervals, multiprocess
from .numbers import COUNTERS, GAUGES, HISTOGRAMS, Counter, Gauge, values
from .pools import HasStats, Pools

_BUCKETS = (*map(floatToGoString, BOUNDS), "+Inf")

_collectors: dict[CollectorRegistry, PoolCollector] = {}
_registering = threading.Lock()


def export(*pools: HasStats, registry: CollectorRegistry = REGISTRY, every: float = 1.0) -> None:
    """Export these pools to Prometheus, as it is set up in this process; call it again for further pools.

    Where `PROMETHEUS_MULTIPROC_DIR` is set, a daemon thread of each process writes the pools' numbers to its own files
    there, every `every` seconds; the `registry` is then the one that has a `MultiProcessCollector`. Else a
    `PoolCollector` joins the registry. Pools are referred to weakly: one that is gone vanishes.

    Raises `ValueError` where two pools have the same name, or `every` isn't a number of seconds above 0.
    """
    intervals.check(every)
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.write(pools, every)
        return
    with _registering:
        collector = _collectors.get(registry)
        if collector is None:
            collector = PoolCollector()
            registry.register(collector)
            _collectors[registry] = collector
    collector.add(*pools)


class PoolCollector(Collector):
    """Export the stats of pools to a registry, when it is read: `REGISTRY.register(PoolCollector(pool))`.

    A registry takes one collector; `add` further pools to it. Pools are referred to weakly: one that is gone vanishes.
    """

    def __init__(self, *pools: HasStats) -> None:
        self._pools = Pools(*pools)

    def add(self, *pools: HasStats) -> None:
        """Export these pools, too. Raises `ValueError` where another pool has the same name."""
        self._pools.add(*pools)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of every pool; gauges and counters of one pool are all of one moment."""
        pools = self._pools.alive()
        every = [pool.stats() for pool in pools]
        yield from _families(GaugeMetricFamily, GAUGES, every)
        yield from _families(CounterMetricFamily, COUNTERS, every)
        durations = [(stats.name, pool.distributions()) for stats, pool in zip(every, pools, strict=True)]
        for name, text in HISTOGRAMS.items():
            of_histogram = HistogramMetricFamily(f"redpool_{name}_seconds", text, labels=("pool",))
            for pool_name, distributions in durations:
                distribution: Distribution = getattr(distributions, name)
                buckets = list(zip(_BUCKETS, distribution.counts, strict=True))
                of_histogram.add_metric((pool_name,), buckets, distribution.sum)
            yield of_histogram


def _families(
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
    numbers: Mapping[str, Gauge] | Mapping[str, Counter],
    every: list[PoolStats],
) -> Iterator[Metric]:
    for name, number in numbers.items():
        labels = ("pool",) if number.label is None else ("pool", number.label)
        family = kind(f"redpool_{name}", number.text, labels=labels)
        for stats in every:
            for each, value in values(stats, name).items():
                family.add_metric((stats.name, each)[: len(labels)], value)
        yield family
