"""The heap of deadlines: who has ended otherwise costs nothing, and doesn't pile up."""

from __future__ import annotations

import math

from redpool.core.deadlines import Deadlines
from redpool.core.ticket import Ticket, TicketState

from .driver import Driver


def test_the_oldest_deadline_comes_first() -> None:
    """Whatever the order of adding; those of one time in the order of adding."""
    deadlines = Deadlines()
    tickets = [Ticket(0.0, deadline) for deadline in (3.0, 1.0, 2.0, 1.0)]
    for ticket in tickets:
        deadlines.add(ticket, 4)
    assert deadlines.next_deadline() == 1.0
    assert list(deadlines.expire(2.0)) == [tickets[1], tickets[3], tickets[2]]
    assert deadlines.next_deadline() == 3.0


def test_nobody_is_due_where_nobody_waits() -> None:
    """Infinity, and those without a deadline are not watched."""
    deadlines = Deadlines()
    deadlines.add(Ticket(0.0), 1)
    assert len(deadlines) == 0
    assert deadlines.next_deadline() == math.inf


def test_who_ended_otherwise_is_passed_over() -> None:
    """He isn't due any more."""
    deadlines = Deadlines()
    gone, waiting = Ticket(0.0, 1.0), Ticket(0.0, 2.0)
    deadlines.add(gone, 1)
    deadlines.add(waiting, 2)
    gone.state = TicketState.GRANTED
    assert deadlines.next_deadline() == 2.0
    assert list(deadlines.expire(5.0)) == [waiting]


def test_the_heap_stays_small_when_everybody_is_served_in_time() -> None:
    """A hundred thousand tickets, two at a time: the heap doesn't remember them all."""
    driver = Driver(max_connections=1, timeout=5.0)
    core, slot, largest = driver.core, driver.take(0.0), 0
    for _ in range(20_000):
        core.acquire(0.0)
        core.acquire(0.0)
        core.release(slot, 0.0)
        core.release(slot, 0.0)
        largest = max(largest, len(core.queue._deadlines))
    assert largest < 100


def test_the_heap_stays_within_twice_those_who_wait() -> None:
    """A long queue through which many pass."""
    deadlines = Deadlines()
    waiting: list[Ticket] = []
    for number in range(5_000):
        ticket = Ticket(0.0, 1.0 + number)
        waiting.append(ticket)
        if len(waiting) > 200:
            waiting.pop(0).state = TicketState.GRANTED
        deadlines.add(ticket, len(waiting))
        assert len(deadlines) <= 2 * len(waiting) + 65
