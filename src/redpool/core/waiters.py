"""Callers that wait: for a connection, for their turn to connect anew, for the pool to be warm."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from collections.abc import Container, Iterator
from typing import Any, TypeAlias, final

from .slot import Borrower, Granted, Slot, State

Waker: TypeAlias = Any
"""what wakes a caller: the shell's, and never looked into"""


class TicketState(enum.Enum):
    """What became of a ticket: it waits, and then ends exactly once."""

    WAITING = "waiting"
    GRANTED = "granted"
    TIMED_OUT = "timed out"
    GIVEN_UP = "given up"
    REJECTED = "rejected"


@final
class Ticket:
    """A waiter's: it waits for a connection; with `opens`, for so many to be open; with `reconnects`, for its turn.

    One that `reconnects` has a lease whose connection it is to open anew. `waker` and `borrower` belong to the shell:
    how to wake the caller, and which one it is. A ticket without a waker is one that no caller has learned of.
    """

    __slots__ = (
        "borrower",
        "connect_failures",
        "connect_retries",
        "deadline",
        "end",
        "error",
        "opens",
        "priority",
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
        self.priority = ""  # its caller's class
        self.end = math.inf  # when its caller must be done, the call itself included
        self.connect_failures = 0
        self.connect_retries = connect_retries
        self.opens = opens
        self.reconnects = reconnects
        self.slot: Slot | None = None
        self.error: BaseException | None = None
        self.waker: Waker = None
        self.borrower: Borrower = None

    def __repr__(self) -> str:
        return f"<Ticket {self.state.value} since={self.since:.6f}>"


class WaitQueue:
    """Tickets in the order in which they came. A waiter may leave from the middle, at the same cost.

    All callers of a pool wait equally long, so they are also in the order of their deadlines, and no heap is needed.
    """

    __slots__ = ("reconnects", "since", "tickets", "warming")

    def __init__(self) -> None:
        self.tickets: OrderedDict[Ticket, None] = OrderedDict()
        """of callers that wait for a connection"""
        self.reconnects: OrderedDict[Ticket, None] = OrderedDict()
        """of leases that wait for their turn to connect anew"""
        self.warming: list[Ticket] = []
        """of callers that wait for connections to be open"""
        self.since = 0.0
        """when no caller waited for a connection, last"""

    def __len__(self) -> int:
        return len(self.tickets)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self.tickets)

    def join(self, ticket: Ticket, now: float) -> None:
        """Take the last position."""
        if ticket.opens:
            self.warming.append(ticket)
            return
        if ticket.reconnects:
            self.reconnects[ticket] = None
            return
        if not self.tickets:
            self.since = now
        self.tickets[ticket] = None

    def leave(self, ticket: Ticket, state: TicketState, error: BaseException | None = None) -> None:
        """End a ticket, whatever its position; or before it has joined."""
        self.tickets.pop(ticket, None)
        self.reconnects.pop(ticket, None)
        if ticket.opens and ticket in self.warming:
            self.warming.remove(ticket)
        ticket.state = state
        ticket.error = error

    def first(self) -> Ticket:
        """Return the ticket of the caller that has waited longest for a connection."""
        return next(iter(self.tickets))

    def warmed(self, open_connections: int) -> list[Ticket]:
        """Return the tickets for which so many open connections are enough."""
        return [ticket for ticket in self.warming if open_connections >= ticket.opens]

    def oldest_wait(self, now: float) -> float:
        """Return for how long the first caller has waited for a connection; 0 where none waits."""
        return now - self.first().since if self.tickets else 0.0

    def next_deadline(self) -> float:
        """Return when a ticket's time is up; infinity where none's is."""
        first = next(iter(self.tickets)).deadline if self.tickets else math.inf
        if not self.warming and not self.reconnects:
            return first
        return min(first, *(ticket.deadline for ticket in (*self.warming, *self.reconnects)))

    def expired(self, now: float) -> list[Ticket]:
        """Return the tickets whose time is up, the oldest first."""
        due = []
        if self.warming or self.reconnects:
            due = [ticket for ticket in (*self.warming, *self.reconnects) if ticket.deadline <= now]
        for ticket in self.tickets:
            if ticket.deadline > now:
                break
            due.append(ticket)
        return due

    def rebuild(self, connecting: Container[Ticket], now: float) -> list[Ticket]:
        """Complete what an interruption has left half-done; return the tickets that are still to be woken.

        A slot that a ticket names is its own. A caller that never learned of its ticket has left. `connecting` are the
        leases that connect anew: their turn has come.
        """
        for ticket in list(self.tickets):
            if ticket.slot is not None:
                _complete_grant(ticket, ticket.slot, now)
            elif ticket.waker is None:
                ticket.state = TicketState.GIVEN_UP
            if ticket.state is not TicketState.WAITING:
                del self.tickets[ticket]
        self.warming[:] = [ticket for ticket in self.warming if ticket.state is TicketState.WAITING]
        for ticket in list(self.reconnects):
            if ticket.waker is None or ticket.state is not TicketState.WAITING:
                del self.reconnects[ticket]
        turns = [ticket for ticket in self.reconnects if ticket in connecting]
        for ticket in turns:
            self.leave(ticket, TicketState.GRANTED)
        return turns


def _complete_grant(ticket: Ticket, slot: Slot, now: float) -> None:
    ticket.state = TicketState.GRANTED
    slot.lease += 1  # a lease of its own, should a caller still mean the one before
    slot.state, slot.borrower = State.LEASED, ticket
    since = Granted(now)
    since.came = ticket.since
    slot.since = since
