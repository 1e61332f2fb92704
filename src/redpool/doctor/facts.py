"""What a doctor knows: values only. What could not be seen is `None` or absent, and told in `unseen`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from ..core.histogram import Distribution
from ..core.record import Record
from ..fleet.model import FleetView
from ..wire import client_names

Info: TypeAlias = Mapping[str, object]
"""the reply to INFO, by field"""


@dataclass(frozen=True, slots=True)
class Unseen:
    """What could not be seen, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Client:
    """A line of CLIENT LIST; sizes are in bytes, times in seconds, -1 what this server doesn't tell."""

    id: int
    address: str
    name: str = ""
    age: float = 0.0
    idle: float = 0.0
    database: int = 0
    command: str = ""
    user: str = "default"
    library: str = ""
    flags: str = "N"
    subscriptions: int = 0
    channels: tuple[int, int, int] = (0, 0, 0)
    """how many channels, patterns and sharded channels it has subscribed to"""
    transaction: int = -1
    """commands queued since MULTI; -1 outside of a transaction"""
    watched: int = 0
    query_buffer: int = 0
    output: int = 0
    """bytes of replies that it has not read"""
    memory: int = 0
    bytes_out: int = -1
    commands: int = -1

    @property
    def owner(self) -> str:
        """Whose it is, as far as CLIENT LIST says: its name, else where it comes from."""
        return self.name or self.host

    @property
    def host(self) -> str:
        """Where it comes from, without the port."""
        return self.address.rpartition(":")[0] or self.address

    @property
    def process(self) -> str | None:
        """`service@host:pid` where its name says that."""
        named = client_names.read(self.name)
        return f"{named.service}@{named.host}:{named.pid}" if named else None

    @property
    def blocked(self) -> bool:
        """Whether it waits in a blocking command."""
        return "b" in self.flags

    @property
    def is_application(self) -> bool:
        """Whether it is neither a replica, nor a primary, nor a monitor."""
        return not set(self.flags) & set("SMO")


@dataclass(frozen=True, slots=True)
class SlowCommand:
    """An entry of the slow log, without the command's arguments."""

    at: float
    seconds: float
    command: str
    client: str = ""


@dataclass(frozen=True, slots=True)
class Latency:
    """A kind of event of LATENCY LATEST, and how many seconds the longest of them stopped the server."""

    event: str
    longest: float


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What one server said, twice, `seconds` apart."""

    url: str
    """without credentials"""
    host: str = ""
    local: bool = True
    """it is on this machine"""
    encrypted: bool = False
    seconds: float = 0.0
    before: Info = field(default_factory=dict)
    info: Info = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    clients: tuple[Client, ...] | None = None
    newcomers: tuple[Client, ...] = ()
    """those of `clients` that connected between the two looks"""
    slow: tuple[SlowCommand, ...] | None = None
    latency: tuple[Latency, ...] | None = None
    at: float = 0.0
    """its time of the second look, in seconds since 1970"""
    queues: tuple[str, ...] = ()
    """keys of well-known task queues that it holds"""
    hello: bool | None = None
    """whether it knows the command HELLO"""
    machine: Mapping[str, str] = field(default_factory=dict)
    """settings of its operating system, where it runs on this machine"""

    @property
    def silent(self) -> bool:
        """Whether it has told nothing of itself, its clients or its commands."""
        lists = self.clients, self.slow, self.latency
        return not (self.info or self.config) and all(each is None for each in lists)

    def number(self, name: str) -> float | None:
        """Return a figure of INFO at the second look."""
        return _number(self.info.get(name))

    def grew(self, name: str) -> float | None:
        """Return by how much a counter of INFO grew between the two looks."""
        before, after = _number(self.before.get(name)), self.number(name)
        return None if before is None or after is None or after < before else after - before

    def rate(self, name: str) -> float | None:
        """Return by how much a counter of INFO grew per second."""
        grown = self.grew(name)
        return None if grown is None or self.seconds <= 0 else grown / self.seconds

    @property
    def core_used(self) -> float:
        """Return how much of a core its main thread used between the two looks; all threads where it doesn't tell."""
        rates = [self.rate(f"used_cpu_{kind}_main_thread") for kind in ("user", "sys")]
        if None in rates:
            rates = [self.rate(f"used_cpu_{kind}") for kind in ("user", "sys")]
        return sum(rate or 0.0 for rate in rates)

    def setting(self, name: str) -> int | None:
        """Return a setting that is a whole number."""
        try:
            return int(self.config[name])
        except (KeyError, ValueError):
            return None

    def commands(self, name: str) -> tuple[float, float]:
        """Return how many commands of a name were carried out between the two looks, and how many ever."""
        before, after = (_number(_field(info, f"cmdstat_{name}", "calls")) or 0.0 for info in (self.before, self.info))
        return max(0.0, after - before), after

    def errors(self) -> Mapping[str, float]:
        """Return how many errors of each kind the server has given."""
        found = {name.removeprefix("errorstat_"): _number(_field(self.info, name, "count"))
                 for name in self.info if name.startswith("errorstat_")}  # fmt: skip
        return {name: count for name, count in found.items() if count}

    @property
    def max_clients(self) -> int | None:
        """Return how many clients it takes, as INFO says since Redis 7.0, else its configuration."""
        found = self.number("maxclients")
        return int(found) if found is not None else self.setting("maxclients")

    @property
    def version(self) -> tuple[int, ...]:
        """Return the version of Redis that it is, or says that it is compatible with; `()` where it doesn't tell."""
        return tuple(int(part) for part in re.findall(r"\d+", str(self.info.get("redis_version", ""))))


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """A pool in this process: the user's own, imported."""

    name: str
    where: str
    """`module:attribute`"""
    family: str
    """`redpool`, `redis-py` or `valkey-py`"""
    shell: str
    """`threads` or `asyncio`"""
    kind: str
    """the name of its class"""
    multiplexed: bool = False
    waits: bool = True
    """callers wait for a connection, instead of getting an error at once"""
    max_connections: int = 50
    timeout: float | None = None
    """how long they wait; `None` for ever"""
    max_idle_time: float | None = None
    max_lifetime: float | None = None
    lifetime_jitter: float = 0.0
    ping_after_idle: float | None = None
    shared_connections: int = 0
    host: str = "localhost"
    socket_timeout: float | None = None
    connect_timeout: float | None = None
    retries: int = 0
    """how often redis-py's policy tries again; a negative number is for ever"""
    keepalive: bool = False
    protocol: int = 2
    parser: str = ""
    credentials_change: bool = False
    """it has a credential provider"""
    caches: bool = False
    open: int = 0
    """connections that were open as soon as it was imported; of redis-py's pools for threads it isn't known"""
    counters: Mapping[str, int] = field(default_factory=dict)
    closed: Mapping[str, int] = field(default_factory=dict)
    wait: Distribution = field(default_factory=Distribution)
    use: Distribution = field(default_factory=Distribution)
    connect: Distribution = field(default_factory=Distribution)
    record: Record | None = None
    """what it was asked for in the last minute"""
    bounded: bool | None = None
    """its queue has a bound: `max_waiting` or `shed`; `None` where callers don't wait in one of ours"""
    sizes_itself: bool = False
    commands: tuple[str, ...] = ()
    """the last command of each connection in use"""
    siblings: int = 1
    """pools of this process, of any kind, for the same address"""

    @property
    def ours(self) -> bool:
        """Whether it is one of redpool's."""
        return self.family == "redpool"


class Pattern(Enum):
    """What the code does that goes wrong."""

    POOL_PER_CALL = "pool per call"
    ASYNC_BEFORE_FORK = "asyncio client before a fork"
    LOOP_PER_CALL = "event loop per call"
    BLOCKING_ON_SMALL_POOL = "blocking command on a small pool"
    BLOCKING_PAST_TIMEOUT = "blocking command past socket_timeout"
    WHOLE_KEYSPACE = "command over the whole keyspace"
    WHOLE_VALUE = "command that returns a whole value"
    COMMAND_PER_ITEM = "a command for each item"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A place in the user's code."""

    pattern: Pattern
    path: str
    line: int
    function: str
    """in which it stands; empty at module level"""
    what: str
    """the call's name, such as `redis.Redis` or `KEYS`"""
    on_request: bool = False
    """the function handles requests or tasks, or one that does calls it"""
    own_timeout: float | None = None
    """of a blocking command: how long it blocks; 0 for ever"""
    socket_timeout: float | None = None
    """of its client, where the code says so"""
    size: int | None = None
    """`max_connections` of its client, where the code says so"""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known. What was not asked for is `None`."""

    server: ServerFacts | None = None
    pools: tuple[PoolFacts, ...] = ()
    fleet: FleetView | None = None
    code: tuple[Sighting, ...] | None = None
    redis_py: str | None = None
    """the version of redis-py that is installed here"""
    deadline: float = 30.0
    """the seconds that the callers of the pools have themselves"""
    processes: int | None = None
    """how many processes have such a pool"""
    records: Mapping[tuple[str, str], Record] = field(default_factory=dict)
    """what pools of other processes were asked for in the last minute, by the process's key and the pool's name"""
    unseen: tuple[Unseen, ...] = ()
    silent: tuple[str, ...] = ()
    """what was asked for and has told nothing at all"""

    @property
    def known(self) -> frozenset[str]:
        """Return which kinds of facts there are, by the names that rules ask for them by."""
        found = {name for name, value in (("pool", self.pools), ("fleet", self.fleet)) if value}
        found |= {"record"} if self.records or any(pool.record for pool in self.pools) else set()
        found |= {"code"} if self.code is not None else set()
        found |= {"redis-py"} if self.redis_py else set()
        if self.server is not None:
            server = self.server
            parts = {"info": server.info, "config": server.config, "machine": server.machine}
            found |= {"server"} | {name for name, value in parts.items() if value}
            lists = {"clients": server.clients, "slowlog": server.slow, "latency": server.latency}
            found |= {name for name, value in lists.items() if value is not None}
        return frozenset(found)

    @property
    def clients(self) -> tuple[Client, ...]:
        """Return the server's clients that belong to applications."""
        listed = self.server.clients if self.server else None
        return tuple(client for client in listed or () if client.is_application)

    def sighted(self, pattern: Pattern) -> Iterator[Sighting]:
        """Yield where the code does this."""
        return (sighting for sighting in self.code or () if sighting.pattern is pattern)


@dataclass(frozen=True, slots=True)
class Counted:
    """What a pool has counted, wherever that is known from."""

    label: str
    address: str
    max_connections: int
    counters: Mapping[str, int]
    closed: Mapping[str, int]
    wait: Distribution
    use: Distribution
    connect: Distribution
    bounded: bool | None
    record: Record | None


def counted(facts: Facts) -> Iterator[Counted]:
    """Yield what the imported pools and those of the fleet have counted."""
    for pool in facts.pools:
        yield Counted(
            pool.where, pool.name, pool.max_connections, pool.counters, pool.closed, pool.wait, pool.use, pool.connect,
            pool.bounded, pool.record,
        )  # fmt: skip
    for process in facts.fleet.processes if facts.fleet else ():
        for report in process.pools:
            yield Counted(
                f"{report.name} of {process.key}", report.address, report.max_connections, report.counters,
                report.closed, report.wait, report.use, report.connect, report.bounded,
                facts.records.get((process.key, report.name)),
            )  # fmt: skip


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _field(info: Info, name: str, part: str) -> object:
    entry = info.get(name)
    return entry.get(part) if isinstance(entry, Mapping) else None
