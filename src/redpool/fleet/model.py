"""What is known of a fleet: values only. The publisher makes them, the reader joins them, applications show them.

A *process report* is what one process says of its pools at one moment. A *fleet view* is all reports that are fresh,
joined with what the server says of its clients. Times of day are in seconds since 1970, durations in seconds.

All texts in reports and in CLIENT LIST come from outside: a hostile process chooses its names. They are shown as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from ..core.histogram import Distribution

__all__ = [
    "Borrowed", "Calling", "FleetView", "Owner", "PoolReport", "ProcessReport", "Sample", "ServerClient", "ServerView",
    "Waiting",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Borrowed:
    """A connection in use: how long, by which thread or task, taken at which line, and its last command's name."""

    age: float
    borrower: str
    taken_at: str | None = None
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A caller that waits: how long, and which thread or task it is."""

    age: float
    borrower: str


@dataclass(frozen=True, slots=True)
class Calling:
    """A call under way over a connection that callers share: the oldest one holds up those behind it."""

    age: float
    command: str
    sent: bool = False
    """whether it may have reached the server; else it is queued"""
    borrower: str | None = None
    """the thread or task that waits for the reply, as far as it can be known"""
    waits_at: str | None = None


@dataclass(frozen=True, slots=True)
class PoolReport:
    """A pool as its process sees it. Counters, `closed` and the distributions are since the pool was created."""

    name: str
    """unique within its process: of two pools with the same name the later ones get `#2` and so on"""
    kind: str
    """`dedicated` or `multiplexed`"""
    shell: str
    """`threads` or `asyncio`"""
    address: str
    """`host:port` or the path of a Unix socket, without database and credentials; of a cluster's node that node's"""
    max_connections: int
    open: int
    idle: int
    in_use: int
    connecting: int
    waiting: int
    oldest_wait: float
    in_flight: int = 0
    counters: Mapping[str, int] = field(default_factory=dict)
    """`acquired waited timeouts rejected connected connect_failures released leaks shed retries_refused`, and of a
    multiplexed pool `commands writes cancelled`, as in `PoolStats`"""
    closed: Mapping[str, int] = field(default_factory=dict)
    """connections closed, by reason"""
    wait: Distribution = field(default_factory=Distribution)
    use: Distribution = field(default_factory=Distribution)
    connect: Distribution = field(default_factory=Distribution)
    borrowed: tuple[Borrowed, ...] = ()
    """the oldest leases, ten at most"""
    waiters: tuple[Waiting, ...] = ()
    """the oldest waiters, ten at most"""
    calls: tuple[Calling, ...] = ()
    """of a multiplexed pool the oldest calls under way, ten at most"""
    bounded: bool | None = None
    """whether its queue has a bound: `max_waiting` or `shed`; `None` where its process doesn't say"""
    sizes_itself: bool = False
    """`max_connections` is what it allows just now"""


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """What one process says of itself and its pools."""

    service: str
    host: str
    pid: int
    started: float
    at: float
    period: float
    """how often it reports; it is stale after three of these"""
    redpool: str
    redis_py: str
    python: str
    pools: tuple[PoolReport, ...] = ()
    more_pools: int = 0
    """how many there are beside these: a report has so many at most that it stays small"""

    @property
    def key(self) -> str:
        """What it is told apart by: `service@host:pid`."""
        return f"{self.service}@{self.host}:{self.pid}"


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of one pool of one process at one moment of the past: the short history, for charts."""

    at: float
    process: str
    """the `key` of its process"""
    pool: str
    open: int
    in_use: int
    connecting: int
    waiting: int
    oldest_wait: float
    acquired: int
    timeouts: int
    connected: int
    closed: int
    wait: Distribution = field(default_factory=Distribution)


class Owner(Enum):
    """To whom a client of the server's belongs."""

    KNOWN = "known"
    """a live process that reports its pools"""
    ORPHANED = "orphaned"
    """named by a pool of redpool's, and no live process reports it: its process is gone, or reports no more"""
    FOREIGN = "foreign"
    """not named by redpool"""


@dataclass(frozen=True, slots=True)
class ServerClient:
    """One line of CLIENT LIST, with its owner."""

    id: int
    address: str
    name: str
    age: float
    idle: float
    database: int
    command: str
    user: str
    library: str
    flags: str
    subscriptions: int
    memory: int
    owner: Owner
    idle_too_long: bool = False
    """it has sent nothing for longer than the reader allows, and neither subscribes, monitors, blocks nor replicates"""
    process: str | None = None
    """the `key` of its process: of the report, or as its name says where that is orphaned"""
    pool: str | None = None
    """the name of its pool: of the report, if that pool is in it"""


@dataclass(frozen=True, slots=True)
class ServerView:
    """What one server says; a figure that it doesn't tell, or that ACL forbids, is `None` and told in `unseen`."""

    url: str
    """without credentials"""
    version: str | None = None
    connected_clients: int | None = None
    max_clients: int | None = None
    commands_per_second: int | None = None
    clients: tuple[ServerClient, ...] = ()
    latency: tuple[tuple[str, float, float], ...] = ()
    """LATENCY LATEST: event, when, seconds"""
    slow: tuple[tuple[float, float, str, str], ...] = ()
    """SLOWLOG: when, seconds, the command's name without arguments, the client's name"""
    unseen: tuple[str, ...] = ()
    """what could not be seen, and why"""


@dataclass(frozen=True, slots=True)
class FleetView:
    """A fleet at one moment: its live processes, and the server's side."""

    at: float
    processes: tuple[ProcessReport, ...] = ()
    server: ServerView | None = None
    history: tuple[Sample, ...] = ()
    """oldest first, as far back as the stream goes"""
    error: str | None = None
    """why nothing newer than `at` is known, where the last look failed: the view is stale"""

    @property
    def max_connections(self) -> int:
        """What all pools of all processes may open together."""
        return sum(pool.max_connections for process in self.processes for pool in process.pools)
