"""What each page of the dashboard shows, as JSON: a document for the present, rows of figures for the past. Pure.

A `Topic` is what a viewer looks at: the fleet, a service, a pool, the server. A `Scene` is one look at the fleet with
what has happened since the looks before. Durations are in seconds. No document holds a `null`: see `patches`.
"""

from __future__ import annotations

import json
import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redpool.core.histogram import Distribution
from redpool.fleet.keys import HISTORY_EVERY
from redpool.fleet.model import FleetView, Owner, PoolReport, ProcessReport, Sample, ServerClient, ServerView

from .patches import Json

__all__ = ["LIMIT", "Row", "Scene", "Topic", "document", "past", "row"]

LIMIT = 1800
"""How many rows of the past a page shows."""

_LEASES = 20
"""How many leases, waiters and calls a page shows."""
_CLIENTS = 200
"""How many of the server's clients a page lists one by one."""
_EVENTS = 50
"""How many entries of SLOWLOG a page lists."""

Member = tuple[ProcessReport, PoolReport]
Key = tuple[str, str]
Row = list[Any]
"""A row of figures: of pools as `POOLS` has it, of the server as `SERVER` has it."""

POOLS = (
    "at", "max", "open", "in_use", "connecting", "waiting", "oldest", "acquired", "timeouts", "connected", "closed",
    "p50", "p99", "reasons", "waits",
)  # fmt: skip
"""The columns of a row of pools. From `acquired` on they say what happened since the row before; `waits` counts the
waits by the bounds of `redpool.core.histogram.BOUNDS`, the last those above all of them."""
SERVER = ("at", "known", "orphaned", "foreign", "max", "commands")


@dataclass(frozen=True, slots=True)
class Topic:
    """What a viewer looks at. Raises `ValueError` for what there is no page of."""

    kind: str = "fleet"
    """`fleet`, `service`, `pool` or `server`"""
    service: str = ""
    pool: str = ""
    process: str = ""
    """the `key` of the process whose pool it is; empty for all processes together"""

    def __post_init__(self) -> None:
        if self.kind not in ("fleet", "service", "pool", "server"):
            raise ValueError(f"there is no page {self.kind[:40]!r}; there are fleet, service, pool and server")
        if max(map(len, (self.service, self.pool, self.process))) > 2000:
            raise ValueError("a name of more than 2000 characters")

    def shows(self, service: str, process: str, pool: str) -> bool:
        """Return whether a process's pool belongs to this."""
        if self.kind == "fleet":
            return True
        return (
            self.kind in ("service", "pool")
            and service == self.service
            and (self.kind == "service" or (pool == self.pool and self.process in ("", process)))
        )


@dataclass(frozen=True, slots=True)
class Change:
    """What has happened in a pool of a process between two reports."""

    acquired: int = 0
    commands: int = 0
    """sent over shared connections"""
    waited: int = 0
    timeouts: int = 0
    connected: int = 0
    closed: Mapping[str, int] = field(default_factory=dict)
    wait: Distribution = field(default_factory=Distribution)
    seconds: float = 0.0
    """between the two reports"""


@dataclass(frozen=True, slots=True)
class Scene:
    """One look at the fleet, and what has happened since the look before and in the last seconds."""

    view: FleetView
    last: Mapping[Key, Change] = field(default_factory=dict)
    """since the look before; of pools that have reported since then"""
    recent: Mapping[Key, Change] = field(default_factory=dict)
    """in the last seconds"""

    @classmethod
    def of(cls, views: Sequence[FleetView]) -> Scene:
        """Return the scene of the latest looks, the oldest first."""
        view = views[-1]
        if len(views) == 1:
            return cls(view)
        return cls(view, last=_changes(views[-2], view), recent=_changes(views[0], view))


def document(topic: Topic, scene: Scene) -> Json:
    """Return what a page shows of the present."""
    head = _head(scene.view)
    if topic.kind == "server":
        return {"head": head, **_server(scene.view.server)}
    members = _members(topic, scene.view)
    if topic.kind == "pool":
        return {"head": head, "gone": not members, **(_pool(members, scene) if members else {})}
    shown: dict[str, Any] = {"head": head, "pools": _pools(members, scene)}
    if topic.kind == "service":
        shown["processes"] = {process.key: _process(process) for process, _ in members}
    return shown


def row(topic: Topic, scene: Scene) -> Row | None:
    """Return what a page adds to the past, or `None` where nothing new was reported."""
    view = scene.view
    if topic.kind == "server":
        return _server_row(view.at, view.server) if view.server is not None and view.error is None else None
    members = _members(topic, view)
    changes = [change for process, pool in members if (change := scene.last.get((process.key, pool.name)))]
    if not changes:
        return None
    total = _sum(changes)
    return [round(view.at, 3), *_state(pool for _, pool in members), *_happened(total)]


def past(topic: Topic, view: FleetView) -> list[Row]:
    """Return the rows of the past that the history holds, the oldest first, `LIMIT` at most."""
    if topic.kind == "server":
        return []
    limits = _Limits(_members(topic, view))
    samples = [each for each in view.history if topic.shows(_service_of(each.process), each.process, each.pool)]
    step = HISTORY_EVERY * max((1.0, *(process.period for process in view.processes)))
    # The server's clock tells these times; the rows that follow have the reader's.
    ahead = max(0.0, samples[-1].at - view.at) if samples else 0.0
    rows: list[Row] = []
    latest: dict[Key, Sample] = {}
    for at, some in _bins(samples, step):
        total, before = _Total(), latest.copy()
        for sample in some:
            key = (sample.process, sample.pool)
            if (old := latest.get(key)) is not None:
                total.add(old, sample)
            latest[key] = sample
        latest = {key: sample for key, sample in latest.items() if sample.at > at - 3 * step}
        if before:
            rows.append([round(at - ahead, 3), *_past_state(latest, limits), *total.happened()])
    return rows[-LIMIT:]


# -- pools -------------------------------------------------------------------------------------------------------------


def _members(topic: Topic, view: FleetView) -> list[Member]:
    return [
        (process, pool)
        for process in view.processes
        for pool in process.pools
        if topic.shows(process.service, process.key, pool.name)
    ]


def _pools(members: Iterable[Member], scene: Scene) -> dict[str, Json]:
    """Return a line for each pool of each service, all of its processes added up."""
    groups: dict[Key, list[Member]] = {}
    for process, pool in members:
        groups.setdefault((process.service, pool.name), []).append((process, pool))
    return {json.dumps(key): _line(key, some, scene) for key, some in groups.items()}


def _line(key: Key, members: Sequence[Member], scene: Scene) -> Json:
    pools = [pool for _, pool in members]
    names = ("max", "open", "in_use", "connecting", "waiting", "oldest")
    return {
        "service": key[0],
        "pool": key[1],
        "kind": ", ".join(sorted({pool.kind for pool in pools})),
        "processes": len(members),
        **dict(zip(names, _state(pools), strict=True)),
        **_recent(members, scene),
    }


def _state(pools: Iterable[PoolReport]) -> Row:
    """Return `max open in_use connecting waiting oldest` of pools together."""
    limit = opened = in_use = connecting = waiting = 0
    oldest = 0.0
    for pool in pools:
        limit += pool.max_connections
        opened += pool.open
        in_use += pool.in_use
        connecting += pool.connecting
        waiting += pool.waiting
        oldest = max(oldest, pool.oldest_wait)
    return [limit, opened, in_use, connecting, waiting, _exact(oldest)]


def _recent(members: Iterable[Member], scene: Scene) -> dict[str, float]:
    """Return what happened in the last seconds, each second: nothing before two reports are known."""
    changes = [change for process, pool in members if (change := scene.recent.get((process.key, pool.name)))]
    if not changes:
        return {}
    total = _sum(changes)
    seconds = max(change.seconds for change in changes) or 1.0
    return {
        "calls": _exact((total.acquired + total.commands) / seconds),
        "waits": _exact(total.waited / seconds),
        "timeouts": total.timeouts,
        "p50": _exact(total.wait.quantile(0.5)),
        "p99": _exact(total.wait.quantile(0.99)),
    }


def _pool(members: Sequence[Member], scene: Scene) -> dict[str, Any]:
    """Return all that is known of a pool, of one process or of several together."""
    pools = [pool for _, pool in members]
    totals: Counter[str] = Counter()
    closed: Counter[str] = Counter()
    for pool in pools:
        totals.update(pool.counters)
        closed.update(pool.closed)
    key = (members[0][0].service, pools[0].name)
    return {
        "pool": {
            **_line(key, members, scene),
            "shell": ", ".join(sorted({pool.shell for pool in pools})),
            "address": ", ".join(sorted({pool.address for pool in pools})[:5]),
            "in_flight": sum(pool.in_flight for pool in pools),
            "totals": dict(totals),
            "closed": dict(closed),
            "connect": _quantiles([pool.connect for pool in pools]),
            "use": _quantiles([pool.use for pool in pools]),
        },
        "members": {
            process.key: {**_process(process), **_of_member(process, pool, scene)} for process, pool in members
        },
        "borrowed": _leases(members),
        "waiters": _waiters(members),
        "calls": _calls(members),
        "events": _events(scene.view.server),
    }


def _of_member(process: ProcessReport, pool: PoolReport, scene: Scene) -> Json:
    """Return the line of one process's pool, with the figures of the pool in place of those of the process."""
    line = _line((process.service, pool.name), [(process, pool)], scene)
    return {**_process(process), **line}


def _quantiles(distributions: Iterable[Distribution]) -> Json:
    total = _add_up(distributions)
    return {"count": total.count, "p50": _exact(total.quantile(0.5)), "p99": _exact(total.quantile(0.99))}


def _leases(members: Iterable[Member]) -> list[Json]:
    """Return the oldest leases of all these pools."""
    found = [(lease.age, lease, process) for process, pool in members for lease in pool.borrowed]
    found.sort(key=operator.itemgetter(0), reverse=True)
    return [
        {
            "age": _exact(age),
            "borrower": lease.borrower,
            "process": process.key,
            "taken_at": lease.taken_at or "",
            "command": lease.command or "",
        }
        for age, lease, process in found[:_LEASES]
    ]


def _waiters(members: Iterable[Member]) -> list[Json]:
    """Return the oldest waiters of all these pools."""
    found = [(waiter.age, waiter.borrower, process) for process, pool in members for waiter in pool.waiters]
    found.sort(key=operator.itemgetter(0), reverse=True)
    return [
        {"age": _exact(age), "borrower": borrower, "process": process.key} for age, borrower, process in found[:_LEASES]
    ]


def _calls(members: Iterable[Member]) -> list[Json]:
    """Return the oldest calls under way over the shared connections of all these pools."""
    found = [(call.age, call, process) for process, pool in members for call in pool.calls]
    found.sort(key=operator.itemgetter(0), reverse=True)
    return [
        {
            "age": _exact(age),
            "command": call.command,
            "sent": call.sent,
            "borrower": call.borrower or "",
            "waits_at": call.waits_at or "",
            "process": process.key,
        }
        for age, call, process in found[:_LEASES]
    ]


def _process(process: ProcessReport) -> Json:
    limit, opened, in_use, connecting, waiting, oldest = _state(process.pools)
    return {
        "host": process.host,
        "pid": process.pid,
        "started": round(process.started),
        "at": round(process.at, 1),
        "period": process.period,
        "redpool": process.redpool,
        "redis_py": process.redis_py,
        "python": process.python,
        "pools": len(process.pools),
        "max": limit,
        "open": opened,
        "in_use": in_use,
        "connecting": connecting,
        "waiting": waiting,
        "oldest": oldest,
    }


# -- the server --------------------------------------------------------------------------------------------------------


def _head(view: FleetView) -> Json:
    """Return what stands above every page."""
    names = ("max", "open", "in_use", "connecting", "waiting", "oldest")
    state = _state(pool for process in view.processes for pool in process.pools)
    server = view.server
    return {
        "at": round(view.at, 1),
        "error": view.error or "",
        "services": len({process.service for process in view.processes}),
        "processes": len(view.processes),
        "pools": sum(len(process.pools) for process in view.processes),
        **dict(zip(names, state, strict=True)),
        **({"server": server.url} if server is not None else {}),
        **_known({"clients": server.connected_clients, "max_clients": server.max_clients} if server else {}),
    }


def _server(server: ServerView | None) -> dict[str, Any]:
    if server is None:
        return {"server": {"seen": False}}
    figures = {
        "url": server.url,
        "version": server.version,
        "connected": server.connected_clients,
        "max": server.max_clients,
        "commands": server.commands_per_second,
    }
    owners = Counter(client.owner.value for client in server.clients)
    return {
        "server": {"seen": True, **_known(figures), "unseen": list(server.unseen)},
        "owners": {owner.value: owners[owner.value] for owner in Owner},
        "idle_too_long": sum(client.idle_too_long for client in server.clients),
        "groups": _groups(server.clients),
        "clients": [_client(each) for each in _most_interesting(server.clients)],
        "events": _events(server),
    }


def _groups(clients: Iterable[ServerClient]) -> dict[str, Json]:
    """Return a line for all clients of one owner: of a pool, or with the same name."""
    groups: dict[tuple[str, str, str], list[ServerClient]] = {}
    for client in clients:
        whose = (client.process or "", client.pool or "") if client.owner is not Owner.FOREIGN else (client.name, "")
        groups.setdefault((client.owner.value, *whose), []).append(client)
    return {
        json.dumps(key): {
            "owner": key[0],
            "name": key[1],
            "pool": key[2],
            "clients": len(some),
            "idle": round(max(client.idle for client in some)),
            "too_long": sum(client.idle_too_long for client in some),
            "age": round(max(client.age for client in some)),
            "subscribed": sum(client.subscriptions > 0 for client in some),
            "memory": sum(client.memory for client in some),
            "library": ", ".join(sorted({client.library for client in some})[:3]),
        }
        for key, some in groups.items()
    }


def _most_interesting(clients: Iterable[ServerClient]) -> list[ServerClient]:
    """Return the clients that a reader should look at first: orphans, then strangers, then those idle for longest."""
    order = {Owner.ORPHANED: 0, Owner.FOREIGN: 1, Owner.KNOWN: 2}
    return sorted(clients, key=lambda client: (order[client.owner], -client.idle, client.id))[:_CLIENTS]


def _client(client: ServerClient) -> Json:
    return {
        "id": client.id,
        "owner": client.owner.value,
        "name": client.name,
        "address": client.address,
        "user": client.user,
        "library": client.library,
        "command": client.command,
        "database": client.database,
        "age": round(client.age),
        "idle": round(client.idle),
        "memory": client.memory,
        "too_long": client.idle_too_long,
    }


def _events(server: ServerView | None) -> list[Json]:
    """Return the entries of LATENCY and SLOWLOG, the newest first."""
    if server is None:
        return []
    found = [
        {"at": round(at, 3), "seconds": _exact(seconds), "kind": "latency", "what": event, "client": ""}
        for event, at, seconds in server.latency
    ]
    found += [
        {"at": round(at, 3), "seconds": _exact(seconds), "kind": "slow", "what": command, "client": client}
        for at, seconds, command, client in server.slow
    ]
    found.sort(key=operator.itemgetter("at"), reverse=True)
    return list(found[:_EVENTS])


def _server_row(at: float, server: ServerView) -> Row:
    owners = Counter(client.owner for client in server.clients)
    counts = [owners[owner] for owner in (Owner.KNOWN, Owner.ORPHANED, Owner.FOREIGN)]
    return [round(at, 3), *counts, server.max_clients or 0, server.commands_per_second or 0]


# -- what happened -----------------------------------------------------------------------------------------------------


def _changes(before: FleetView, after: FleetView) -> dict[Key, Change]:
    """Return what has happened in each pool between two looks; pools that have not reported since are left out."""
    old = {process.key: process for process in before.processes}
    found = {}
    for process in after.processes:
        earlier = old.get(process.key)
        if earlier is not None and earlier.at >= process.at:
            continue
        if earlier is None and process.started < before.at:
            continue  # one that was away, or is new to the reader: what it has counted so far happened at any time
        seconds = process.at - (earlier.at if earlier else process.started)
        reports = {pool.name: pool for pool in earlier.pools} if earlier else {}
        for pool in process.pools:
            found[process.key, pool.name] = _change(reports.get(pool.name), pool, seconds)
    return found


def _change(before: PoolReport | None, after: PoolReport, seconds: float) -> Change:
    old: Mapping[str, int] = before.counters if before else {}
    closed: Mapping[str, int] = before.closed if before else {}
    grown = {name: _grown(old.get(name, 0), after.counters.get(name, 0)) for name in _COUNTED}
    reasons = {reason: _grown(closed.get(reason, 0), count) for reason, count in after.closed.items()}
    reasons = {reason: count for reason, count in reasons.items() if count}
    return Change(
        **grown, closed=reasons, wait=after.wait.since(before.wait) if before else after.wait, seconds=seconds
    )


_COUNTED = ("acquired", "commands", "waited", "timeouts", "connected")


def _grown(before: int, after: int) -> int:
    """Return what a counter has counted; all of it where it began again."""
    return after - before if after >= before else after


def _sum(changes: Sequence[Change]) -> Change:
    closed: Counter[str] = Counter()
    for change in changes:
        closed.update(change.closed)
    counted = {name: sum(getattr(change, name) for change in changes) for name in _COUNTED}
    return Change(**counted, closed=closed, wait=_add_up(change.wait for change in changes))


def _add_up(distributions: Iterable[Distribution]) -> Distribution:
    some = [each for each in distributions if each.count]
    if not some:
        return Distribution()
    return Distribution(tuple(map(sum, zip(*(each.counts for each in some), strict=True))), sum(e.sum for e in some))


def _happened(change: Change) -> Row:
    """Return the columns of `POOLS` from `acquired` on."""
    closed = sum(change.closed.values())
    return [
        change.acquired, change.timeouts, change.connected, closed, _exact(change.wait.quantile(0.5)),
        _exact(change.wait.quantile(0.99)), dict(change.closed), _by_bound(change.wait),
    ]  # fmt: skip


def _by_bound(distribution: Distribution) -> list[int]:
    counts = distribution.counts
    return [after - before for before, after in zip((0, *counts), counts, strict=False)] if counts[-1] else []


class _Total:
    """What happened in some pools between samples."""

    def __init__(self) -> None:
        self._counts = [0, 0, 0, 0]
        self._waits: list[Distribution] = []

    def add(self, before: Sample, after: Sample) -> None:
        """Add what happened in one pool."""
        names = ("acquired", "timeouts", "connected", "closed")
        grown = [_grown(getattr(before, name), getattr(after, name)) for name in names]
        self._counts = list(map(operator.add, self._counts, grown))
        self._waits.append(after.wait.since(before.wait))

    def happened(self) -> Row:
        """Return the columns of `POOLS` from `acquired` on. Samples don't say why connections were closed."""
        acquired, timeouts, connected, closed = self._counts
        reasons = {"unknown": closed} if closed else {}
        change = Change(acquired, 0, 0, timeouts, connected, reasons, _add_up(self._waits))
        return _happened(change)


def _bins(samples: Sequence[Sample], step: float) -> Iterator[tuple[float, list[Sample]]]:
    """Yield the samples of each step of time, and when the last of them was taken."""
    bins: dict[int, list[Sample]] = {}
    for sample in samples:
        bins.setdefault(int(sample.at // step), []).append(sample)
    for number in sorted(bins):
        yield max(sample.at for sample in bins[number]), bins[number]


class _Limits:
    """What pools may open. Samples don't say it: of a process that is gone it is what its service's others may open."""

    def __init__(self, members: Iterable[Member]) -> None:
        self._of_process: dict[Key, int] = {}
        self._of_service: dict[Key, int] = {}
        for process, pool in members:
            self._of_process[process.key, pool.name] = pool.max_connections
            self._of_service[process.service, pool.name] = pool.max_connections

    def of(self, sample: Sample) -> int:
        """Return what the pool of a sample may open; what it had open, where nothing else is known."""
        known = self._of_process.get((sample.process, sample.pool))
        if known is None:
            known = self._of_service.get((_service_of(sample.process), sample.pool))
        return sample.open if known is None else known


def _past_state(latest: Mapping[Key, Sample], limits: _Limits) -> Row:
    """Return `max open in_use connecting waiting oldest` of some samples together."""
    some = latest.values()
    return [
        sum(map(limits.of, some)),
        sum(sample.open for sample in some),
        sum(sample.in_use for sample in some),
        sum(sample.connecting for sample in some),
        sum(sample.waiting for sample in some),
        _exact(max((sample.oldest_wait for sample in some), default=0.0)),
    ]


def _service_of(key: str) -> str:
    return key.rpartition("@")[0]


def _known(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return those that are known."""
    return {name: value for name, value in figures.items() if value is not None}


def _exact(value: float) -> float:
    """Return a figure with as many digits as a page shows."""
    return float(f"{value:.4g}")
