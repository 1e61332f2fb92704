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

    `connection` belongs to the shell: the core carries it and never touches it.
    """

    __slots__ = (
        "begun",
        "connection",
        "cut",
        "dial_deadline",
        "doubt",
        "expires_at",
        "generation",
        "holder",
        "leak_reported_for",
        "opened_at",
        "since",
        "stack",
        "state",
        "verified_at",
    )

    def __init__(self) -> None:
        self.state = State.EMPTY
        self.clear()

    def clear(self) -> None:
        """Forget the connection: what is left is an unused place."""
        self.begun = False  # its dial is under way, not only ordered
        self.connection: Any = None
        self.cut = False  # its dial has used up its time
        self.dial_deadline = math.inf
        self.doubt: Doubt | None = None
        self.expires_at = math.inf
        self.generation = 0
        self.holder: Any = None
        self.leak_reported_for = -1.0  # the `since` of the lease that was reported
        self.opened_at = 0.0
        self.since = 0.0
        self.stack: Any = None
        self.verified_at = 0.0

    def __repr__(self) -> str:
        return f"<Slot {self.state.value} generation={self.generation}>"
