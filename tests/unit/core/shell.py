"""A shell made by hand, for a core that is interrupted half-way: it takes connections out, and knows its actions.

As a shell does, a caller that gets a connection takes it out of its slot, and one that gets a ticket gives it a waker.
"""

from __future__ import annotations

from typing import Any

from redpool.core.actions import AnyAction, Close, Connect, Validate, Wake
from redpool.core.slot import Slot
from redpool.core.waiters import Ticket

from .driver import Connection, Driver
from .invariants import check_step


class Shell(Driver):
    """A driver that takes connections out, and to whom an action may be given again."""

    def __init__(self, **options: Any) -> None:
        super().__init__(timeout=None, ping_after_idle=None, **options)
        self.again: list[AnyAction] = []
        """the actions that it knew already"""

    def collect(self, now: float) -> None:
        """As the driver does, those aside that were given before."""
        actions = self.core.take_actions()
        self.again += [action for action in actions if self._knows(action)]
        self.core.outbox = [action for action in actions if not self._knows(action)]
        super().collect(now)

    def _knows(self, action: AnyAction) -> bool:
        if isinstance(action, Connect):
            return action.slot in (*self.ordered, *self.begun)
        if isinstance(action, Validate):
            return action.slot in self.validations
        if isinstance(action, Close):
            return action.slot in [each.slot for each in self.closes]
        return isinstance(action, Wake) and action.ticket in self.woken

    def _file(self, action: AnyAction) -> None:
        if isinstance(action, Close):  # of a connection that was collected there is nothing to close
            self.closes.append(action)
        else:
            super()._file(action)

    def lease(self, now: float) -> tuple[Slot, Connection]:
        """A connection that a caller has taken, and so keeps."""
        slot = self.take(now)
        connection = slot.connection
        slot.connection, slot.borrower, slot.reference = None, "a caller", lambda: connection
        return slot, connection

    def wait(self, now: float) -> Ticket:
        """A caller that waits."""
        ticket = self.ask(now)
        ticket.waker = ticket.borrower = "a caller"
        return ticket

    def come_back(self, slot: Slot, connection: Connection, now: float) -> None:
        """Release what was taken."""
        slot.connection = connection
        self.release(slot, now)

    def forget_actions(self) -> None:
        """What was ordered is lost."""
        self.core.take_actions()

    def repair(self, now: float) -> None:
        """Put the core in order, and see that it is."""
        self.core.inconsistent = True
        self.core.repair(now)
        assert not self.core.inconsistent
        assert self.core.wake_at == now
        self.collect(now)
        check_step(self, now)
        assert len(self.core.slots) == self.core.max_connections

    def all_can_be_had(self, now: float) -> None:
        """Every place is good for a connection, once all that is under way has ended."""
        while self.ordered or self.begun or self.validations or self.closes:
            self.answer_connects(now)
            self.answer_validations(True, now)
            self.close_all(now)
        free = self.core.max_connections - self.core.in_use
        taken = self.take_many(free, now)
        assert len(set(taken)) == free
        check_step(self, now)


def shell(idle: int = 2, max_connections: int = 3) -> Shell:
    """A shell with so many idle connections."""
    made = Shell(max_connections=max_connections)
    made.open(idle, 0.0)
    made.woken.clear()
    return made
