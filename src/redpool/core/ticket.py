"""A ticket is a caller's place in the queue."""

from __future__ import annotations

import enum
import math
from typing import Any, final

from .slot import Slot


class TicketState(enum.Enum):
    """A ticket waits, and then ends exactly once."""

    WAITING = "waiting"
    GRANTED = "granted"
    TIMED_OUT = "timed out"
    GIVEN_UP = "given up"
    REJECTED = "rejected"


@final
class Ticket:
    """Someone who waits for a connection; with `opens` above 0, for so many to be open; with `reconnects`, a lease that
    waits for its turn to connect anew.

    `waker` and `borrower` belong to the shell: how to wake the caller, and who it is.
    """

    __slots__ = (
        "borrower",
        "connect_failures",
        "connect_retries",
        "deadline",
        "error",
        "opens",
        "reconnects",
        "since",
        "slot",
        "state",
        "waker",
    )

    def __init__(
        self,
        now: float,
        deadline: float = math.inf,
        connect_retries: float = 0,
        opens: int = 0,
        reconnects: bool = False,
    ) -> None:
        self.state = TicketState.WAITING
        self.since = now
        self.deadline = deadline
        self.connect_failures = 0
        self.connect_retries = connect_retries
        self.opens = opens
        self.reconnects = reconnects
        self.slot: Slot | None = None
        self.error: BaseException | None = None
        self.waker: Any = None
        self.borrower: Any = None

    def __repr__(self) -> str:
        return f"<Ticket {self.state.value} since={self.since:.6f}>"
