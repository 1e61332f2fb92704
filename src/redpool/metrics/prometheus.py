"""Export pools to Prometheus, which reads them when it scrapes: `REGISTRY.register(PoolCollector(pool))`."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from ..core.histogram import Summary
from ..core.stats import MultiplexedPoolStats, PoolStats
from .pools import HasStats, Pools

STATES = ("idle", "in_use", "connecting")

COUNTERS = {
    "acquired": "Checkouts, in all.",
    "waited": "Checkouts that found no idle connection.",
    "timeouts": "Callers that waited for a connection in vain.",
    "rejected": "Callers rejected at once: the queue was full, or the pool was shut down.",
    "connected": "Connections opened.",
    "connect_failures": "Connects that failed.",
    "released": "Connections released.",
    "leaks": "Leases reported because they were older than leak_after.",
}

SHARED_COUNTERS = {
    "commands": "Commands sent over shared connections.",
    "writes": "Writes that sent commands over shared connections.",
    "cancelled": "Commands whose callers left before the reply came.",
}

SUMMARIES = {
    "wait": "Seconds that callers waited for a connection.",
    "use": "Seconds from checkout to release.",
    "connect": "Seconds that connects took, handshake included.",
}

QUANTILES = {"0.5": "p50", "0.9": "p90", "0.99": "p99", "0.999": "p999"}


class PoolCollector(Collector):
    """Export the stats of pools, which it refers to weakly: one that is gone vanishes.

    A registry takes one collector; `add` further pools to it. All quantiles count from the pool's creation.
    """

    def __init__(self, *pools: HasStats) -> None:
        self._pools = Pools(*pools)
        self._sums: dict[tuple[str, str], tuple[int, float]] = {}

    def add(self, *pools: HasStats) -> None:
        """Export these pools, too. Raises `ValueError` where another pool has the same name."""
        self._pools.add(*pools)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of every pool, each from one reading of the pool's stats, so that they are consistent."""
        every = self._pools.stats()
        yield from _gauges(every)
        yield from _counters(every)
        yield from _shared([stats for stats in every if isinstance(stats, MultiplexedPoolStats)])
        for name, text in SUMMARIES.items():
            family = SummaryMetricFamily(f"redpool_{name}_seconds", text)
            for stats in every:
                family.samples += self._samples(family.name, name, stats)
            yield family

    def _samples(self, full_name: str, name: str, stats: PoolStats) -> Iterator[Sample]:
        summary: Summary = getattr(stats, name)
        labels = {"pool": stats.name}
        for quantile, field in QUANTILES.items():
            yield Sample(full_name, {**labels, "quantile": quantile}, getattr(summary, field))
        yield Sample(f"{full_name}_count", labels, summary.count)
        yield Sample(f"{full_name}_sum", labels, self._sum((stats.name, name), summary))

    def _sum(self, key: tuple[str, str], summary: Summary) -> float:
        # A mean times its count has a rounding error, up or down; Prometheus takes a sum that falls for a restart.
        count, least = self._sums.get(key, (0, 0.0))
        total = summary.mean * summary.count
        if summary.count >= count:
            total = max(total, least)
        self._sums[key] = summary.count, total
        return total


def _gauges(every: list[PoolStats]) -> Iterator[Metric]:
    connections = GaugeMetricFamily("redpool_connections", "Connections, by state.", labels=("pool", "state"))
    most = GaugeMetricFamily("redpool_connections_max", "The most connections open at once.", labels=("pool",))
    waiting = GaugeMetricFamily("redpool_waiting", "Callers in the queue.", labels=("pool",))
    oldest = GaugeMetricFamily(
        "redpool_oldest_wait_seconds", "Seconds that the first caller in the queue has waited.", labels=("pool",)
    )
    for stats in every:
        for state in STATES:
            connections.add_metric((stats.name, state), getattr(stats, state))
        most.add_metric((stats.name,), stats.max_connections)
        waiting.add_metric((stats.name,), stats.waiting)
        oldest.add_metric((stats.name,), stats.oldest_wait)
    yield from (connections, most, waiting, oldest)


def _counters(every: list[PoolStats]) -> Iterator[Metric]:
    for name, text in COUNTERS.items():
        counter = CounterMetricFamily(f"redpool_{name}", text, labels=("pool",))
        for stats in every:
            counter.add_metric((stats.name,), getattr(stats, name))
        yield counter
    closed = CounterMetricFamily("redpool_closed", "Connections closed, by reason.", labels=("pool", "reason"))
    for stats in every:
        for reason, count in stats.closed.items():
            closed.add_metric((stats.name, reason), count)
    yield closed


def _shared(every: list[MultiplexedPoolStats]) -> Iterator[Metric]:
    if not every:
        return
    in_flight = GaugeMetricFamily("redpool_in_flight", "Commands that await a reply.", labels=("pool",))
    for stats in every:
        in_flight.add_metric((stats.name,), stats.in_flight)
    yield in_flight
    for name, text in SHARED_COUNTERS.items():
        counter = CounterMetricFamily(f"redpool_{name}", text, labels=("pool",))
        for stats in every:
            counter.add_metric((stats.name,), getattr(stats, name))
        yield counter
