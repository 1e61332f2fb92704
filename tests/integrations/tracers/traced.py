"""A program for one tracer, since tracers patch globally: prints what it records of each kind of client.

The tracer is started first of all, before redpool is imported; or then, before any client is made; or after each client
has run a command.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio

Spans = list[Any]


class OpenTelemetry:
    """By patches onto redis-py's clients and pipelines."""

    def __init__(self) -> None:
        from opentelemetry.instrumentation.redis import RedisInstrumentor
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._instrumentor = RedisInstrumentor
        self.start()

    def start(self) -> None:
        """Patch the classes."""
        self._instrumentor().instrument(tracer_provider=self.provider)

    @contextmanager
    def recording(self) -> Iterator[Spans]:
        """Collect the spans of the block."""
        self._exporter.clear()
        spans: Spans = []
        yield spans
        spans += [[each.name, dict(each.attributes or {})] for each in self._exporter.get_finished_spans()]


class InstrumentedClients(OpenTelemetry):
    """The same, by patches onto each client's instance."""

    def start(self) -> None:
        """Patch nothing yet."""

    def instrument(self, client: Any) -> None:
        """Patch one client."""
        self._instrumentor.instrument_client(client, tracer_provider=self.provider)


class Sentry:
    """By patches that don't keep what they have replaced where it could be found."""

    def __init__(self) -> None:
        import sentry_sdk

        self._sentry, self._events = sentry_sdk, []  # type: ignore[var-annotated]
        sentry_sdk.init(
            dsn="http://key@127.0.0.1:1/1",
            transport=lambda event: None,
            traces_sample_rate=1.0,
            before_send_transaction=self._keep,
        )

    def _keep(self, event: Any, hint: Any) -> None:
        self._events.append(event)

    @contextmanager
    def recording(self) -> Iterator[Spans]:
        """Collect the spans of the block."""
        spans: Spans = []
        with self._sentry.start_transaction(name="work", op="task"):
            yield spans
        spans += [[each["op"], each["description"]] for each in self._events.pop()["spans"]]


class DDTrace:
    """By patches onto redis-py's clients and pipelines."""

    def __init__(self) -> None:
        import ddtrace
        from ddtrace.trace import TraceFilter, tracer

        traces: Spans = []

        class Keep(TraceFilter):
            def process_trace(self, trace: Any) -> None:
                traces.extend([each.name, each.resource, each.get_tag("out.host")] for each in trace)

        tracer.configure(trace_processors=[Keep()])
        ddtrace.patch(redis=True)
        self._traces = traces

    @contextmanager
    def recording(self) -> Iterator[Spans]:
        """Collect the spans of the block."""
        self._traces.clear()
        spans: Spans = []
        yield spans
        spans += self._traces


class NewRelic:
    """By patches onto redis-py's commands, and its connections for host and port."""

    def __init__(self) -> None:
        import newrelic.agent

        with tempfile.NamedTemporaryFile("w", suffix=".ini") as file:
            file.write("[newrelic]\napp_name = outside\ndeveloper_mode = true\nlog_file = /dev/null\n")
            file.flush()
            newrelic.agent.initialize(file.name)
        self._agent = newrelic.agent
        self._app = newrelic.agent.register_application(timeout=10.0)

    @contextmanager
    def recording(self) -> Iterator[Spans]:
        """Collect the traces of the block."""
        spans: Spans = []
        with self._agent.BackgroundTask(self._app, "work"):
            yield spans
            for each in self._agent.current_trace().children:
                spans.append([each.operation, each.host, each.port_path_or_id])


class Elastic:
    """By patches onto redis-py's clients and pipelines; for threads the connections', too, for host and port."""

    def __init__(self) -> None:
        import elasticapm

        events: Spans = []

        class Client(elasticapm.Client):
            def queue(self, kind: str, data: Any, flush: bool = False) -> None:
                events.append((kind, data))

        self._client: Any = Client(service_name="outside", disable_send=True, central_config=False)
        self._events = events
        elasticapm.instrument()

    @contextmanager
    def recording(self) -> Iterator[Spans]:
        """Collect the spans of the block."""
        self._events.clear()
        spans: Spans = []
        self._client.begin_transaction("task")
        yield spans
        self._client.end_transaction("work")
        for kind, data in self._events:
            if kind == "span":
                spans.append([data["name"], data["context"].get("destination", {}).get("port")])


TRACERS: dict[str, Callable[[], Any]] = {
    "opentelemetry": OpenTelemetry,
    "opentelemetry, instances": InstrumentedClients,
    "sentry": Sentry,
    "ddtrace": DDTrace,
    "newrelic": NewRelic,
    "elastic": Elastic,
}

CLIENTS: dict[str, Callable[[Any, Any, str], Any]] = {
    "redis-py": lambda theirs, ours, url: theirs.Redis.from_url(url),
    "dedicated": lambda theirs, ours, url: theirs.Redis(connection_pool=ours.ConnectionPool.from_url(url)),
    "multiplexed": lambda theirs, ours, url: theirs.Redis(connection_pool=ours.MultiplexedConnectionPool.from_url(url)),
    "own client": lambda theirs, ours, url: ours.Redis.from_url(url),
}


def _by_threads(client: Any, recording: Any) -> Spans:
    with recording() as spans:
        client.set("key", "value")
        client.get("key")
        client.pipeline(transaction=False).incr("n").get("n").execute()
    return list(spans)


async def _by_tasks(client: Any, recording: Any) -> Spans:
    with recording() as spans:
        await client.set("key", "value")
        await client.get("key")
        await client.pipeline(transaction=False).incr("n").get("n").execute()
    return list(spans)


async def main(name: str, when: str, url: str) -> None:
    """Print the spans by shell and client."""
    tracer = TRACERS[name]() if when == "first" else None
    import redpool
    import redpool.asyncio

    tracer = TRACERS[name]() if when == "before" else tracer
    threads = {kind: make(redis, redpool, url) for kind, make in CLIENTS.items()}
    tasks = {kind: make(redis.asyncio, redpool.asyncio, url) for kind, make in CLIENTS.items()}
    if tracer is None:
        for kind in CLIENTS:
            threads[kind].ping()
            await tasks[kind].ping()
        tracer = TRACERS[name]()
        for client in (*threads.values(), *tasks.values()):
            pool = client.connection_pool  # as maintenance does each second
            if hasattr(pool, "may_share"):
                pool.may_share()
            elif isinstance(pool, redpool.ConnectionPool):
                pool._factory.look_again()
    instrument = getattr(tracer, "instrument", lambda client: None)
    found: dict[str, Any] = {"threads": {}, "asyncio": {}}
    for kind in CLIENTS:
        instrument(threads[kind])
        instrument(tasks[kind])
        found["threads"][kind] = _by_threads(threads[kind], tracer.recording)
        found["asyncio"][kind] = await _by_tasks(tasks[kind], tracer.recording)
        threads[kind].connection_pool.disconnect()
        await tasks[kind].connection_pool.disconnect()
    print(json.dumps(found, default=str))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
