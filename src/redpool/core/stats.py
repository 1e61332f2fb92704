"""What a pool says about itself: made of values, when it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, TypeAlias

from .counters import Counters
from .histogram import Distributions, Summary

Plain: TypeAlias = dict[str, Any]
"""numbers, strings and dicts of them, as JSON has them"""


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The state of a pool at one moment, and its counters since it was created. Times are in seconds.

    `open == idle + in_use` at any moment. A connection that is validated in the background counts as idle.
    """

    name: str
    max_connections: int
    open: int
    idle: int
    in_use: int
    connecting: int
    waiting: int
    """callers that wait for a connection; over shared ones, for room or for the connect, of which the pool is one"""
    oldest_wait: float
    """seconds that the longest-waiting caller has waited so far; 0 where none waits"""
    acquired: int
    """checkouts; where a connection failed its validation, the caller's next attempt counts again"""
    waited: int
    """checkouts that found no idle connection"""
    timeouts: int
    """callers that waited `timeout` in vain"""
    rejected: int
    """callers turned away at once: the queue was full, or the pool was shut down"""
    connected: int
    """connections opened"""
    connect_failures: int
    released: int
    leaks: int
    """leases reported because they were older than `leak_after`"""
    closed: Mapping[str, int] = field(default_factory=dict)
    """connections closed, by reason"""
    wait: Summary = field(default_factory=Summary)
    """seconds that callers waited for a connection; 0 for a checkout that found an idle one"""
    use: Summary = field(default_factory=Summary)
    """seconds from checkout to release"""
    connect: Summary = field(default_factory=Summary)
    """seconds that connects took, handshake included"""
    utilization: float = 0.0
    """mean share of `max_connections` in use since the pool was created"""
    shed: int = 0
    """callers turned away since they have waited, or would have waited, for too long: the option `shed`"""
    retries_refused: int = 0
    """late commands that were not sent again, since retries had used up their budget"""

    def to_dict(self) -> Plain:
        """Return the stats as plain dictionaries and numbers, ready for JSON."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value.to_dict() if isinstance(value, Summary) else _plain(value) for name, value in plain.items()}


@dataclass(frozen=True, slots=True)
class MultiplexedPoolStats(PoolStats):
    """The state and the counters of a pool whose connections callers share.

    `acquired`, `waited`, `released`, `wait` and `use` count dedicated connections only.
    """

    in_flight: int = 0
    """commands that await a reply on a shared connection"""
    commands: int = 0
    """commands sent over shared connections"""
    writes: int = 0
    """writes that sent them"""
    cancelled: int = 0
    """commands whose callers left before the reply came: it was dropped"""
    batch: Summary = field(default_factory=Summary)
    """commands per write; the largest is counted as 4096 where it is more"""


COUNTERS = (
    "acquired", "waited", "timeouts", "rejected", "connected", "connect_failures", "released", "leaks",
    "shed", "retries_refused", "commands", "writes", "cancelled",
)  # fmt: skip
"""What only goes up, in the stats of one kind of pool or of both; closes have reasons beside."""


def counted(stats: PoolStats) -> dict[str, int]:
    """Return what a pool has counted since it was created, by the names in the stats."""
    return {name: getattr(stats, name) for name in COUNTERS if hasattr(stats, name)}


@dataclass(frozen=True, slots=True)
class Lease:
    """A connection in use: its borrower, its age, where it was taken and its last command."""

    age: float
    """seconds since checkout"""
    borrower: str
    """the thread or task that took it"""
    taken_at: str | None
    """the stack that took it, where `leak_after` is set; else the line that took it, `None` where redis-py's client did

    On an event loop, what can be seen of the task that holds it in place of `None`.
    """
    last_command: str | None
    """the last command sent over it"""


@dataclass(frozen=True, slots=True)
class Waiter:
    """A caller in the wait queue, and how long it has waited."""

    age: float
    """seconds in the queue"""
    borrower: str
    """the thread or task that waits"""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is under way over a shared connection."""

    age: float
    """seconds since it was queued, as exact as is known without a look at the clock by each: 0 for a short one"""
    borrower: str | None
    """the thread or task that waits for the reply; `None` for a thread that reads or writes for all just now"""
    waits_at: str | None
    """the line where a task waits, in its own code; of a thread it can't be known"""
    command: str
    """the command's name, of a pipeline or transaction that of its first one"""
    sent: bool
    """whether it may have reached the server; else it waits for room, or is just queued"""


@dataclass(frozen=True, slots=True)
class CallerClass:
    """A class of callers that has come, or for which connections are reserved."""

    name: str
    reserved: int
    """connections that are kept for it"""
    callers: int
    """how many have come so far"""
    in_use: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What a pool has decided about how many connections callers share, and why."""

    age: float
    """seconds since then"""
    what: str


@dataclass(frozen=True, slots=True)
class BudgetShare:
    """What a pool may have of its budget, a number of connections that many processes share."""

    budget: str
    connections: int
    """how many all processes may have together"""
    process: int
    """how many the pools of this process may have together"""
    pool: int
    """how many this pool may have"""
    age: float
    """seconds since it may have so many"""
    heard: float | None
    """seconds since the server that keeps the shares has answered; `None` where it never has"""

    def __str__(self) -> str:
        heard = "never" if self.heard is None else f"{self.heard:.3f} s ago"
        return (
            f"for {self.age:.3f} s, {self.pool} of {self.connections} connections of the budget {self.budget!r}, "
            f"{self.process} in this process; last answer: {heard}"
        )


@dataclass(frozen=True, slots=True)
class PoolDump:
    """The leases and waiters of a pool at one moment, oldest first. `str()` of it is for people."""

    name: str
    leases: tuple[Lease, ...]
    waiters: tuple[Waiter, ...]
    decisions: tuple[Decision, ...] = ()
    """the latest, of a pool that sizes itself, or whose connections are shared"""
    calls: tuple[Call, ...] = ()
    """the oldest ones under way over shared connections, 100 at most"""
    more_calls: int = 0
    """how many there are beside these"""
    share: BudgetShare | None = None
    """of a pool with a budget"""
    classes: tuple[CallerClass, ...] = ()
    """of a pool with the option `reserved`: those that it names, and of the others the 64 that came last"""

    def __str__(self) -> str:
        lines = [f"{self.name}: {len(self.leases)} in use, {len(self.waiters)} waiting"]
        lines += [f"  share {self.share}"] if self.share else []
        for lease in self.leases:
            lines.append(
                f"  in use {lease.age:.3f} s by {lease.borrower}, last command {lease.last_command or 'unknown'}"
            )
            lines += [f"    {line}" for line in (lease.taken_at or "").splitlines()]
        lines += [f"  waiting {waiter.age:.3f} s: {waiter.borrower}" for waiter in self.waiters]
        for call in self.calls:
            state, borrower = "in flight" if call.sent else "queued", f" by {call.borrower}" if call.borrower else ""
            lines.append(f"  {state} {call.age:.3f} s: {call.command}{borrower}")
            lines += [f"    {line}" for line in (call.waits_at or "").splitlines()]
        lines += [f"  {self.more_calls} more calls"] if self.more_calls else []
        for each in self.classes:
            state = f"{each.callers} callers so far, {each.in_use} in use, {each.waiting} waiting"
            lines.append(f"  class {each.name!r}: {each.reserved} reserved, {state}")
        lines += [f"  {decision.age:.3f} s ago: {decision.what}" for decision in self.decisions]
        return "\n".join(lines)


class Seen(NamedTuple):
    """All that a pool says of itself."""

    stats: PoolStats
    distributions: Distributions
    dump: PoolDump


def counts(in_use: int, max_connections: int, connecting: int, waiting: int, oldest_lease: float) -> str:
    """Return the counts for a message: `10 of 10 in use, 37 waiting, oldest lease 12.4 s`."""
    parts = [f"{in_use} of {max_connections} in use"]
    parts += [f"{connecting} connecting"] if connecting else []
    parts += [f"{waiting} waiting"]
    parts += [f"oldest lease {oldest_lease:.1f} s"] if in_use else []
    return ", ".join(parts)


def summarize(
    counters: Counters,
    in_use: int,
    leased: float,
    now: float,
    *,
    name: str,
    max_connections: int,
    idle: int,
    connecting: int,
    waiting: int,
    oldest_wait: float,
    shed: int,
    retries_refused: int,
) -> PoolStats:
    """Return the stats of a pool with such counters; its `in_use` leases have lasted `leased` seconds together."""
    waited, released = counters.wait.count, counters.use.count
    acquired = released + in_use
    capacity = counters.capacity(max_connections, now)
    return PoolStats(
        name=name,
        max_connections=max_connections,
        open=idle + in_use,
        idle=idle,
        in_use=in_use,
        connecting=connecting,
        waiting=waiting,
        oldest_wait=oldest_wait,
        acquired=acquired,
        waited=waited,
        timeouts=counters.timeouts,
        rejected=counters.rejected,
        connected=counters.connect.count,
        connect_failures=counters.connect_failures,
        released=released,
        leaks=counters.leaks,
        shed=shed,
        retries_refused=retries_refused,
        closed={reason.value: count for reason, count in dict(counters.closed).items()},
        wait=counters.wait.summary(zeros=max(0, acquired - waited)),  # an interruption may lose leases
        use=counters.use.summary(),
        connect=counters.connect.summary(),
        utilization=(counters.use.total + leased) / capacity if capacity > 0 else 0.0,
    )


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else value
