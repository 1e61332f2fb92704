"""What a server says of its clients, and to whom they belong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..wire import client_names
from .model import Owner, ProcessReport, ServerClient

# Subscribers, monitors, blocked clients, replicas and the master are right to be silent.
_SILENT = frozenset("PObSM")
_MOST_NAMES = 20_000

Host = tuple[str, int]


class Owners:
    """The processes that are alive, by host and process id, and what the names of clients say."""

    def __init__(self) -> None:
        self._alive: dict[Host, str] = {}
        self._names: dict[str, tuple[Host, str, str] | None] = {}

    def know(self, reports: Iterable[ProcessReport]) -> bool:
        """Take these processes for the ones that are alive, and return whether they are others than before."""
        before = self._alive
        self._alive = {(client_names.host_part(report.host), report.pid): report.key for report in reports}
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
        return (Owner.ORPHANED, process, pool) if alive is None else (Owner.KNOWN, alive, pool)


def _named(name: str) -> tuple[Host, str, str] | None:
    found = client_names.read(name)
    if found is None:
        return None
    return (found.host, found.pid), f"{found.service}@{found.host}:{found.pid}", found.pool


def clients_of(listed: str, owners: Owners, idle_limit: float) -> tuple[ServerClient, ...]:
    """Return what CLIENT LIST says, line by line; what a line lacks is 0 or empty."""
    return tuple(_client(dict(_pairs(line)), owners, idle_limit) for line in listed.splitlines() if line)


def owned_anew(clients: tuple[ServerClient, ...], owners: Owners) -> tuple[ServerClient, ...]:
    """Return the same clients, once other processes are alive."""
    return tuple(_owned_anew(client, *owners.of(client.name)) for client in clients)


def _owned_anew(client: ServerClient, owner: Owner, process: str | None, pool: str | None) -> ServerClient:
    if (client.owner, client.process) == (owner, process):
        return client
    return replace(client, owner=owner, process=process, pool=pool)


def _pairs(line: str) -> Iterable[tuple[str, str]]:
    for pair in line.split(" "):
        name, equals, value = pair.partition("=")
        if equals:
            yield name, value


def _client(found: Mapping[str, str], owners: Owners, idle_limit: float) -> ServerClient:
    get = found.get
    owner, process, pool = owners.of(get("name", ""))
    idle, flags = _number(get("idle", "")), get("flags", "")
    return ServerClient(
        id=_number(get("id", "")),
        address=get("addr", ""),
        name=get("name", ""),
        age=_number(get("age", "")),
        idle=idle,
        database=_number(get("db", "")),
        command=get("cmd", ""),
        user=get("user", ""),
        library=f"{get('lib-name', '')} {get('lib-ver', '')}".strip(),
        flags=flags,
        subscriptions=sum(_number(get(kind, "")) for kind in ("sub", "psub", "ssub")),
        memory=_number(get("tot-mem", "")),
        owner=owner,
        idle_too_long=idle > idle_limit and _SILENT.isdisjoint(flags),
        process=process,
        pool=pool,
    )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 20 else 0
