"""A slot is room for one connection. Capacity is a list of slots, so it cannot drift.

A slot's `state` is the truth: `repair` rebuilds everything else in the core from it.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias, final

# What the core carries for the shell, and never looks into.
Connection: TypeAlias = Any
Borrower: TypeAlias = Any
"""a thread, a task, or whatever the shell notes as the one that has a connection"""
Callsite: TypeAlias = Any
"""where a connection was taken: the place, or the whole stack"""

ValidationKind = Literal["peek", "ping"]
"""What a connection must pass before a caller gets it: a look at its socket, or a round trip."""


class Limit(Protocol):
    """The deadline of a call."""

    @property
    def at(self) -> float:
        """When it comes."""

    @property
    def over(self) -> bool:
        """Whether the call that it bounds has ended."""


class State(enum.Enum):
    """What a slot's connection is at."""

    EMPTY = "empty"
    CONNECTING = "connecting"
    IDLE = "idle"
    LEASED = "leased"
    VALIDATING = "validating"
    CLOSING = "closing"


class Reason(enum.StrEnum):
    """Why a connection was closed. Every close has one: in the stats, in the hooks and in the logs."""

    IDLE = "idle"
    LIFETIME = "lifetime"
    INVALID = "invalid"
    ERROR = "error"
    LEAKED = "leaked"
    DRAINED = "drained"
    SURPLUS = "surplus"
    POOL_CLOSED = "pool closed"
    FORK = "fork"


# The state diagram of the docs is drawn from this table, and a test holds every run against it.
TRANSITIONS: dict[tuple[State, State], str] = {
    (State.EMPTY, State.CONNECTING): "a connection is needed",
    (State.CONNECTING, State.EMPTY): "the connect failed, or is needed no more",
    (State.CONNECTING, State.LEASED): "connected, and a caller waits",
    (State.CONNECTING, State.IDLE): "connected, and no caller waits",
    (State.CONNECTING, State.CLOSING): "connected for a generation or a pool that has ended",
    (State.IDLE, State.LEASED): "checkout",
    (State.LEASED, State.IDLE): "release",
    (State.LEASED, State.LEASED): "release, handed over to the first waiter",
    (State.LEASED, State.VALIDATING): "release by a subscriber: it is unsubscribed first",
    (State.LEASED, State.CLOSING): "came back broken, dirty, surplus or expired, or was no good at checkout",
    (State.IDLE, State.VALIDATING): "idle for ping_after_idle",
    (State.VALIDATING, State.IDLE): "answered",
    (State.VALIDATING, State.LEASED): "answered, and a caller waits",
    (State.VALIDATING, State.CLOSING): "did not answer",
    (State.IDLE, State.CLOSING): "surplus, expired, drained or the pool closes",
    (State.CLOSING, State.EMPTY): "closed",
}


@final
class Granted(float):
    """When a caller got a connection that it had waited for. The time when it came is part of it: the two can't drift.

    A checkout that found an idle connection, which pays for nothing but itself, has a plain number.
    """

    __slots__ = ("came",)
    came: float


@final
class Slot:
    """Room for one connection, and what is known of the connection in it.

    `connection`, `reference`, `borrower` and `taken` belong to the shell. It takes `connection` out for as long as a
    caller has it, so that one that its caller has dropped is collected; `reference` is a weak reference to it.
    """

    __slots__ = (
        "attempt",
        "begun",
        "borrower",
        "connect_deadline",
        "connected_at",
        "connection",
        "cut",
        "cut_call_at",
        "expires_at",
        "generation",
        "leak_reported_for",
        "lease",
        "limited",
        "needs_validation",
        "priority",
        "reference",
        "since",
        "state",
        "taken",
        "validating",
        "verified_at",
    )

    def __init__(self) -> None:
        self.state = State.EMPTY
        # These two only count up, so that what is said of a lease or a connect that has ended is never taken for a
        # word on the one that came after it.
        self.lease = 0
        """the number of the lease under way, or of the last one"""
        self.attempt = 0
        """the number of the connect under way, or of the last one"""
        self.clear()

    def clear(self) -> None:
        """Forget the connection: what is left is an empty slot."""
        self.begun = False  # its connect or its validation is under way, not only ordered
        self.connection: Connection = None
        self.cut = False  # its connect has used up its time
        self.connect_deadline = math.inf
        self.needs_validation: ValidationKind | None = None
        self.expires_at = math.inf
        self.generation = 0
        self.reference: Callable[[], Connection] | None = None
        self.borrower: Borrower = None  # the ticket, until its caller has accepted the grant
        self.leak_reported_for = 0  # the lease that was reported as a leak, or that is none however long it lasts
        self.limited: tuple[int, Limit] | None = None  # a lease, and the deadline of the call in it
        self.cut_call_at = math.inf  # that call was seen to go on beyond it
        self.connected_at = 0.0
        self.since = 0.0  # when the lease, the connect or the validation has begun; `Granted` after a wait
        self.taken: Callsite = None
        self.priority = ""  # the class of its borrower, in a pool that tells classes apart
        self.validating = False  # at a checkout, which reads from it
        self.verified_at = 0.0

    @property
    def current(self) -> Connection:
        """The connection, also where only its borrower keeps it; `None` once that one was collected."""
        if self.connection is None and self.reference is not None:
            return self.reference()
        return self.connection

    @property
    def caller(self) -> Borrower:
        """Whose lease it is: a thread or a task, as the shell has noted it."""
        return getattr(self.borrower, "borrower", self.borrower)

    @property
    def asked_at(self) -> float:
        """When its borrower came for the connection."""
        return self.since.came if isinstance(self.since, Granted) else self.since

    @property
    def may_leak(self) -> bool:
        """Whether it is on lease, by a lease that was not reported as a leak so far."""
        return self.state is State.LEASED and self.leak_reported_for != self.lease

    @property
    def limit(self) -> Limit | None:
        """The deadline of the call under way over the connection, if it has one."""
        if self.limited is None or self.state is not State.LEASED or self.limited[0] != self.lease:
            return None
        return None if self.limited[1].over else self.limited[1]

    def bound(self, limit: Limit) -> None:
        """Have the call under way over the connection end by this deadline."""
        self.cut_call_at = math.inf
        self.limited = (self.lease, limit)

    def keep(self) -> None:
        """Have the pool itself hold the lease, for as long as it likes: it is no leak."""
        self.leak_reported_for = self.lease

    def __repr__(self) -> str:
        return f"<Slot {self.state.value} generation={self.generation}>"
