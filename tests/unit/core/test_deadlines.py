"""Deadlines: a waiter whose time is up leaves the queue, and one that left otherwise is not remembered."""

from __future__ import annotations

import gc
import math

from redpool.core.waiters import Ticket, TicketState, WaitQueue

from .driver import Driver


def queue_of(*deadlines: float) -> tuple[WaitQueue, list[Ticket]]:
    """Callers that came one after the other."""
    queue, tickets = WaitQueue(), [Ticket(0.0, deadline) for deadline in deadlines]
    for ticket in tickets:
        queue.join(ticket, 0.0)
    return queue, tickets


def test_the_next_deadline_is_that_of_the_longest_waiting() -> None:
    """All wait equally long, so who came first ends first."""
    queue, tickets = queue_of(1.0, 2.0, 3.0)
    assert queue.next_deadline() == 1.0
    queue.leave(tickets[0], TicketState.GIVEN_UP)
    assert queue.next_deadline() == 2.0


def test_whose_time_is_up_is_raised_in_order() -> None:
    """At the very moment, and not before."""
    queue, tickets = queue_of(1.0, 2.0, 2.0, 3.0)
    assert list(queue.expired(0.999)) == []
    assert list(queue.expired(2.0)) == tickets[:3]


def test_no_caller_is_due_where_no_caller_waits_or_all_wait_for_ever() -> None:
    """Infinity."""
    assert WaitQueue().next_deadline() == math.inf
    queue, _ = queue_of(math.inf, math.inf)
    assert queue.next_deadline() == math.inf
    assert list(queue.expired(1e9)) == []


def test_those_who_warm_the_pool_have_deadlines_of_their_own() -> None:
    """In any order, and apart from the callers'."""
    queue, _ = queue_of(5.0)
    late, soon = Ticket(0.0, 9.0, opens=2), Ticket(0.0, 1.0, opens=2)
    queue.join(late, 0.0)
    queue.join(soon, 0.0)
    assert queue.next_deadline() == 1.0
    assert list(queue.expired(1.0)) == [soon]
    queue.leave(soon, TicketState.TIMED_OUT)
    assert queue.next_deadline() == 5.0


def test_who_was_served_is_not_remembered() -> None:
    """A pool whose callers are all served in time keeps nothing of them until their deadline."""
    driver = Driver(max_connections=1, timeout=987_654.0)
    slot, core = driver.take(0.0), driver.core
    for _ in range(1_000):
        core.acquire(0.0)
        core.release(slot, 0.0)
    core.take_actions()
    gc.collect()
    kept = [each for each in gc.get_objects() if type(each) is Ticket and each.deadline == 987_654.0]
    assert len(kept) <= 2
