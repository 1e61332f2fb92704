"""The rows of a server's clients, those of one pool or of one name together. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from redpool.fleet.model import Owner, ServerClient, ServerView

from .rows import Column
from .shown import Tone, as_text, count, seconds

MEANING = {
    Owner.KNOWN: "reported by a live process",
    Owner.ORPHANED: "named by a pool of redpool's whose process is gone, or reports no more",
    Owner.FOREIGN: "not named by redpool",
}


@dataclass(frozen=True, slots=True)
class ClientRow:
    """Clients of a server that belong together."""

    key: tuple[str, ...]
    name: str
    place: str
    owner: Owner
    clients: tuple[ServerClient, ...]

    @property
    def idle(self) -> float:
        """How long the client that is silent for longest has sent nothing, in seconds."""
        return max(client.idle for client in self.clients)

    @property
    def age(self) -> float:
        """How old the oldest is, in seconds."""
        return max(client.age for client in self.clients)

    @property
    def command(self) -> str:
        """The last command of most of them."""
        return as_text(Counter(client.command for client in self.clients).most_common(1)[0][0])


def client_rows(server: ServerView | None) -> list[ClientRow]:
    """Return the rows of a server's clients, in no order: by process and pool, of foreign ones by name or host."""
    groups: dict[tuple[str, ...], list[ServerClient]] = {}
    for client in server.clients if server else ():
        groups.setdefault((client.owner.value, *_name(client)), []).append(client)
    return [_row(key, tuple(clients)) for key, clients in groups.items()]


def _name(client: ServerClient) -> tuple[str, str]:
    if client.process is not None:
        service, _, process = client.process.rpartition("@")
        return f"{service}/{client.pool}", process
    host = client.address.rpartition(":")[0] or client.address
    return client.name or client.library or "without a name", host


def _row(key: tuple[str, ...], clients: tuple[ServerClient, ...]) -> ClientRow:
    owner, name, place = key
    return ClientRow(key, as_text(name), as_text(place), Owner(owner), clients)


def client_words(row: ClientRow) -> str:
    """Return what a filter looks at: owner, names, addresses, users and libraries."""
    each = {f"{c.name} {c.address} {c.user} {c.library}" for c in row.clients}
    return as_text(f"{row.owner.value} {row.name} {row.place}") + " ".join(map(as_text, sorted(each)))


def _memory(row: ClientRow) -> int:
    return sum(client.memory for client in row.clients)


def _kilobytes(value: int) -> str:
    return f"{count(value // 1024)} kB"


def _of_idle(row: ClientRow) -> Tone:
    return Tone.WARN if any(client.idle_too_long for client in row.clients) else Tone.PLAIN


CLIENT_COLUMNS: tuple[Column[ClientRow], ...] = (
    Column(
        "client", 16, lambda row: f"{row.name} {row.place}", lambda row: row.name,
        "service/pool and process, as the clients' names say; of others their name, library or host", is_name=True,
    ),
    Column(
        "whose", 8, lambda row: row.owner.value, lambda row: row.owner.value,
        "; ".join(f"{owner.value}: {meaning}" for owner, meaning in MEANING.items()),
        lambda row: Tone.WARN if row.owner is Owner.ORPHANED else Tone.QUIET, 9, is_name=True,
    ),
    Column(
        "clients", 7, lambda row: len(row.clients), lambda row: count(len(row.clients)),
        "how many they are", weight=8,
    ),
    Column(
        "idle for", 8, lambda row: row.idle, lambda row: seconds(row.idle),
        "how long one of them, at most, has sent nothing", _of_idle, weight=7,
    ),
    Column(
        "oldest", 7, lambda row: row.age, lambda row: seconds(row.age),
        "how long ago the first of them connected", weight=5,
    ),
    Column(
        "memory", 10, _memory, lambda row: _kilobytes(_memory(row)),
        "what they take of the server's memory", weight=4,
    ),
    Column(
        "last command", 16, lambda row: row.command, lambda row: row.command,
        "of most of them", weight=6, is_name=True,
    ),
)  # fmt: skip

DEFAULT_CLIENT_SORT = "clients"
