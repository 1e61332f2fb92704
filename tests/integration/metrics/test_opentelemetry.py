"""Pools as OpenTelemetry sees them."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.metrics import Histogram, Meter, NoOpMeter
from opentelemetry.semconv._incubating.attributes import db_attributes as attributes
from opentelemetry.semconv._incubating.metrics import db_metrics as conventions
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from redpool.metrics import opentelemetry as exporter
from redpool.metrics.opentelemetry import OpenTelemetryInstrument, instrument
from support.faces import Face, eventually, together

from .exporters import Reader

POOL = attributes.DB_CLIENT_CONNECTION_POOL_NAME
STATE = attributes.DB_CLIENT_CONNECTION_STATE


def test_names_and_units_are_those_of_the_conventions(threads: Face, at: dict[str, Any]) -> None:
    """Metrics, attributes and states are called what OpenTelemetry calls them; a time is in seconds."""
    reader = Reader()
    instruments = [OpenTelemetryInstrument(reader.meter)]
    pool = threads.pool(**at, name="named", max_connections=3, min_idle=1, instruments=instruments)
    instrument(pool, meter=reader.meter)
    threads.client(pool).ping()
    assert eventually(lambda: reader.points("create_time"))  # it hears of a connect just after the caller does
    assert {name: metric.unit for name, metric in reader.metrics().items()} == {
        conventions.DB_CLIENT_CONNECTION_COUNT: "{connection}",
        conventions.DB_CLIENT_CONNECTION_MAX: "{connection}",
        conventions.DB_CLIENT_CONNECTION_IDLE_MAX: "{connection}",
        conventions.DB_CLIENT_CONNECTION_IDLE_MIN: "{connection}",
        conventions.DB_CLIENT_CONNECTION_PENDING_REQUESTS: "{request}",
        conventions.DB_CLIENT_CONNECTION_TIMEOUTS: "{timeout}",
        conventions.DB_CLIENT_CONNECTION_CREATE_TIME: "s",
        conventions.DB_CLIENT_CONNECTION_WAIT_TIME: "s",
        conventions.DB_CLIENT_CONNECTION_USE_TIME: "s",
    }
    assert [each for each, _ in reader.points("count")] == [
        {POOL: "named", STATE: attributes.DbClientConnectionStateValues.IDLE.value},
        {POOL: "named", STATE: attributes.DbClientConnectionStateValues.USED.value},
    ]
    assert [each for each, _ in reader.points("use_time")] == [{POOL: "named"}]
    assert [point.value for name in ("max", "idle.max", "idle.min") for _, point in reader.points(name)] == [3, 3, 1]
    kinds = {name: metric.data for name, metric in reader.metrics().items()}
    assert kinds[conventions.DB_CLIENT_CONNECTION_TIMEOUTS].is_monotonic is True
    assert kinds[conventions.DB_CLIENT_CONNECTION_COUNT].is_monotonic is False


def test_histograms_record_every_value(face: Face, at: dict[str, Any]) -> None:
    """An `OpenTelemetryInstrument` counts what the pool counts, in buckets fit for seconds."""
    reader = Reader()
    pool = face.pool(**at, max_connections=3, instruments=[OpenTelemetryInstrument(reader.meter)])
    face.open_connections(pool, 3)
    for _ in range(10):
        face.client(pool).ping()
    stats = pool.stats()
    for name, summary in {"create_time": stats.connect, "wait_time": stats.wait, "use_time": stats.use}.items():
        ((_, point),) = reader.points(name)
        assert point.count == summary.count
        assert point.sum == pytest.approx(summary.mean * summary.count)
        assert tuple(point.explicit_bounds) == exporter.BOUNDARIES


def test_further_pools_join_and_those_that_are_gone_vanish(threads: Face, at: dict[str, Any]) -> None:
    """`instrument` may be called again; pools are held weakly; two of one name are refused."""
    reader = Reader()
    first, second = threads.pool(**at, name="first"), threads.pool_class(**at, name="second")
    instrument(first, meter=reader.meter)
    instrument(second, meter=reader.meter)
    instrument(first, meter=reader.meter)
    assert [each[POOL] for each, _ in reader.points("max")] == ["first", "second"]
    del second
    gc.collect()
    assert [each[POOL] for each, _ in reader.points("max")] == ["first"]
    with pytest.raises(ValueError, match="'first'"):
        instrument(threads.pool(**at, name="first"), meter=reader.meter)


def test_the_global_meter_is_the_default(threads: Face, at: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a meter the global provider's is used, the same one each time, called `redpool`."""
    reader, names = Reader(), []

    def get_meter(name: str) -> Meter:
        names.append(name)
        return reader.meter

    exporter._global_meter.cache_clear()
    monkeypatch.setattr(metrics, "get_meter", get_meter)
    pool = threads.pool(**at, name="global", instruments=[OpenTelemetryInstrument()])
    other = threads.pool(**at, name="other")
    instrument(pool)
    instrument(other)
    assert [each[POOL] for each, _ in reader.points("max")] == ["global", "other"]
    assert names == ["redpool"]
    exporter._global_meter.cache_clear()


def test_an_older_api_has_no_say_in_buckets() -> None:
    """Before 1.30 `create_histogram` doesn't know of boundaries; the histograms are made all the same."""

    class Older(NoOpMeter):
        def create_histogram(self, name: str, unit: str = "", description: str = "") -> Histogram:  # type: ignore[override]
            made.append(name)
            return super().create_histogram(name, unit, description)

    made: list[str] = []
    OpenTelemetryInstrument(Older("older")).connected("pool", 0.1)
    assert made == [f"db.client.connection.{name}" for name in ("create_time", "wait_time", "use_time")]


def test_many_are_recorded_once(face: Face, at: dict[str, Any]) -> None:
    """By several threads or tasks at a time, whether a reader comes in between or not."""
    reader = Reader()
    instrument = OpenTelemetryInstrument(reader.meter)
    pool = face.pool(**at, name="many", max_connections=4, instruments=[instrument])
    reads = []

    def use(number: int) -> None:
        for turn in range(150):
            pool.release(pool.get_connection())
            if number == 0 and turn % 50 == 0:
                reads.append(reader.points("use_time"))

    together(4, use)
    for name in ("wait_time", "use_time"):
        ((_, point),) = reader.points(name)
        assert point.count == 600
    for _ in range(exporter._MOST + 1):
        instrument.released("other", 0.5)
    assert len(instrument._uses["other"]._durations) == 1
    assert sorted(point.count for _, point in reader.points("use_time")) == [600, exporter._MOST + 1]


def test_what_a_sampled_span_has_measured_may_be_an_exemplar(threads: Face, at: dict[str, Any]) -> None:
    """It shows which one it was."""
    reader = Reader()
    pool = threads.pool(**at, instruments=[OpenTelemetryInstrument(reader.meter)])
    span = NonRecordingSpan(SpanContext(5, 6, is_remote=False, trace_flags=TraceFlags(1)))
    with trace.use_span(span):
        pool.release(pool.get_connection())
    pool.release(pool.get_connection())
    ((_, point),) = reader.points("use_time")
    assert point.count == 2
    assert {(exemplar.trace_id, exemplar.span_id) for exemplar in point.exemplars} == {(5, 6)}
