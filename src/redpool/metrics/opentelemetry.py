"""Pools as OpenTelemetry sees them, named by its semantic conventions for database client connections.

`instrument(pool)` exports what `pool.stats()` can say, read when a reader collects; it costs a checkout nothing.
Histograms can't be observed, they must be told of each value: `OpenTelemetryInstrument`, for pools that are given one.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from ..core.instrument import Instrument
from ..core.stats import PoolStats
from .pools import HasStats, Pools

POOL = "db.client.connection.pool.name"
STATE = "db.client.connection.state"

BOUNDARIES = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper edges of the histograms' buckets, in seconds: the usual ones begin at 5, being made for milliseconds."""

_Count = Callable[[PoolStats], Iterable[tuple[int, dict[str, str]]]]

# A meter ignores the callbacks of an instrument that it has already, so later pools join the earlier ones.
_watched: weakref.WeakKeyDictionary[Meter, Pools] = weakref.WeakKeyDictionary()


def instrument(*pools: HasStats, meter: Meter | None = None) -> None:
    """Export the stats of pools, which are held weakly: one that is gone vanishes. May be called again for others.

    `meter` is by default the global provider's. `ValueError` where two pools of a meter have the same name.
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
        "db.client.connection.pending_requests", [_observe(watched, _waiting)], "{request}", "Callers in the queue."
    )
    meter.create_observable_counter(
        "db.client.connection.timeouts", [_observe(watched, _timeouts)], "{timeout}", "Callers who waited in vain."
    )


class OpenTelemetryInstrument(Instrument):
    """Records how long callers wait, use a connection, and connect: `ConnectionPool(instruments=[...])`.

    Its hooks run at every checkout and release, and cost about 10 us at each; a pool without it pays nothing.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        meter = meter or _global_meter()
        self._create = _histogram(meter, "create_time", "The time it took to create a connection.")
        self._wait = _histogram(meter, "wait_time", "The time it took to get a connection from the pool.")
        self._use = _histogram(meter, "use_time", "The time from getting a connection to giving it back.")

    def connected(self, pool: str, seconds: float) -> None:
        """A connection was opened."""
        self._create.record(seconds, {POOL: pool})

    def acquired(self, pool: str, wait: float) -> None:
        """A caller got a connection; one that found it idle waited for 0 seconds."""
        self._wait.record(wait, {POOL: pool})

    def released(self, pool: str, use: float) -> None:
        """A connection came back."""
        self._use.record(use, {POOL: pool})


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
    def observe(options: CallbackOptions) -> list[Observation]:
        return [
            Observation(value, {POOL: stats.name, **more}) for stats in pools.stats() for value, more in count(stats)
        ]

    return observe


def _by_state(stats: PoolStats) -> Iterable[tuple[int, dict[str, str]]]:
    return (stats.idle, {STATE: "idle"}), (stats.in_use, {STATE: "used"})


def _max(stats: PoolStats) -> Iterable[tuple[int, dict[str, str]]]:
    return ((stats.max_connections, {}),)


def _waiting(stats: PoolStats) -> Iterable[tuple[int, dict[str, str]]]:
    return ((stats.waiting, {}),)


def _timeouts(stats: PoolStats) -> Iterable[tuple[int, dict[str, str]]]:
    return ((stats.timeouts, {}),)
