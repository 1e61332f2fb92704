"""A slot is a place for one connection. Capacity is a list of them, so it cannot drift."""

from __future__ import annotations

import enum
import math
from typing import Any, Literal, final


class State(enum.Enum):
    """What a slot is doing."""

    EMPTY = "empty"
    CONNECTING = "connector"
    IDLE = "idle"
    LEASED = "leased"
    VALIDATING = "checking"
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
    (State.EMPTY, State.CONNECTING): "someone needs a connection",
    (State.CONNECTING, State.EMPTY): "the connect failed, or its need had passed",
    (State.CONNECTING, State.LEASED): "connected, and someone is waiting",
    (State.CONNECTING, State.IDLE): "connected, and no caller is waiting",
    (State.CONNECTING, State.CLOSING): "connected for a generation or a pool that has ended",
    (State.IDLE, State.LEASED): "checkout",
    (State.LEASED, State.IDLE): "release",
    (State.LEASED, State.LEASED): "release, handed straight to the longest-waiting caller",
    (State.LEASED, State.VALIDATING): "its subscriber has left: it is unsubscribed first",
    (State.LEASED, State.CLOSING): "came back broken, dirty, surplus or outlived, or failed its check at checkout",
    (State.IDLE, State.VALIDATING): "idle for ping_after_idle",
    (State.VALIDATING, State.IDLE): "answered",
    (State.VALIDATING, State.LEASED): "answered, and someone is waiting",
    (State.VALIDATING, State.CLOSING): "did not answer",
    (State.IDLE, State.CLOSING): "surplus, outlived, drained or the pool closes",
    (State.CLOSING, State.EMPTY): "closed",
}

Validation = Literal["peek", "ping"]
"""What a connection must pass before it is handed out: a look at its socket, or a round trip."""


@final
class Slot:
    """A place for one connection, and what is known of the connection in it.

    `connection`, `reference` and `borrower` belong to the shell: the core carries them and never touches the
    connection. The shell takes `connection` out for as long as a caller has it, so that one that its caller has dropped
    is collected; `reference` is a weak reference to it.
    """

    __slots__ = (
        "begun",
        "borrower",
        "connect_deadline",
        "connected_at",
        "connection",
        "cut",
        "expires_at",
        "generation",
        "leak_reported_for",
        "limited",
        "needs_validation",
        "reference",
        "since",
        "state",
        "taken",
        "validating",
        "verified_at",
    )

    def __init__(self) -> None:
        self.state = State.EMPTY
        self.clear()

    def clear(self) -> None:
        """Forget the connection: what is left is an unused place."""
        self.begun = False  # its connect or its check is under way, not only ordered
        self.connection: Any = None
        self.cut = False  # its connect has used up its time
        self.connect_deadline = math.inf
        self.needs_validation: Validation | None = None
        self.expires_at = math.inf
        self.generation = 0
        self.reference: Any = None
        self.borrower: Any = None  # the ticket, until its caller has accepted the grant
        self.leak_reported_for = -1.0  # the `since` of the lease that was reported
        self.limited: tuple[float, Any] | None = None  # the `since` of a lease, and the deadline of its call
        self.connected_at = 0.0
        self.since = 0.0
        self.taken: Any = None  # where it was taken, or the whole stack
        self.validating = False  # at a checkout, which reads from it
        self.verified_at = 0.0

    @property
    def current(self) -> Any:
        """The connection, also where only its caller keeps it; `None` once that one was collected."""
        if self.connection is None and self.reference is not None:
            return self.reference()
        return self.connection

    @property
    def caller(self) -> Any:
        """Whose lease it is: a thread or a task, as the shell noted it."""
        return getattr(self.borrower, "borrower", self.borrower)

    def __repr__(self) -> str:
        return f"<Slot {self.state.value} generation={self.generation}>"
