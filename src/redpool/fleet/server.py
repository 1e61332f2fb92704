"""The server's side of a view: its clients, figures, latency events and slow log, as far as it tells them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from redis.exceptions import RedisError

from ..wire.server_replies import slow_entries, text, whole
from .clients import Owners, clients_of, owned_anew
from .link import Command
from .model import ProcessReport, ServerClient, ServerView

_monotonic = time.monotonic

_SLOW = 64  # entries of the slow log
_SHARE = 20  # the list of clients is asked for so seldom that to read it takes one part in so many of a core's time


class ServerSide:
    """What is known of the server. What it refuses is asked for again over the next connection only."""

    def __init__(self, idle_limit: float) -> None:
        self._idle_limit = idle_limit
        self._owners = Owners()
        self._refused: dict[str, str] = {}
        self._asked: list[str] = []
        self._info: dict[str, str] = {}
        self._most: int | None = None
        self._list_due = 0.0
        self._clients: tuple[ServerClient, ...] = ()

    def start_over(self) -> None:
        """Ask for everything again: there will be another connection."""
        self._refused.clear()
        self._list_due = 0.0
        self._most = None

    def commands(self) -> list[Command]:
        """Return what to ask."""
        wanted: dict[str, Command] = {
            "INFO": ("INFO",),
            "LATENCY LATEST": ("LATENCY", "LATEST"),
            "SLOWLOG GET": ("SLOWLOG", "GET", _SLOW),
        }
        if _monotonic() >= self._list_due:
            wanted["CLIENT LIST"] = ("CLIENT", "LIST")
        if self._info and self._most is None:
            wanted["CONFIG GET"] = ("CONFIG", "GET", "maxclients")
        self._asked = [name for name in wanted if name not in self._refused]
        return [wanted[name] for name in self._asked]

    def view(
        self, url: str, replies: list[Any], processes: Iterable[ProcessReport], unseen: Iterable[str]
    ) -> ServerView:
        """Return what the server at this address has said."""
        said: dict[str, Any] = {}
        for name, reply in zip(self._asked, replies, strict=True):
            if isinstance(reply, RedisError):
                self._refused[name] = str(reply)
            else:
                said[name] = reply
        self._info = dict(_lines(text(said.get("INFO", b""))))
        self._most = whole(self._info.get("maxclients")) or self._most or _configured(said.get("CONFIG GET"))
        self._take_clients(said, self._owners.know(processes))
        return ServerView(
            url=url,
            version=self._info.get("valkey_version") or self._info.get("redis_version"),
            connected_clients=whole(self._info.get("connected_clients")),
            max_clients=self._most,
            commands_per_second=whole(self._info.get("instantaneous_ops_per_sec")),
            clients=self._clients,
            latency=tuple(_latency(said.get("LATENCY LATEST") or [])),
            slow=tuple((at, took, name, of) for at, took, name, _, of in slow_entries(said.get("SLOWLOG GET") or [])),
            unseen=(*unseen, *(f"{name}: {why}" for name, why in self._refused.items())),
        )

    def _take_clients(self, said: dict[str, Any], others: bool) -> None:
        if "CLIENT LIST" in said:
            began = time.thread_time()
            self._clients = clients_of(said["CLIENT LIST"], self._owners, self._idle_limit)
            self._list_due = _monotonic() + _SHARE * (time.thread_time() - began)
        elif others:
            self._clients = owned_anew(self._clients, self._owners)


def _lines(info: str) -> Iterable[tuple[str, str]]:
    for line in info.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            yield name, value


def _configured(reply: Any) -> int | None:
    return whole(text(reply[1])) if isinstance(reply, list) and len(reply) == 2 else None


def _latency(reply: Iterable[Any]) -> Iterable[tuple[str, float, float]]:
    for event, at, latest, *_ in reply:
        yield text(event), float(at), latest / 1000
