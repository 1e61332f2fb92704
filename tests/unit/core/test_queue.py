"""The queue: how many may wait, and for how long."""

from __future__ import annotations

import math
from typing import Any

import pytest

from redpool.core.waiters import TicketState
from redpool.errors import PoolFull, PoolTimeout

from .driver import Driver


def test_one_more_than_max_waiting_is_turned_away_at_once() -> None:
    """The message says that the queue is full, and of what."""
    driver = Driver(max_connections=1, max_waiting=2, name="cache")
    driver.take(0.0)
    waiting = [driver.ask(0.1), driver.ask(0.2)]
    rejected = driver.ask(0.3)
    assert rejected.state is TicketState.REJECTED
    assert isinstance(rejected.error, PoolFull)
    assert str(rejected.error) == "cache: the queue is full: 1 of 1 in use, 2 waiting, oldest lease 0.3 s"
    assert all(ticket.state is TicketState.WAITING for ticket in waiting)
    assert driver.stats(0.3).rejected == 1


def test_the_queue_has_room_again_when_a_caller_left_it() -> None:
    """Served, timed out or given up: each frees a position."""
    driver = Driver(max_connections=1, max_waiting=1)
    driver.take(0.0)
    driver.give_up(driver.ask(0.1), 0.2)
    assert driver.ask(0.3).state is TicketState.WAITING


def test_max_waiting_zero_still_lets_callers_wait_for_their_own_connect() -> None:
    """No caller queues for a connection in use; one that can have one connected isn't in that queue."""
    driver = Driver(max_connections=2, max_waiting=0)
    connector = [driver.ask(0.0), driver.ask(0.0)]
    assert [ticket.state for ticket in connector] == [TicketState.WAITING] * 2
    assert driver.ask(0.0).state is TicketState.REJECTED
    driver.answer_connects(0.1)
    assert [ticket.state for ticket in connector] == [TicketState.GRANTED] * 2
    assert isinstance(driver.ask(0.2).error, PoolFull)


def test_timeout_zero_never_waits_for_a_connection_in_use() -> None:
    """It times out at once."""
    driver = Driver(max_connections=1, timeout=0)
    driver.take(0.0)
    ticket = driver.ask(0.1)
    assert ticket.state is TicketState.TIMED_OUT
    assert isinstance(ticket.error, PoolTimeout)
    assert driver.stats(0.1).timeouts == 1
    assert ticket not in driver.woken


def test_timeout_zero_waits_for_the_connect_made_for_it_and_for_no_longer_than_a_connect_may_take() -> None:
    """A pool that isn't full opens a connection whatever the timeout."""
    driver = Driver(max_connections=2, timeout=0, connect_budget=3.0)
    served, late = driver.ask(0.0), driver.ask(0.0)
    driver.answer_connects(0.5, 1)
    assert served.state is TicketState.GRANTED
    assert late.deadline == 3.0
    driver.tick(3.0)
    assert late.state is TicketState.TIMED_OUT


@pytest.mark.parametrize("option", [{"timeout": 0}, {"max_waiting": 0}])
def test_no_caller_is_turned_away_because_a_connection_is_being_checked(option: dict[str, Any]) -> None:
    """With nothing in use, a caller that never queues gets the connection as soon as its check is over."""
    driver = Driver(max_connections=1, ping_after_idle=30.0, **option)
    driver.open(1, 0.0)
    driver.tick(30.0)
    assert len(driver.validations) == 1
    ticket = driver.ask(30.1)
    assert driver.waiting == [ticket], ticket.error
    driver.answer_validations(True, 30.2)
    assert ticket.state is TicketState.GRANTED


def test_timeout_none_waits_for_ever() -> None:
    """No tick ends it."""
    driver = Driver(max_connections=1, timeout=None)
    driver.take(0.0)
    ticket = driver.ask(0.0)
    driver.tick(1e9)
    assert ticket.deadline == math.inf
    assert ticket.state is TicketState.WAITING


def test_a_tick_is_due_at_the_deadline_and_ends_the_wait() -> None:
    """Not a moment before, and no later."""
    driver = Driver(max_connections=1, timeout=2.0)
    driver.take(0.0)
    ticket = driver.ask(1.0)
    driver.run_until(2.999)
    assert driver.waiting == [ticket]
    assert driver.core.wake_at == 3.0
    driver.tick(3.0)
    assert ticket.state is TicketState.TIMED_OUT
    assert driver.woken[-1] is ticket


def test_only_those_whose_time_is_up_leave() -> None:
    """Each waits for its own timeout."""
    driver = Driver(max_connections=1, timeout=2.0)
    driver.take(0.0)
    tickets = [driver.ask(at) for at in (0.0, 0.5, 1.0)]
    driver.tick(2.5)
    assert [ticket.state.value for ticket in tickets] == ["timed out", "timed out", "waiting"]


def test_a_ticket_leaves_from_the_middle() -> None:
    """The order of the others stays."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    first, middle, last = (driver.ask(0.1) for _ in range(3))
    driver.give_up(middle, 0.2)
    assert list(driver.core.waiting()) == [first, last]
    driver.release(slot, 0.3)
    driver.release(slot, 0.4)
    assert driver.woken[-2:] == [first, last]


def test_ten_thousand_wait_and_leave_in_any_order() -> None:
    """Every second one gives up, from the back; the rest are served in order."""
    driver = Driver(max_connections=1, timeout=None)
    slot = driver.take(0.0)
    core = driver.core
    tickets = [core.acquire(0.0) for _ in range(10_000)]
    for ticket in tickets[::-2]:
        core.give_up(ticket, 0.1)  # type: ignore[arg-type]
    for _ in range(5_000):
        core.release(slot, 0.2)
    woken = [order.ticket for order in core.take_actions()]  # type: ignore[union-attr]
    assert woken == tickets[::2]
    assert len(core.queue) == 0
