"""With redis-py's OpenTelemetry recording on, redpool's clients record what redis-py's do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import redis
import redis.asyncio.observability.recorder
import redis.observability.recorder
from opentelemetry import trace
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.metrics.view import DropAggregation, ExponentialBucketHistogramAggregation, View
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from redis.observability.config import MetricGroup
from redis.observability.providers import get_observability_instance

from redpool import deadline
from redpool.metrics import histograms
from redpool.redispy import recording
from redpool.testing import ScriptedServer
from support.faces import Face, together
from support.mute import Mute
from support.recorder import DURATION, Recorded, exemplars, with_times

HANG_UP = ConnectionResetError()
ERRORS = "redis.client.errors"
Program = Callable[[Any], object]


def both(recorded: Recorded, face: Face, at: dict[str, Any], program: Program, **config: Any) -> tuple[Any, Any]:
    """What is recorded of a program with redis-py's client and with redpool's, which are connected before."""
    theirs, ours = face.theirs(**at), face.own(**at)
    seen = []
    for client in (theirs, ours):
        client.get("before")
        recorded.begin(**config)
        program(client)
        found = recorded.read()
        seen.append({name: found.get(name) for name in (DURATION, ERRORS)})
    theirs.close()
    return seen[0], seen[1]


def commands(client: Any) -> None:
    """Commands of several kinds: with and without a callback, with a list, with an error."""
    client.set("text", "value")
    for _ in range(3):
        client.get("text")
    client.rpush("list", 1, 2, 3)
    client.lrange("list", 0, -1)
    client.hset("hash", "field", "value")
    client.hgetall("hash")
    client.execute_command("get", "text")
    client.execute_command(b"GET", "text")
    with suppress(redis.ResponseError):
        client.incr("list")


def pipelines(client: Any) -> None:
    """Pipelines and transactions, with and without an error."""
    for transaction in (False, True):
        client.pipeline(transaction=transaction).set("text", "1").get("text").execute()
        pipe = client.pipeline(transaction=transaction).rpush("list", 1).get("list")
        with suppress(redis.ResponseError):
            pipe.execute()
        client.pipeline(transaction=transaction).get("list").execute(raise_on_error=False)


def own_connections(client: Any) -> None:
    """What needs a connection of its own."""
    client.blpop("nothing", timeout=0.01)
    client.execute_command("CLIENT", "ID")
    client.publish("channel", "message")


@pytest.mark.parametrize("program", [commands, pipelines, own_connections])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"metric_groups": [MetricGroup.COMMAND]},
        {"exclude_commands": ["GET", "MULTI"]},
        {"metric_groups": [MetricGroup.COMMAND], "include_commands": ["GET"], "buckets_operation_duration": [0.5, 2]},
    ],
    ids=["all", "without errors", "some excluded", "one included"],
)
def test_the_same_is_recorded(
    face: Face, at: dict[str, Any], recorded: Recorded, program: Program, config: dict[str, Any]
) -> None:
    """Names, units, attributes, boundaries and counts are redis-py's own."""
    theirs, ours = both(recorded, face, at, program, **config)
    assert theirs == ours


def test_the_short_way_is_kept(
    face: Face, at: dict[str, Any], recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis-py's own way asks the pool for a connection for each call."""
    client = face.own(**at)
    client.get("key")
    recorded.begin()
    monkeypatch.setattr(face.redpool.MultiplexedConnectionPool, "get_connection", None)
    client.get("key")
    client.pipeline().get("key").execute()
    assert (recorded.count(), recorded.count("MULTI")) == (1, 1)


def test_a_call_that_is_out_of_time_is_recorded(face: Face, mute: Mute, recorded: Recorded) -> None:
    """As redis-py's client records it over the same kind of pool."""
    ours = face.own(**mute.at)
    theirs = face.client(face.own(**mute.at).connection_pool)
    seen = []
    for client in (theirs, ours):
        client.get("key")
        mute.withhold("GET")
        recorded.begin()
        with pytest.raises(redis.TimeoutError), deadline(0.05):
            client.get("key")
        seen.append(recorded.read()[ERRORS])
        mute.restore("GET")
    assert seen[0] == seen[1]


def test_tries_are_recorded(face: Face, recorded: Recorded, scripted: ScriptedServer) -> None:
    """One that fails and is followed by another one, and the last one."""
    seen = []
    for make in (face.theirs, face.own):
        client = make(host=scripted.host, port=scripted.port, retry=face.retry(1))
        scripted.answer("GET", "ok")
        client.get("key")
        recorded.begin()
        scripted.answer("GET", HANG_UP, "ok")
        client.get("key")
        scripted.answer("GET", HANG_UP, HANG_UP, "ok")
        with pytest.raises(redis.ConnectionError):
            client.get("key")
        found = recorded.read()
        internal = [point for point in found[ERRORS][1:] if not point[0]["redis.client.errors.internal"]]
        seen.append((found[DURATION], internal))
        client.close()
    assert seen[0] == seen[1]


# -- many durations ----------------------------------------------------------------------------------------------------

MANY = 2 * recording.MOST + 7
DURATIONS = [number / MANY for number in range(MANY)]


def noted() -> None:
    """Have durations noted, by several threads at a time."""
    made = recording.of(False)
    assert made is not None
    commands = made.commands(redis.Connection())

    def note(number: int) -> None:
        for duration in DURATIONS[number::4]:
            commands.note("GET", duration)

    together(4, note)


def recorded_singly() -> None:
    """Have redis-py record the same durations."""
    for duration in DURATIONS:
        redis.observability.recorder.record_operation_duration("GET", duration, "localhost", 6379, "0")


VIEWS = {
    "as it is": [],
    "exponential": [View(instrument_name=DURATION, aggregation=ExponentialBucketHistogramAggregation())],
    "with fewer attributes": [View(instrument_name=DURATION, attribute_keys={"db.operation.name"})],
    "twice": [View(instrument_name=DURATION), View(instrument_name=DURATION, name="again")],
    "dropped": [View(instrument_name=DURATION, aggregation=DropAggregation())],
}


@pytest.mark.parametrize("temporality", [AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA])
@pytest.mark.parametrize("views", VIEWS.values(), ids=VIEWS)
def test_all_that_is_noted_is_recorded(
    recorded: Recorded, views: list[View], temporality: AggregationTemporality
) -> None:
    """At each collection, whatever becomes of the values."""
    recorded.views, recorded.temporality = views, temporality
    seen = []
    for record in (recorded_singly, noted):
        recorded.begin()
        record()
        first = recorded.read(with_times)
        record()
        seen.append((first, recorded.read(with_times)))
    assert seen[0] == seen[1]
    assert views == VIEWS["dropped"] or seen[0][0]


def test_another_sdk_gets_each_duration(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose inside isn't as it is known."""
    monkeypatch.setattr(histograms, "_adds_as_known", lambda: False)
    recorded.begin()
    noted()
    assert recorded.count() == MANY


def test_what_is_noted_is_recorded_as_the_recorder_ends(recorded: Recorded) -> None:
    """Redis-py flushes then, which has the reader collect."""
    recorded.begin()
    noted()
    get_observability_instance().shutdown()
    assert recorded.count() == MANY


def test_a_trace_gets_itsexemplars(recorded: Recorded) -> None:
    """A duration that was measured in a sampled span shows which one it was."""
    recorded.begin()
    made = recording.of(False)
    assert made is not None
    commands = made.commands(redis.Connection())
    for sampled in (True, False):
        span = NonRecordingSpan(SpanContext(5, 6, is_remote=False, trace_flags=TraceFlags(int(sampled))))
        with trace.use_span(span):
            commands.note("GET", 0.25)
    assert recorded.read(exemplars)[DURATION][1:] == [((0.25, 6, 5),)]
    assert recorded.count() == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_can_record(recorded: Recorded) -> None:
    """Though a thread of its parent recorded what was noted just then."""
    recorded.begin()
    noted()
    made = recording.of(False)
    assert made is not None
    with made._recording[os.getpid()]:
        child = os.fork()
        if child == 0:
            signal.alarm(5)
            recorded.read()
            noted()
            os._exit(0 if recorded.count() == 2 * MANY else 1)
    assert os.waitpid(child, 0)[1] == 0
