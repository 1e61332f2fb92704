"""A span for each call, as OpenTelemetry's SDK gets it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
import redis.client
from opentelemetry import context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.semconv.attributes import db_attributes, error_attributes, server_attributes

import redpool
import redpool.asyncio
import redpool.sync.client
from redpool.instrumentation import opentelemetry
from redpool.testing import ScriptedServer
from redpool.wire.pipeline import Request
from support.faces import Doing, Face, eventually, together
from support.mute import Mute

NAME, BATCH = db_attributes.DB_OPERATION_NAME, db_attributes.DB_OPERATION_BATCH_SIZE
ERROR = error_attributes.ERROR_TYPE
SECRET = "top-secret"


class Spans:
    """A tracer provider, and the spans that are ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("tests")

    def read(self) -> list[ReadableSpan]:
        """Those since the last time."""
        ended = list(self._exporter.get_finished_spans())
        self._exporter.clear()
        return ended


@pytest.fixture
def spans() -> Iterator[Spans]:
    """The spans of a test, in which calls are traced."""
    made = Spans()
    opentelemetry.instrument(made.provider)
    yield made
    opentelemetry.uninstrument()


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def _events(span: ReadableSpan) -> dict[str, dict[str, Any]]:
    assert len({event.name for event in span.events}) == len(span.events)
    return {event.name.removeprefix("redpool."): dict(event.attributes or {}) for event in span.events}


def _seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def _commands(client: Any) -> None:
    """Commands, pipelines, transactions, a WATCH and errors; each has a secret in it."""
    client.set(SECRET, SECRET)
    client.get(SECRET)
    client.execute_command(f"get\t{SECRET}")
    client.pipeline(transaction=False).get(SECRET).set(SECRET, SECRET).execute()
    client.pipeline().get(SECRET).get(SECRET).execute()
    with client.pipeline() as pipe:
        pipe.watch(SECRET)
        pipe.get(SECRET)
        pipe.multi()
        pipe.set(SECRET, SECRET)
        pipe.execute()
    with suppress(redis.ResponseError):
        client.pipeline(transaction=False).lpush(SECRET, SECRET).get(SECRET).execute()
    with suppress(redis.ResponseError):
        client.lpush(SECRET, SECRET)


def test_each_call_leaves_a_span(any_face: Face, at: dict[str, Any], spans: Spans) -> None:
    """With the conventions' attributes; names and sizes, but no key, no value and no error's text."""
    pool = any_face.pool(**at, db=1, name="traced")
    client = any_face.client(pool)
    _commands(client)
    client.delete(SECRET)
    seen = spans.read()[:-1]
    assert [(span.name, _attributes(span).get(BATCH), _attributes(span).get(ERROR)) for span in seen] == [
        ("SET", None, None),
        ("GET", None, None),
        ("GET", None, None),
        ("PIPELINE", 2, None),
        ("MULTI GET", 2, None),
        ("WATCH", None, None),
        ("GET", None, None),
        ("MULTI SET", None, None),
        ("PIPELINE", 2, "ResponseError"),
        ("LPUSH", None, "ResponseError"),
    ]
    for span in seen:
        assert SECRET not in span.to_json().lower()
        assert span.kind.name == "CLIENT"
        assert span.status.is_ok is (ERROR not in _attributes(span))
        assert _attributes(span)[NAME] == span.name
        assert {
            db_attributes.DB_SYSTEM_NAME: "redis",
            db_attributes.DB_NAMESPACE: "1",
            server_attributes.SERVER_ADDRESS: at["host"],
            server_attributes.SERVER_PORT: at["port"],
            "db.client.connection.pool.name": "traced",
        }.items() <= _attributes(span).items()


def test_events_say_what_a_call_has_waited_for(any_face: Face, at: dict[str, Any], spans: Spans) -> None:
    """For the connection at first, and for how long it was connected; not for one that is there."""
    client = any_face.client(any_face.pool(**at))
    client.get("key")
    client.get("key")
    seen = spans.read()
    first, second = map(_events, seen)
    assert first.keys() - {"write"} == {"wait", "connect"}
    assert 0 < first["connect"]["redpool.duration"] <= first["wait"]["redpool.duration"]
    assert second.keys() - {"write"} == set()
    shared = "multiplexed" in any_face.pool_class.__name__.lower()
    for events in (first, second):
        assert ("write" in events) is shared
        assert not shared or events["write"]["redpool.batch.size"] == 1
    # The one begins where the other ends; the clocks may differ a little.
    queued = first.get("write", {}).get("redpool.duration", 0.0)
    assert queued + first["wait"]["redpool.duration"] <= _seconds(seen[0]) + 0.001


def test_a_caller_in_the_queue_says_how_long(face: Face, at: dict[str, Any], spans: Spans) -> None:
    """It got another one's connection: none was connected for it."""
    pool = face.pool(**at, max_connections=1, timeout=60)
    held = pool.get_connection()
    waiting = Doing(lambda: face.client(pool).get("key"))
    assert eventually(lambda: pool.stats().oldest_wait > 0.01)
    pool.release(held)
    waiting.result()
    (events,) = map(_events, spans.read())
    assert events.keys() == {"wait"}
    assert events["wait"]["redpool.duration"] > 0.01


def test_one_that_is_connected_anew_says_so(any_face: Face, at: dict[str, Any], spans: Spans, watch: Any) -> None:
    """The server has hung up in between."""
    client = any_face.client(any_face.pool(**at, client_name="anew", max_connections=1))
    client.get("key")
    watch.kill(*watch.ids("anew"))
    client.get("key")
    assert _events(spans.read()[-1]).keys() - {"write"} == {"wait", "connect"}


def test_tasks_share_writes(at: dict[str, Any], spans: Spans) -> None:
    """Traced calls are still written together, and each says with how many."""

    async def main(make: Any) -> Any:
        pool = redpool.asyncio.MultiplexedConnectionPool(**at)
        async with pool:
            client = make(connection_pool=pool)
            await client.get("key")
            await asyncio.gather(*(client.get("key") for _ in range(8)))
            return pool.stats()

    for make in (redpool.asyncio.Redis, redis.asyncio.Redis):
        stats = asyncio.run(main(make))
        # The first of the eight may go alone: no other one was there before.
        sizes = sorted(_events(span)["write"]["redpool.batch.size"] for span in spans.read())
        assert (stats.commands, stats.writes, sizes) in ((9, 2, [1, *[8] * 8]), (9, 3, [1, 1, *[7] * 7]))


def test_threads_share_writes(at: dict[str, Any], spans: Spans) -> None:
    """Whatever is queued while a thread writes goes out together, as it does without traces."""
    with redpool.MultiplexedConnectionPool(**at) as pool:
        client = redpool.Redis(connection_pool=pool)
        client.get("key")
        (connection,) = pool._engine.multiplexed.all_there_are()
        assert connection.writer.try_enter()
        doing = [Doing(lambda: client.get("key")) for _ in range(4)]
        assert eventually(lambda: len(connection.pipeline.queued) == 4)
        connection.writer.leave()
        connection._hand_on()
        for each in doing:
            each.result()
        assert [_events(span)["write"]["redpool.batch.size"] for span in spans.read()] == [1, 4, 4, 4, 4]
        assert pool.stats().writes == 2


def test_the_short_way_is_kept(
    multiplexed_face: Face, at: dict[str, Any], spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client of redpool's asks the pool for no connection; redis-py's for a virtual one at most."""
    pool = multiplexed_face.pool(**at)
    client = multiplexed_face.client(pool)
    client.get("key")
    if multiplexed_face.own_client:
        monkeypatch.setattr(multiplexed_face.pool_class, "get_connection", None)
    client.get("key")
    client.pipeline().get("key").execute()
    monkeypatch.undo()
    assert pool.stats().acquired == 1
    assert len(spans.read()) == 3


def test_a_span_has_its_callers_parent(any_face: Face, at: dict[str, Any], spans: Spans) -> None:
    """In each thread or task the span that is current there, at whatever time others call."""
    client = any_face.client(any_face.pool(**at))

    def work(number: int) -> int:
        with spans.tracer.start_as_current_span(f"work {number}") as parent:
            client.get("key")
            client.pipeline(transaction=False).get("key").execute()
            return parent.get_span_context().span_id

    parents = sorted(doing.result() for doing in together(4, work))
    children = [span.parent.span_id for span in spans.read() if span.parent is not None]
    assert sorted(children) == sorted([*parents, *parents])


def test_a_late_call_is_an_error(multiplexed_face: Face, mute: Mute, spans: Spans) -> None:
    """The deadline's error is the span's, and its text isn't."""
    client = multiplexed_face.client(multiplexed_face.pool(**mute.at))
    client.get("key")
    mute.withhold("GET")
    with pytest.raises(redpool.DeadlineExceeded), redpool.deadline(0.05):
        client.get("key")
    mute.restore("GET")
    span = spans.read()[-1]
    assert (span.status.is_ok, span.status.description) == (False, None)
    assert _attributes(span)[ERROR] == "DeadlineExceeded"


def test_a_call_that_is_tried_again_is_one_span(any_face: Face, spans: Spans, scripted: ScriptedServer) -> None:
    """Each try leaves its events."""
    scripted.answer("GET", "ok")
    client = any_face.client(any_face.pool(host=scripted.host, port=scripted.port, retry=any_face.retry(2)))
    client.get("key")
    spans.read()
    scripted.answer("GET", ConnectionResetError(), "ok")
    client.get("key")
    (span,) = spans.read()
    assert span.status.is_ok
    assert "redpool.wait" in [event.name for event in span.events]


def test_others_calls_leave_none(face: Face, at: dict[str, Any], spans: Spans) -> None:
    """Those over redis-py's own pools, of subscribers, and where instrumentation is suppressed."""
    theirs = face.theirs(**at)
    theirs.get("key")
    theirs.close()
    client = face.client(face.pool(**at))
    with client.pubsub() as pubsub:
        pubsub.subscribe("channel")
        assert eventually(lambda: (pubsub.get_message(timeout=1) or {}).get("type") == "subscribe")
        assert client.publish("channel", "hello") == 1
        assert eventually(lambda: (pubsub.get_message(timeout=1) or {}).get("data") == b"hello")
    assert [span.name for span in spans.read()] == ["PUBLISH"]
    token = context.attach(context.set_value("suppress_instrumentation", True))
    client.get("key")
    context.detach(token)
    assert spans.read() == []


def test_calls_that_are_not_sampled_keep_the_shortest_way(
    face: Face, at: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are followed in nothing."""
    opentelemetry.instrument(TracerProvider(ALWAYS_OFF, shutdown_on_exit=False))
    client = face.own(**at)
    client.get("key")
    monkeypatch.setattr(face.redpool.Redis, "_execute", None)
    monkeypatch.setattr(opentelemetry._Call, "waited", None)
    client.get("key")
    opentelemetry.uninstrument()


_WRAPPED = {
    (owner, name): vars(owner)[name]
    for module in (redis.client, redis.asyncio.client, redpool.sync.client, redpool.asyncio.client)
    for owner, name in ((module.Redis, "execute_command"), (module.Pipeline, "execute"))
} | {(Request, name): vars(Request)[name] for name in ("__init__",)}


def _now() -> dict[Any, Any]:
    return {(owner, name): vars(owner)[name] for owner, name in _WRAPPED}


def test_nothing_is_left_behind(at: dict[str, Any]) -> None:
    """Before and after it every method is the one that it was, so that it costs nothing."""
    opentelemetry.instrument()
    assert not any(_now()[place] is method for place, method in _WRAPPED.items())
    opentelemetry.uninstrument()
    assert _now() == _WRAPPED
    opentelemetry.uninstrument()
    assert _now() == _WRAPPED


def test_the_last_provider_gets_the_spans(threads: Face, at: dict[str, Any], spans: Spans) -> None:
    """A worker may have another one than the parent that it was forked from; each call is still one span."""
    later = Spans()
    opentelemetry.instrument(later.provider)
    threads.client(threads.pool(**at)).get("key")
    assert (len(spans.read()), len(later.read())) == (0, 1)


@pytest.mark.parametrize("first", [True, False])
def test_beside_others(at: dict[str, Any], monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    """Others who wrap redis-py's methods, before or after, see redpool's calls as ever; so they do in the end."""
    seen, made, theirs = [], Spans(), redis.client.Redis.execute_command

    def wrap() -> None:
        before = redis.client.Redis.execute_command

        @functools.wraps(before)
        def execute_command(client: Any, *args: Any, **options: Any) -> Any:
            seen.append(args[0])
            return before(client, *args, **options)

        monkeypatch.setattr(redis.client.Redis, "execute_command", execute_command)

    if first:
        wrap()
    opentelemetry.instrument(made.provider)
    if not first:
        wrap()
    with redpool.MultiplexedConnectionPool(**at) as pool:
        for kind in (redpool.Redis, redis.Redis):
            kind(connection_pool=pool).get("key")
        assert seen == ["GET", "GET"]
        # Over what others have wrapped before, redis-py's client is theirs to trace.
        assert [span.name for span in made.read()] == (["GET"] if first else ["GET", "GET"])
        opentelemetry.uninstrument()
        for kind in (redpool.Redis, redis.Redis):
            kind(connection_pool=pool).get("key")
    assert seen == ["GET"] * 4
    assert made.read() == []
    monkeypatch.undo()
    redis.client.Redis.execute_command = theirs  # type: ignore[method-assign]
    redpool.sync.client.look_again()
