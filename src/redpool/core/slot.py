"""A slot is a place for one connection. Capacity is a list of them, so it cannot drift."""

from __future__ import annotations

import enum
import math
from typing import Any, Literal, final


class State(enum.Enum):
    """What a slot is doing."""

    EMPTY = "empty"
    DIALLING = "dialling"
    IDLE = "idle"
    LEASED = "leased"
    CHECKING = "checking"
    CLOSING = "closing"


class Reason(enum.StrEnum):
    """Why a connection was closed. Every close has one: in the stats, in the hooks and in the logs."""

    IDLE = "idle"
    LIFETIME = "lifetime"
    CHECK_FAILED = "check failed"
    ERROR = "error"
    ABANDONED = "abandoned"
    GENERATION = "generation"
    SURPLUS = "surplus"
    POOL_CLOSED = "pool closed"
    FORK = "fork"


# The state diagram of the docs is drawn from this table, and a test holds every run against it.
TRANSITIONS: dict[tuple[State, State], str] = {
    (State.EMPTY, State.DIALLING): "someone needs a connection",
    (State.DIALLING, State.EMPTY): "the dial failed, or its need had passed",
    (State.DIALLING, State.LEASED): "dialled, and someone is waiting",
    (State.DIALLING, State.IDLE): "dialled, and nobody is waiting",
    (State.DIALLING, State.CLOSING): "dialled for a generation or a pool that has ended",
    (State.IDLE, State.LEASED): "checkout",
    (State.LEASED, State.IDLE): "release",
    (State.LEASED, State.LEASED): "release, handed straight to the longest-waiting caller",
    (State.LEASED, State.CHECKING): "its subscriber has left: it is unsubscribed first",
    (State.LEASED, State.CLOSING): "came back broken, dirty, surplus or outlived, or failed its check at checkout",
    (State.IDLE, State.CHECKING): "rested for ping_after_idle",
    (State.CHECKING, State.IDLE): "answered",
    (State.CHECKING, State.LEASED): "answered, and someone is waiting",
    (State.CHECKING, State.CLOSING): "did not answer",
    (State.IDLE, State.CLOSING): "surplus, outlived, drained or the pool closes",
    (State.CLOSING, State.EMPTY): "closed",
}

Doubt = Literal["peek", "ping"]
"""What a connection must pass before it is handed out: a look at its socket, or a round trip."""


@final
class Slot:
    """A place for one connection, and what is known of the connection in it.

    `connection`, `hold` and `holder` belong to the shell: the core carries them and never touches the connection. The
    shell takes `connection` out for as long as a caller has it, so that one that its caller has dropped is collected;
    `hold` is a weak reference to it.
    """

    __slots__ = (
        "begun",
        "connection",
        "cut",
        "dial_deadline",
        "doubt",
        "expires_at",
        "generation",
        "hold",
        "holder",
        "leak_reported_for",
        "limited",
        "opened_at",
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
        self.begun = False  # its dial or its check is under way, not only ordered
        self.connection: Any = None
        self.cut = False  # its dial has used up its time
        self.dial_deadline = math.inf
        self.doubt: Doubt | None = None
        self.expires_at = math.inf
        self.generation = 0
        self.hold: Any = None
        self.holder: Any = None  # the ticket, until its caller has accepted the grant
        self.leak_reported_for = -1.0  # the `since` of the lease that was reported
        self.limited: tuple[float, Any] | None = None  # the `since` of a lease, and the deadline of its call
        self.opened_at = 0.0
        self.since = 0.0
        self.taken: Any = None  # where it was taken, or the whole stack
        self.validating = False  # at a checkout, which reads from it
        self.verified_at = 0.0

    @property
    def occupant(self) -> Any:
        """The connection, also where only its caller keeps it; `None` once that one was collected."""
        if self.connection is None and self.hold is not None:
            return self.hold()
        return self.connection

    @property
    def lessee(self) -> Any:
        """Whose lease it is: a thread or a task, as the shell noted it."""
        return getattr(self.holder, "holder", self.holder)

    def __repr__(self) -> str:
        return f"<Slot {self.state.value} generation={self.generation}>"
