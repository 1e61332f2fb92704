"""redis-py's OpenTelemetry recorder, as tests switch it on, and what it has recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis.asyncio.observability.recorder
import redis.observability.recorder
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from redis.observability.config import MetricGroup, OTelConfig
from redis.observability.providers import get_observability_instance

DURATION = "db.client.operation.duration"
GROUPS = [MetricGroup.COMMAND, MetricGroup.RESILIENCY]


class Recorded:
    """redis-py's recorder, and what it has recorded."""

    def __init__(self) -> None:
        self.views: list[View] = []
        self.temporality = AggregationTemporality.CUMULATIVE
        self._reader: InMemoryMetricReader | None = None
        self.provider: MeterProvider | None = None

    def begin(self, **config: Any) -> None:
        """Begin anew, with a provider of its own."""
        self.end()
        self._reader = InMemoryMetricReader(preferred_temporality={Histogram: self.temporality})
        self.provider = MeterProvider([self._reader], views=self.views, shutdown_on_exit=False)
        get_observability_instance().init(OTelConfig(**{"metric_groups": GROUPS, **config}))

    def end(self) -> None:
        """Switch it off."""
        get_observability_instance().shutdown()
        redis.observability.recorder.reset_collector()
        redis.asyncio.observability.recorder.reset_collector()
        if self.provider is not None:
            self.provider.shutdown()
            self.provider = None

    def read(self, show: Callable[[Any], tuple[Any, ...]] | None = None) -> dict[str, list[Any]]:
        """All that is recorded but the times: for each metric what it is, and its points."""
        assert self._reader is not None
        data = self._reader.get_metrics_data()
        metrics_of = [] if data is None else data.resource_metrics[0].scope_metrics
        return {
            metric.name: [
                (scope.scope.name, scope.scope.version, metric.unit, metric.description),
                *sorted(map(show or without_times, metric.data.data_points), key=repr),
            ]
            for scope in metrics_of
            for metric in scope.metrics
        }

    def count(self, name: str = "GET") -> int:
        """How often the duration of a command was recorded."""
        points = self.read().get(DURATION, [None])[1:]
        return sum(count for attributes, count, _ in points if attributes["db.operation.name"] == name)


def without_times(point: Any) -> tuple[Any, ...]:
    """What a point says, its times aside."""
    attributes = dict(sorted(point.attributes.items()))
    if hasattr(point, "value"):
        return attributes, point.value
    return attributes, point.count, getattr(point, "explicit_bounds", None)


def with_times(point: Any) -> tuple[Any, ...]:
    """What a point says, with its times."""
    buckets = getattr(point, "bucket_counts", None) or (point.positive, point.zero_count)
    return *without_times(point), buckets, point.min, point.max, round(point.sum, 6)


def exemplars(point: Any) -> tuple[Any, ...]:
    """A point's exemplars."""
    return tuple((each.value, each.span_id, each.trace_id) for each in getattr(point, "exemplars", ()))
