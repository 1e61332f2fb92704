"""Export pools to OpenTelemetry, named by its semantic conventions for database client connections.

`instrument(pool)` exports `pool.stats()`, which it reads when a reader collects; it costs a checkout nothing.
A histogram can't be observed, it needs each single value: `OpenTelemetryInstrument` notes them, for pools that have
one.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable, Iterable

try:
    from opentelemetry import context, metrics
except ModuleNotFoundError as error:
    message = f"{__name__} needs OpenTelemetry's API: pip install 'redpool[opentelemetry]'"
    raise ImportError(message) from error
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation
from opentelemetry.trace import get_current_span

from ..core.histogram import BOUNDS
from ..core.instrument import Instrument
from . import histograms
from .pools import HasStats, Pools

POOL = "db.client.connection.pool.name"
STATE = "db.client.connection.state"

BOUNDARIES = BOUNDS
"""Upper bounds of the histograms' buckets, in seconds; the default ones are meant for milliseconds, and begin at 5."""

_MOST = 1024  # durations that are noted before they are recorded
_LONGEST_WAIT = 1.0  # seconds that a reader waits for another thread that records them

_Count = Callable[[HasStats], Iterable[tuple[int, dict[str, str]]]]

# A meter ignores the callbacks of an instrument that it already has, so later pools join the earlier ones.
_watched: weakref.WeakKeyDictionary[Meter, Pools] = weakref.WeakKeyDictionary()


def instrument(*pools: HasStats, meter: Meter | None = None) -> None:
    """Export the stats of these pools, too. The exporter refers to pools weakly: one that is gone vanishes.

    `meter` is by default the global provider's. Raises `ValueError` where two pools of a meter have the same name.
    """
    meter = meter or _global_meter()
    if meter in _watched:
        _watched[meter].add(*pools)
        return
    watched = _watched[meter] = Pools(*pools)
    meter.create_observable_up_down_counter(
        "db.client.connection.count", [_observe(watched, _by_state)], "{connection}", "Connections, by state."
    )
    meter.create_observable_up_down_counter(
        "db.client.connection.max", [_observe(watched, _max)], "{connection}", "The most connections open at once."
    )
    meter.create_observable_up_down_counter(
        "db.client.connection.idle.max", [_observe(watched, _max)], "{connection}", "The most idle connections."
    )
    meter.create_observable_up_down_counter(
        "db.client.connection.idle.min", [_observe(watched, _min)], "{connection}", "Connections kept ready."
    )
    meter.create_observable_up_down_counter(
        "db.client.connection.pending_requests", [_observe(watched, _waiting)], "{request}", "Callers in the queue."
    )
    meter.create_observable_counter(
        "db.client.connection.timeouts", [_observe(watched, _timeouts)], "{timeout}", "Callers that waited in vain."
    )


class OpenTelemetryInstrument(Instrument):
    """Record how long callers wait for and use connections, and how long connects take, in seconds.

    Pass one as `ConnectionPool(instruments=[...])`; a pool without one pays nothing. Over OpenTelemetry's SDK its hooks
    note the durations of waits and uses, and they are recorded many at a time: when there are many, or a reader
    collects. Those of a sampled span are recorded at once, for one of them may become an exemplar.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        meter = meter or _global_meter()
        self._create = _histogram(meter, "create_time", "The time it took to create a connection.")
        self._wait = _histogram(meter, "wait_time", "The time it took to get a connection from the pool.")
        self._use = _histogram(meter, "use_time", "The time from a connection's checkout to its release.")
        self._notes = _notes_of(meter)
        self._waits: dict[str, _Noted] = {}
        self._uses: dict[str, _Noted] = {}

    def connected(self, pool: str, seconds: float) -> None:
        """Record how long a connect took."""
        self._create.record(seconds, {POOL: pool})

    def acquired(self, pool: str, wait: float) -> None:
        """Note how long a caller waited for a connection; 0 where it found an idle one."""
        (self._waits.get(pool) or self._noted(self._waits, self._wait, pool)).note(wait)

    def released(self, pool: str, use: float) -> None:
        """Note how long a lease lasted."""
        (self._uses.get(pool) or self._noted(self._uses, self._use, pool)).note(use)

    def _noted(self, noted: dict[str, _Noted], histogram: Histogram, pool: str) -> _Noted:
        made = noted.setdefault(pool, _Noted(histogram, pool))
        if made not in self._notes:
            self._notes.append(made)
        return made


class _Noted:
    """Durations of one pool, for one histogram, that are still to be recorded."""

    def __init__(self, histogram: Histogram, pool: str) -> None:
        self._histogram, self._attributes = histogram, {POOL: pool}
        self._durations: list[float] = []
        self._many_at_once = histograms.can_add(histogram)
        # One for each process: a child's own is free.
        self._recording: dict[int, threading.Lock] = {}

    def note(self, seconds: float) -> None:
        """Note a duration."""
        if not self._many_at_once or (context.get_current() and _sampled()):
            self._histogram.record(seconds, self._attributes)
            return
        durations = self._durations
        durations.append(seconds)
        if len(durations) >= _MOST:
            self.record(0.0)

    def record(self, patience: float) -> None:
        """Record what is noted, unless another thread is at it for longer than `patience` seconds."""
        # Not re-entrant: a finalizer that comes here in the midst of it leaves it to what it has interrupted.
        lock = self._recording.setdefault(os.getpid(), threading.Lock())
        if not lock.acquire(timeout=patience):
            return
        try:
            self._record()
        finally:
            lock.release()

    def _record(self) -> None:
        count = len(self._durations)
        taken = self._durations[:count]
        del self._durations[:count]  # others add to the end meanwhile
        if taken and not histograms.add(self._histogram, self._attributes, taken):
            self._many_at_once = False
            for seconds in taken:
                self._histogram.record(seconds, self._attributes)


def _sampled() -> bool:
    return bool(get_current_span().get_span_context().trace_flags.sampled)


_notes: weakref.WeakKeyDictionary[Meter, list[_Noted]] = weakref.WeakKeyDictionary()


def _notes_of(meter: Meter) -> list[_Noted]:
    """Return what is noted for a meter, whose reader has it recorded before it collects."""
    notes = _notes.get(meter)
    if notes is None:
        notes = _notes[meter] = []

        def record(_options: CallbackOptions, notes: list[_Noted] = notes) -> tuple[()]:
            for each in [*notes]:
                each.record(_LONGEST_WAIT)
            return ()

        meter.create_observable_up_down_counter("redpool.client.connection.noted", [record])
    return notes


@functools.cache
def _global_meter() -> Meter:
    return metrics.get_meter("redpool")


def _histogram(meter: Meter, name: str, text: str) -> Histogram:
    make = functools.partial(meter.create_histogram, f"db.client.connection.{name}", "s", text)
    try:
        return make(explicit_bucket_boundaries_advisory=BOUNDARIES)
    except TypeError:  # opentelemetry-api before 1.30: there the boundaries need a View
        return make()


def _observe(pools: Pools, count: _Count) -> Callable[[CallbackOptions], list[Observation]]:
    def observe(_options: CallbackOptions) -> list[Observation]:
        return [
            Observation(value, {POOL: pool.config.name, **more})
            for pool in pools.alive()
            for value, more in count(pool)
        ]

    return observe


def _by_state(pool: HasStats) -> Iterable[tuple[int, dict[str, str]]]:
    stats = pool.stats()
    return (stats.idle, {STATE: "idle"}), (stats.in_use, {STATE: "used"})


def _max(pool: HasStats) -> Iterable[tuple[int, dict[str, str]]]:
    # Any number of them may be idle.
    return ((pool.stats().max_connections, {}),)


def _min(pool: HasStats) -> Iterable[tuple[int, dict[str, str]]]:
    return ((pool.config.min_idle, {}),)


def _waiting(pool: HasStats) -> Iterable[tuple[int, dict[str, str]]]:
    return ((pool.stats().waiting, {}),)


def _timeouts(pool: HasStats) -> Iterable[tuple[int, dict[str, str]]]:
    return ((pool.stats().timeouts, {}),)
