"""A span for each call of a client over redpool's pools, by OpenTelemetry's semantic conventions for Redis.

    from redpool.instrumentation import opentelemetry

    opentelemetry.instrument()

A span says what was called, where, and how it ended; its events, how long it waited for a connection, how long that
took to connect, and how long its request stood in a queue until it was written together with others'. There are names
and numbers of commands in it, never keys, values, or an error's text, which may quote them.
"""

from __future__ import annotations

import time
import weakref
from typing import Any

try:
    from opentelemetry import context
except ModuleNotFoundError as error:
    message = f"{__name__} needs OpenTelemetry's API: pip install 'redpool[opentelemetry]'"
    raise ImportError(message) from error
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider, get_tracer

from .. import __version__
from . import calls

_monotonic, _time_ns = time.monotonic, time.time_ns

DURATION = "redpool.duration"
"""The attribute of events that says how long it took, in seconds."""

BATCH = "redpool.batch.size"
"""The attribute of `redpool.write` that says how many commands were written together."""

_SUPPRESS = "suppress_instrumentation"  # as of opentelemetry-instrumentation
_STATUS = Status(StatusCode.ERROR)


def instrument(tracer_provider: TracerProvider | None = None) -> None:
    """Make a span for each command and each pipeline of clients over redpool's pools from now on.

    Those are redpool's clients, and redis-py's over a pool of redpool's. A call that is made where instrumentation is
    suppressed gets none. The provider is by default the global one; a later call takes the place of this one.
    """
    calls.follow(_Spans(get_tracer("redpool", __version__, tracer_provider)).begin)


def uninstrument() -> None:
    """Make no more spans; without effect where none are made."""
    calls.leave()


class _Spans:
    """Begins spans."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._places: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()

    def begin(self, client: Any, name: str, commands: int, words: int) -> _Call | None:
        """Begin the span of a call; none where there is to be none."""
        if context.get_value(_SUPPRESS):
            return None
        place = self._place(client)
        if place is None:
            return None
        attributes = {**place, "db.operation.name": name, "redpool.command.words": words}
        if commands > 1:
            attributes["db.operation.batch.size"] = commands
        return _Call(self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes))

    def _place(self, client: Any) -> dict[str, Any] | None:
        """Return what is said of the server: nothing, where the client's pool isn't one of redpool's."""
        pool = getattr(client, "connection_pool", None)
        if pool is None:  # a cluster's, which has one for each node
            by = getattr(client, "_execution_strategy", client)
            return {"db.system.name": "redis", "db.namespace": "0"} if _is_ours(by) else None
        found = self._places.get(pool)
        if found is None:
            if not _is_ours(pool):
                return None
            found = self._places[pool] = _described(pool)
        return found


def _is_ours(thing: object) -> bool:
    return any(each.__module__.startswith("redpool.") for each in type(thing).__mro__)


def _described(pool: Any) -> dict[str, Any]:
    options = pool.connection_kwargs
    found: dict[str, Any] = {
        "db.system.name": "redis",
        "db.namespace": str(options.get("db") or 0),
        "db.client.connection.pool.name": pool.config.name,
    }
    if options.get("path"):
        return found | {"server.address": options["path"], "network.transport": "unix"}
    if options.get("host"):  # a Sentinel's pool finds it out as it connects
        found |= {"server.address": options["host"], "server.port": int(options.get("port") or 6379)}
    return found


class _Call:
    """One call's span."""

    __slots__ = ("_span", "_writes", "detailed", "future", "over")

    def __init__(self, span: Span) -> None:
        self._span = span
        self.over, self.future = False, None
        self.detailed = span.is_recording()
        self._writes: list[calls.Write] = []

    def waited(self, seconds: float) -> None:
        """Note that it has waited for a connection."""
        self._span.add_event("redpool.wait", {DURATION: seconds})

    def connected(self, seconds: float | None, at: float) -> None:
        """Note that a connection was connected for it."""
        known = {} if seconds is None else {DURATION: seconds}
        self._span.add_event("redpool.connect", known, _wall(at))

    def written(self, write: calls.Write) -> None:
        """Note that its request has gone out."""
        self._writes.append(write)

    def ended(self, error: BaseException | None) -> None:
        """End the span."""
        if self.detailed:
            self._note_writes()
        if error is not None:
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(_STATUS)
        self._span.end()

    def _note_writes(self) -> None:
        for write in self._writes:
            self._span.add_event("redpool.write", {DURATION: write.queued, BATCH: write.batch}, _wall(write.at))


def _wall(at: float) -> int:
    """Return a time of the monotonic clock in nanoseconds of the wall clock, as OpenTelemetry has them."""
    return _time_ns() - int((_monotonic() - at) * 1e9)
