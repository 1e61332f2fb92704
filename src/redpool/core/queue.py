"""Those who wait for a connection, first come first served, and those who wait for the pool to be warm."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from .deadlines import Deadlines
from .ticket import Ticket, TicketState


class Queue:
    """Tickets in the order in which they came. Anyone may leave from the middle, at the same cost."""

    __slots__ = ("_deadlines", "since", "tickets", "warming")

    def __init__(self) -> None:
        self.tickets: OrderedDict[Ticket, None] = OrderedDict()
        self._deadlines = Deadlines()
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
        else:
            if not self.tickets:
                self.since = now
            self.tickets[ticket] = None
        self._deadlines.add(ticket, len(self.tickets) + len(self.warming))

    def first(self) -> Ticket:
        """Take out the one who has waited longest."""
        return self.tickets.popitem(last=False)[0]

    def end(self, ticket: Ticket, state: TicketState, error: BaseException | None = None) -> None:
        """The ticket ends, wherever in the queue it stands; or it ends before it has joined."""
        self.tickets.pop(ticket, None)
        if ticket.opens and ticket in self.warming:
            self.warming.remove(ticket)
        ticket.state = state
        ticket.error = error

    def next_deadline(self) -> float:
        """When the next one's patience ends; infinity where nobody's does."""
        return self._deadlines.next_deadline()

    def expire(self, now: float) -> Iterator[Ticket]:
        """Those whose time has come."""
        return self._deadlines.expire(now)
