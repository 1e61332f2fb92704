"""One face for all exporters, so that a rule is written once: what each of them exports, as plain numbers."""

from __future__ import annotations

import logging
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from redpool.metrics.logs import stats_line
from redpool.metrics.opentelemetry import instrument
from redpool.metrics.prometheus import PoolCollector

GAUGES = ("idle", "in_use", "max_connections", "waiting", "timeouts")


class Exporter:
    """Exports one pool; `read()` returns what a collector would see."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    def read(self) -> dict[str, float]:
        """The numbers called `GAUGES`."""
        raise NotImplementedError


class Prometheus(Exporter):
    """By a registry."""

    def __init__(self, pool: Any) -> None:
        super().__init__(pool)
        self.registry = CollectorRegistry(auto_describe=True)
        self.registry.register(PoolCollector(pool))

    def read(self) -> dict[str, float]:
        seen = {
            (sample.name, sample.labels.get("state")): sample.value
            for family in self.registry.collect()
            for sample in family.samples
        }
        return {
            "idle": seen["redpool_connections", "idle"],
            "in_use": seen["redpool_connections", "in_use"],
            "max_connections": seen["redpool_connections_max", None],
            "waiting": seen["redpool_waiting", None],
            "timeouts": seen["redpool_timeouts_total", None],
        }


class Reader:
    """A meter, and what was measured by it."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader])
        self.meter = self.provider.get_meter("tests")

    def metrics(self) -> dict[str, Any]:
        """Each metric by its name."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """The attributes and the point of each series; names without `db.client.connection`."""
        metric = self.metrics().get(f"db.client.connection.{name}")
        return [(dict(point.attributes), point) for point in metric.data.data_points] if metric else []


class OpenTelemetry(Exporter):
    """By a meter provider."""

    def __init__(self, pool: Any) -> None:
        super().__init__(pool)
        self.reader = Reader()
        instrument(pool, meter=self.reader.meter)

    def read(self) -> dict[str, float]:
        seen = {
            (
                name.removeprefix("db.client.connection."),
                point.attributes.get("db.client.connection.state"),
            ): point.value
            for name, metric in self.reader.metrics().items()
            for point in metric.data.data_points
        }
        return {
            "idle": seen["count", "idle"],
            "in_use": seen["count", "used"],
            "max_connections": seen["max", None],
            "waiting": seen["pending_requests", None],
            "timeouts": seen["timeouts", None],
        }


class Logs(Exporter):
    """By the line for the log."""

    def read(self) -> dict[str, float]:
        seen = dict(pair.split("=") for pair in stats_line(self.pool.stats()).split(" "))
        return {name: float(seen[name]) for name in GAUGES}


class Lines(logging.Handler):
    """The lines that were logged."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.logger = logging.Logger("tests", logging.INFO)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.seen.append(record.getMessage())
