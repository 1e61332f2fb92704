"""Export pools to OpenTelemetry, named by its semantic conventions for database client connections.

`instrument(pool)` exports `pool.stats()`, which it reads when a reader collects; it costs a checkout nothing.
A histogram can't be observed, it needs each single value: `OpenTelemetryInstrument` records them, for pools that have
one.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from ..core.histogram import BOUNDS
from ..core.instrument import Instrument
from .pools import HasStats, Pools

POOL = "db.client.connection.pool.name"
STATE = "db.client.connection.state"

BOUNDARIES = BOUNDS
"""Upper bounds of the histograms' buckets, in seconds; the default ones are meant for milliseconds, and begin at 5."""

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

    Pass one as `ConnectionPool(instruments=[...])`. Its hooks run at every checkout and release, and cost about 10 us
    each; a pool without one pays nothing.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        meter = meter or _global_meter()
        self._create = _histogram(meter, "create_time", "The time it took to create a connection.")
        self._wait = _histogram(meter, "wait_time", "The time it took to get a connection from the pool.")
        self._use = _histogram(meter, "use_time", "The time from a connection's checkout to its release.")

    def connected(self, pool: str, seconds: float) -> None:
        """Record how long a connect took."""
        self._create.record(seconds, {POOL: pool})

    def acquired(self, pool: str, wait: float) -> None:
        """Record how long a caller waited for a connection; 0 where it found an idle one."""
        self._wait.record(wait, {POOL: pool})

    def released(self, pool: str, use: float) -> None:
        """Record how long a lease lasted."""
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
