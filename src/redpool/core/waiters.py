"""Those who wait for a connection, first come first served; leases that wait to connect anew; and those who wait for
the pool to be warm.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator

from .ticket import Ticket, TicketState


class Queue:
    """Tickets in the order in which they came. Anyone may leave from the middle, at the same cost.

    All callers of a pool wait equally long, so they are also in the order of their deadlines, and no heap is needed.
    """

    __slots__ = ("reconnects", "since", "tickets", "warming")

    def __init__(self) -> None:
        self.tickets: OrderedDict[Ticket, None] = OrderedDict()
        self.reconnects: OrderedDict[Ticket, None] = OrderedDict()
        self.warming: list[Ticket] = []
        self.since = 0.0
        """when the queue was last empty"""

    def __len__(self) -> int:
        return len(self.tickets)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self.tickets)

    def join(self, ticket: Ticket, now: float) -> None:
        """Take the last place."""
        if ticket.opens:
            self.warming.append(ticket)
            return
        if ticket.reconnects:
            self.reconnects[ticket] = None
            return
        if not self.tickets:
            self.since = now
        self.tickets[ticket] = None

    def first(self) -> Ticket:
        """The one who has waited longest."""
        return next(iter(self.tickets))

    def end(self, ticket: Ticket, state: TicketState, error: BaseException | None = None) -> None:
        """The ticket ends, wherever in the queue it stands; or it ends before it has joined."""
        self.tickets.pop(ticket, None)
        self.reconnects.pop(ticket, None)
        if ticket.opens and ticket in self.warming:
            self.warming.remove(ticket)
        ticket.state = state
        ticket.error = error

    def next_deadline(self) -> float:
        """When the next one's time is up; infinity where no caller's is."""
        deadlines = [ticket.deadline for ticket in (*self.warming, *self.reconnects)]
        deadlines += [next(iter(self.tickets)).deadline] if self.tickets else []
        return min(deadlines, default=math.inf)

    def expired(self, now: float) -> list[Ticket]:
        """Those whose time is up, oldest first."""
        due = [ticket for ticket in (*self.warming, *self.reconnects) if ticket.deadline <= now]
        for ticket in self.tickets:
            if ticket.deadline > now:
                break
            due.append(ticket)
        return due
