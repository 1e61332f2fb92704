"""What `redpool top --json` prints: a view and its rates as plain dictionaries, lists and numbers. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TypeAlias

from redpool.fleet.model import FleetView, ServerView

from .past import Past
from .rows import COLUMNS, DEFAULT_SORT, Grouping, Row, rows, sorted_by

Plain: TypeAlias = dict[str, object]
"""what JSON has"""

_RATES = ("acquired", "waited", "timeouts", "rejected", "connected", "connect_failures", "closed")


def document(view: FleetView, past: Past) -> Plain:
    """Return all that a view says; rates are each second, durations in seconds, what isn't known is `None`."""
    found = sorted_by(rows(view, past, Grouping.POOL), COLUMNS, DEFAULT_SORT, backwards=False)
    return {
        "at": view.at,
        "error": view.error,
        "processes": len(view.processes),
        "server": None if view.server is None else _server(view.server),
        "pools": [_pool(row) for row in found],
    }


def _server(server: ServerView) -> Plain:
    return {
        "url": server.url,
        "version": server.version,
        "connected_clients": server.connected_clients,
        "max_clients": server.max_clients,
        "commands_per_second": server.commands_per_second,
        "clients": Counter(client.owner.value for client in server.clients),
        "unseen": server.unseen,
    }


def _pool(row: Row) -> Plain:
    (process, pool), *_ = row.reports
    known = bool(row.recent.wait.count)
    return {
        "service": process.service,
        "host": process.host,
        "pid": process.pid,
        "at": process.at,
        **{name: getattr(pool, name) for name in ("name", "kind", "shell", "address", "max_connections", "open")},
        **{name: getattr(pool, name) for name in ("idle", "in_use", "connecting", "waiting", "oldest_wait")},
        "in_flight": pool.in_flight,
        "counters": dict(pool.counters),
        "closed": dict(pool.closed),
        "rates": None if row.recent.rates is None else {name: row.recent.rate(name) for name in _RATES},
        "closed_rates": dict(row.recent.reasons),
        "wait_p50": row.recent.wait.quantile(0.5) if known else None,
        "wait_p99": row.recent.wait.quantile(0.99) if known else None,
        "borrowed": [asdict(lease) for lease in pool.borrowed],
        "waiters": [asdict(waiter) for waiter in pool.waiters],
        "calls": [asdict(call) for call in pool.calls],
    }
