"""What a server says of its clients, and to whom they belong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from ..wire import client_names
from ..wire.server_replies import listed_clients, whole
from .model import Owner, ProcessReport, ServerClient

# Subscribers, monitors, blocked clients, replicas and the master are right to be silent.
_SILENT = frozenset("PObSM")
_MOST_NAMES = 20_000

Host = tuple[str, int]


class _Alive(NamedTuple):
    """A process that reports: its key, and by their names on the wire the key and the name of each pool's report."""

    key: str
    pools: dict[str, tuple[str, str]]


class Owners:
    """The processes that are alive, by host and process id, and what the names of clients say."""

    def __init__(self) -> None:
        self._alive: dict[Host, _Alive] = {}
        self._names: dict[str, tuple[Host, str, str] | None] = {}

    def know(self, reports: Iterable[ProcessReport]) -> bool:
        """Take these processes for the ones that are alive, and return whether they are others than before."""
        before, self._alive = self._alive, {}
        for report in reports:
            host = client_names.host_part(report.host), report.pid
            pools = self._alive.setdefault(host, _Alive(report.key, {})).pools
            for pool in report.pools:
                pools.setdefault(_on_the_wire(pool.name), (report.key, pool.name))
        return self._alive != before

    def of(self, name: str) -> tuple[Owner, str | None, str | None]:
        """Return whose a client of this name is, with the key of its process and its pool."""
        if name in self._names:
            named = self._names[name]
        else:
            if len(self._names) > _MOST_NAMES:
                self._names.clear()
            named = self._names[name] = _named(name)
        if named is None:
            return Owner.FOREIGN, None, None
        host, process, pool = named
        alive = self._alive.get(host)
        if alive is None:
            return Owner.ORPHANED, process, pool
        return Owner.KNOWN, *alive.pools.get(pool, (alive.key, pool))


_on_the_wire = lru_cache(4096)(client_names.pool_part)


def _named(name: str) -> tuple[Host, str, str] | None:
    found = client_names.read(name)
    if found is None:
        return None
    return (found.host, found.pid), f"{found.service}@{found.host}:{found.pid}", found.pool


def clients_of(reply: bytes | str, owners: Owners, idle_limit: float) -> tuple[ServerClient, ...]:
    """Return what CLIENT LIST says, line by line; what a line lacks is 0 or empty."""
    return tuple(_client(found, owners, idle_limit) for found in listed_clients(reply))


def owned_anew(clients: tuple[ServerClient, ...], owners: Owners) -> tuple[ServerClient, ...]:
    """Return the same clients, once other processes are alive."""
    return tuple(_owned_anew(client, *owners.of(client.name)) for client in clients)


def _owned_anew(client: ServerClient, owner: Owner, process: str | None, pool: str | None) -> ServerClient:
    if (client.owner, client.process, client.pool) == (owner, process, pool):
        return client
    return replace(client, owner=owner, process=process, pool=pool)


def _client(found: Mapping[str, str], owners: Owners, idle_limit: float) -> ServerClient:
    get = found.get
    owner, process, pool = owners.of(get("name", ""))
    idle, flags = whole(get("idle")) or 0, get("flags", "")
    return ServerClient(
        id=whole(get("id")) or 0,
        address=get("addr", ""),
        name=get("name", ""),
        age=whole(get("age")) or 0,
        idle=idle,
        database=whole(get("db")) or 0,
        command=get("cmd", ""),
        user=get("user", ""),
        library=f"{get('lib-name', '')} {get('lib-ver', '')}".strip(),
        flags=flags,
        subscriptions=sum(whole(get(kind)) or 0 for kind in ("sub", "psub", "ssub")),
        memory=whole(get("tot-mem")) or 0,
        owner=owner,
        idle_too_long=idle > idle_limit and _SILENT.isdisjoint(flags),
        process=process,
        pool=pool,
    )
