"""Ask a server, twice with a short look between: the only module that talks to it. Where it may not, it says so."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from ..redispy.options import as_redis
from ..wire.server_replies import SlowEntry, listed_clients, slow_entries, text, whole
from .facts import Client, Info, Latency, ServerFacts, SlowCommand, Unseen

# One at a time: `CONFIG GET *` would bring passwords along, and older servers take one pattern only.
SETTINGS = (
    "maxclients", "timeout", "tcp-keepalive", "maxmemory", "maxmemory-policy", "maxmemory-clients",
    "client-output-buffer-limit", "latency-monitor-threshold", "slowlog-log-slower-than", "tcp-backlog", "io-threads",
)  # fmt: skip
# Keys of task queues that are there whatever the user's own names: of Celery, RQ, arq and taskiq.
QUEUES = ("_kombu.binding.celery", "celery", "unacked", "rq:queues", "rq:workers", "arq:queue", "taskiq")
# Of the machine that the server runs on, where that is this one.
MACHINE = {
    "somaxconn": "/proc/sys/net/core/somaxconn",
    "overcommit_memory": "/proc/sys/vm/overcommit_memory",
    "transparent_hugepage": "/sys/kernel/mm/transparent_hugepage/enabled",
}
_ENTRIES = 128  # of the slow log
_PATIENCE = 10.0  # seconds that it has for each answer

T = TypeVar("T")


def connect(url: str, options: Mapping[str, Any]) -> redis.Redis:
    """Return a client for a doctor's look at a server. It speaks RESP2, which every server and proxy knows.

    `options` are what the URL doesn't say, such as credentials. Raises `ValueError` for what is no URL of a server.
    """
    own: dict[str, Any] = {
        "protocol": 2,
        "max_connections": 1,
        "socket_timeout": _PATIENCE,
        "socket_connect_timeout": _PATIENCE,
        "retry": Retry(NoBackoff(), 0),
    }
    return redis.Redis.from_url(as_redis(url), **{**options, **own})


def without_credentials(url: str) -> str:
    """Return a URL's scheme, host, port and path, as far as these can't be parts of a password that isn't quoted."""
    parts = urlsplit(url)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return f"{parts.scheme}://{parts.hostname or ''}"
    if "@" not in parts.netloc and "@" in parts.path + parts.fragment:
        return f"{parts.scheme}://"
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{parts.path}"


def look(client: redis.Redis, url: str, seconds: float) -> tuple[ServerFacts, tuple[Unseen, ...]]:
    """Return what the server says, and what it would not say. Raises redis-py's errors where it can't be reached."""
    asked = _Asked(client)
    asked.ping()
    asked.name_connection()
    own = asked.number("CLIENT", "ID")
    before, clients_before = asked.info(), asked.clients(own)
    began = time.monotonic()
    time.sleep(seconds)
    info, clients = asked.info(), asked.clients(own)
    passed = time.monotonic() - began
    host = urlsplit(url).hostname or ""
    known = {each.id for each in clients_before or ()}
    facts = ServerFacts(
        url=without_credentials(url),
        host=host,
        local=is_local(host),
        encrypted=urlsplit(url).scheme in ("rediss", "valkeys"),
        seconds=passed,
        before=before,
        info=info,
        config=asked.settings(),
        clients=clients,
        newcomers=() if clients_before is None else tuple(each for each in clients or () if each.id not in known),
        slow=asked.slow(),
        latency=asked.latency(),
        at=asked.time(),
        queues=asked.queues(),
        hello=asked.hello(),
        machine=machine(info) if is_local(host) else {},
    )
    return facts, tuple(asked.unseen.values())


def is_local(host: str) -> bool:
    """Return whether a host is this machine: a Unix socket, or a loopback address."""
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def machine(info: Info) -> Mapping[str, str]:
    """Return settings of the operating system, where the server is a process that this one can see."""
    if not os.path.exists(f"/proc/{info.get('process_id')}/stat"):
        return {}
    found = {}
    for name, path in MACHINE.items():
        try:
            found[name] = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
    return found


class _Asked:
    """Asks, and notes what was refused."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.unseen: dict[str, Unseen] = {}

    def ping(self) -> None:
        """Find out whether it answers; a refusal is an answer."""
        self._ask("PING", self._client.ping)

    def name_connection(self) -> None:
        with contextlib.suppress(ResponseError):  # it is a courtesy
            self._client.execute_command("CLIENT SETNAME", "redpool-doctor")

    def number(self, *command: str) -> int | None:
        return self._ask(" ".join(command), lambda: int(self._do(*command)))

    def info(self) -> Info:
        """Return INFO with all its sections, or with those that a server gives by default."""
        try:
            return self._info("all")
        except ResponseError:
            return self._ask("INFO", lambda: self._info()) or {}

    def _info(self, *section: str) -> Info:
        found: Any = self._client.info(*section)
        return dict(found)

    def settings(self) -> Mapping[str, str]:
        """Return those of `SETTINGS` that there are."""
        found: dict[str, str] = {}
        for name in SETTINGS:
            reply = self._ask("CONFIG GET", lambda name=name: self._do("CONFIG GET", name))  # type: ignore[misc]  # of a lambda with a default mypy knows no type
            if reply is None:
                break
            found |= {str(key): str(value) for key, value in dict(reply).items()}
        return found

    def clients(self, own: int | None) -> tuple[Client, ...] | None:
        """Return all clients but this one."""
        listed = self._ask("CLIENT LIST", lambda: [*map(_client_of, listed_clients(self._do("CLIENT", "LIST")))])
        return None if listed is None else tuple(client for client in listed if client.id != own)

    def slow(self) -> tuple[SlowCommand, ...] | None:
        entries = self._ask("SLOWLOG GET", lambda: tuple(slow_entries(self._do("SLOWLOG", "GET", _ENTRIES))))
        return None if entries is None else tuple(map(_slow_of, entries))

    def latency(self) -> tuple[Latency, ...] | None:
        events = self._ask("LATENCY LATEST", lambda: self._do("LATENCY LATEST"))
        return None if events is None else tuple(Latency(text(each[0]), int(each[3]) / 1000) for each in events)

    def time(self) -> float:
        reply = self._ask("TIME", lambda: self._do("TIME"))
        return float(reply[0]) if reply else time.time()

    def queues(self) -> tuple[str, ...]:
        """Return those of `QUEUES` that are there."""

        def present() -> tuple[str, ...]:
            return tuple(key for key in QUEUES if self._do("EXISTS", key))

        return self._ask("keys of task queues (EXISTS)", present) or ()

    def hello(self) -> bool | None:
        """Return whether HELLO is known; without an argument it changes nothing."""
        try:
            self._do("HELLO")
        except ResponseError as error:
            return None if "NOPERM" in str(error) or "permission" in str(error) else False
        return True

    def _do(self, *command: Any) -> Any:
        return self._client.execute_command(*command)

    def _ask(self, what: str, ask: Callable[[], T]) -> T | None:
        """Return what is asked for, or note the server's refusal, or a reply that can't be read."""
        try:
            return ask()
        except ResponseError as error:
            self.unseen.setdefault(what, Unseen(what, _reason(error)))
        except (TypeError, ValueError, KeyError, IndexError, AttributeError):
            self.unseen.setdefault(what, Unseen(what, "the server answers it in a way of its own"))
        return None


def _client_of(line: Mapping[str, str]) -> Client:
    def number(name: str, missing: int = 0) -> int:
        figure = whole(line.get(name))
        return missing if figure is None else figure

    channels = number("sub"), number("psub"), number("ssub")
    return Client(
        id=int(line["id"]),
        address=line.get("addr", ""),
        name=line.get("name", ""),
        age=number("age"),
        idle=number("idle"),
        database=number("db"),
        command=line.get("cmd", "").replace("|", " ").upper(),
        user=line.get("user", "default"),
        library=line.get("lib-name", ""),
        flags=line.get("flags", "N"),
        subscriptions=sum(channels),
        channels=channels,
        transaction=number("multi", -1),
        watched=number("watch"),
        query_buffer=number("qbuf"),
        output=number("omem"),
        memory=number("tot-mem"),
        bytes_out=number("tot-net-out", -1),
        commands=number("tot-cmds", -1),
    )


def _slow_of(entry: SlowEntry) -> SlowCommand:
    return SlowCommand(entry.at, entry.seconds, entry.command.upper(), entry.name or entry.address)


def _reason(error: ResponseError) -> str:
    said = str(error)
    if isinstance(error, redis.exceptions.NoPermissionError) or "permission" in said:
        return "this user may not (ACL)"
    return "this server has no such command" if said.lower().startswith(("unknown", "err unknown")) else said[:100]
