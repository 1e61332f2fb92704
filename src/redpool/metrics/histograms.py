"""Add many values to a histogram of OpenTelemetry's SDK at once.

The SDK's `record` takes one value, and longer than a multiplexed command: each time it copies, cleans, sorts and
hashes the attributes. Of a histogram's values only their sum, the smallest, the largest and how many lie in each
bucket come out. Those of many values with the same attributes are added here in one go.

That takes private names of the SDK's. So `can_add` records a few values both ways, with a provider of its own,
and compares what a reader gets; and `add` adds nothing where a histogram isn't built as it was then.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

_BOUNDS = (0.001, 0.01, 0.1)
_SAMPLE = (0.5, 0.0005, 0.001, 0.05, 0.002, 0.002)
_PLAIN = "_ExplicitBucketHistogramAggregation"
# Filters that keep no value as an exemplar which was recorded outside of a sampled span.
_FILTERS = {"AlwaysOffExemplarFilter", "TraceBasedExemplarFilter"}


def add(histogram: Any, attributes: Mapping[str, Any], values: Sequence[float]) -> bool:
    """Record values with the same attributes. Return `False`, with none recorded, where that can't be done at once.

    No value becomes an exemplar: none may have been measured in a sampled span.
    """
    matches = _matches(histogram)
    if not matches:
        return False
    # One is recorded as ever: that makes the aggregations, for a reader may have thrown them away.
    histogram.record(values[0], attributes)
    rest = sorted(values[1:])
    with ExitStack() as stack:
        for match in matches:  # while its lock is held it keeps its aggregations
            stack.enter_context(match._lock)
        aggregations = [_find(match, attributes) for match in matches]
        if None not in aggregations:
            for aggregation in aggregations:
                _merge(aggregation, rest)
            return True
    for value in rest:  # a view drops some of the attributes, or there are too many sets of them
        histogram.record(value, attributes)
    return True


def _matches(histogram: Any) -> list[Any]:
    """Return what aggregates the histogram's values for each reader; none where one does in a way of its own."""
    try:
        consumer = histogram._measurement_consumer
        if type(consumer._sdk_config.exemplar_filter).__name__ not in _FILTERS or not histogram._is_enabled():
            return []
        readers = consumer._reader_storages.values()
        matches = [match for reader in readers for match in reader._get_or_init_view_instrument_match(histogram)]
    except AttributeError:
        return []
    return matches if all(type(match._aggregation).__name__ == _PLAIN for match in matches) else []


def _find(match: Any, attributes: Mapping[str, Any]) -> Any:
    return next((each for each in match._attributes_aggregation.values() if each._attributes == attributes), None)


def _merge(aggregation: Any, ordered: Sequence[float]) -> None:
    if not ordered:
        return
    bounds, below, counts = aggregation._boundaries, 0, list[int]()
    for bound in bounds:
        up_to = bisect_right(ordered, bound)
        counts.append(up_to - below)
        below = up_to
    counts.append(len(ordered) - below)
    with aggregation._lock:
        before = aggregation._value or [0] * len(counts)
        aggregation._value = [ours + theirs for ours, theirs in zip(counts, before, strict=True)]
        aggregation._sum += sum(ordered)
        if aggregation._record_min_max:
            aggregation._min = min(aggregation._min, ordered[0])
            aggregation._max = max(aggregation._max, ordered[-1])


def can_add(histogram: Any) -> bool:
    """Return whether `add` does what recording each value does."""
    return bool(_adds_as_known() and _matches(histogram))


@functools.cache
def _adds_as_known() -> bool:
    try:
        from opentelemetry.sdk.metrics.export import AggregationTemporality

        return all(map(_alike, (AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA)))
    except Exception:  # a version without one of the names
        return False


def _alike(temporality: Any) -> bool:
    """Return whether a reader gets the same, twice, of values that are added and of those that are recorded."""
    from opentelemetry.sdk.metrics import Histogram, MeterProvider, TraceBasedExemplarFilter
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.resources import Resource

    reader = InMemoryMetricReader(preferred_temporality={Histogram: temporality})
    provider = MeterProvider([reader], Resource({}), TraceBasedExemplarFilter(), shutdown_on_exit=False)
    meter, attributes = provider.get_meter("redpool"), {"port": 6379, "name": "GET"}
    added, recorded = (
        meter.create_histogram(name, "s", "", explicit_bucket_boundaries_advisory=_BOUNDS) for name in "ab"
    )
    try:
        return all(_reads_alike(reader, added, recorded, attributes) for _ in range(2))
    finally:
        provider.shutdown()


def _reads_alike(reader: Any, added: Any, recorded: Any, attributes: Mapping[str, Any]) -> bool:
    if not add(added, attributes, _SAMPLE):
        return False
    for value in _SAMPLE:
        recorded.record(value, attributes)
    of_added, of_recorded = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    return bool(_shown(of_added) == _shown(of_recorded))


def _shown(metric: Any) -> list[Any]:
    return [
        (dict(point.attributes), point.count, point.bucket_counts, point.min, point.max, round(point.sum, 9))
        for point in metric.data.data_points
    ]
