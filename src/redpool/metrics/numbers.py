"""The numbers of a pool's stats that exporters of counters and gauges export, as tables; names are without a prefix."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.stats import MultiplexedPoolStats, PoolStats

STATES = ("idle", "in_use", "connecting")


@dataclass(frozen=True, slots=True)
class Gauge:
    """What goes up and down."""

    text: str
    over_processes: str = "sum"
    """what is to be said of several processes: the `sum` of theirs, or the `max`"""
    label: str | None = None
    """what tells the values of one pool apart"""


@dataclass(frozen=True, slots=True)
class Counter:
    """What only goes up, from when the pool is created."""

    text: str
    label: str | None = None
    """what tells the values of one pool apart"""


GAUGES = {
    "connections": Gauge("Connections, by state.", label="state"),
    "connections_max": Gauge("The most connections open at once."),
    "waiting": Gauge("Callers in the queue."),
    "oldest_wait_seconds": Gauge("Seconds that the first caller in the queue has waited.", "max"),
    "utilization": Gauge("Mean share of connections_max in use since the pool was created.", "max"),
    "in_flight": Gauge("Commands that await a reply on a shared connection."),
}

COUNTERS = {
    "acquired": Counter("Checkouts, in all."),
    "waited": Counter("Checkouts that found no idle connection."),
    "timeouts": Counter("Callers that waited for a connection in vain."),
    "rejected": Counter("Callers rejected at once: the queue was full, or the pool was shut down."),
    "shed": Counter("Callers turned away since they have waited, or would have waited, for too long."),
    "retries_refused": Counter("Late commands that were not sent again: retries had used up their budget."),
    "connected": Counter("Connections opened."),
    "connect_failures": Counter("Connects that failed."),
    "released": Counter("Connections released."),
    "leaks": Counter("Leases reported because they were older than leak_after."),
    "closed": Counter("Connections closed, by reason.", label="reason"),
    "commands": Counter("Commands sent over shared connections."),
    "writes": Counter("Writes that sent commands over shared connections."),
    "cancelled": Counter("Commands whose callers left before the reply came."),
}

HISTOGRAMS = {
    "wait": "Seconds that callers waited for a connection.",
    "use": "Seconds from checkout to release.",
    "connect": "Seconds that connects took, handshake included.",
}

SHARED = frozenset({"in_flight", "commands", "writes", "cancelled"})
"""Of these, what only pools with shared connections have."""


def values(stats: PoolStats, name: str) -> dict[str, float]:
    """Return the values of a gauge or a counter, each by its label's value; that of the only one is empty.

    There is none of what only pools with shared connections have, for another pool.
    """
    if name == "connections":
        return {state: getattr(stats, state) for state in STATES}
    if name == "closed":
        return dict(stats.closed)
    if name in SHARED and not isinstance(stats, MultiplexedPoolStats):
        return {}
    field = {"connections_max": "max_connections", "oldest_wait_seconds": "oldest_wait"}.get(name, name)
    return {"": getattr(stats, field)}
