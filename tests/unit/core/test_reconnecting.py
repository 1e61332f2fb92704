"""Leases whose connection is opened anew: how many at a time, in which order, and what a failure means to others."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from redpool.core.connector import Failure
from redpool.core.waiters import Ticket, TicketState
from redpool.errors import PoolClosed, PoolTimeout

from .driver import Driver
from .invariants import check_step

DOWN = ConnectionError("connection refused")
GRANTED, WAITING, REJECTED = TicketState.GRANTED, TicketState.WAITING, TicketState.REJECTED


def ask(driver: Driver, now: float, deadline: float = math.inf) -> Ticket:
    """A lease asks to connect, and its caller knows of the ticket."""
    ticket = driver.core.ask_to_connect(now, deadline)
    ticket.waker = ticket.borrower = "a caller"
    driver.collect(now)
    return ticket


def end(driver: Driver, now: float, how: Callable[..., None], *args: object) -> None:
    """A connect ends, one way or another."""
    how(*args, now)
    driver.collect(now)
    check_step(driver, now)


def fail(driver: Driver, ticket: Ticket, now: float, error: BaseException = DOWN) -> None:
    """It has failed."""
    end(driver, now, driver.core.lease_connect_failed, ticket, error)


def leases(count: int, **options: object) -> Driver:
    """A pool with so many connections, all in use."""
    driver = Driver(max_connections=count, timeout=None, ping_after_idle=None, **options)  # type: ignore[arg-type]
    driver.take_many(count, 0.0)
    driver.woken.clear()
    return driver


def states(tickets: list[Ticket]) -> list[TicketState]:
    """How they stand."""
    return [ticket.state for ticket in tickets]


def test_no_more_than_max_connecting_connect_at_once() -> None:
    """The others wait for their turn, first come, first served."""
    driver = leases(5, max_connecting=2)
    tickets = [ask(driver, 1.0) for _ in range(5)]
    assert states(tickets) == [GRANTED] * 2 + [WAITING] * 3
    end(driver, 1.1, driver.core.lease_connected, tickets[1])
    assert states(tickets) == [GRANTED] * 3 + [WAITING] * 2
    assert driver.woken == tickets[:3]
    end(driver, 1.2, driver.core.give_up_connect, tickets[0])
    end(driver, 1.2, driver.core.lease_connected, tickets[2])
    assert states(tickets) == [GRANTED] * 5
    assert driver.core.connector.under_way == 2


def test_they_and_the_slots_share_the_limit() -> None:
    """A connect is ordered only when a lease is through, and the other way round."""
    driver = Driver(max_connections=4, max_connecting=2, timeout=None)
    driver.take(0.0)
    first, second = ask(driver, 1.0), ask(driver, 1.0)
    driver.ask(1.0)
    driver.run_until(2.0)
    assert (states([first, second]), driver.ordered) == ([GRANTED] * 2, [])
    end(driver, 2.0, driver.core.lease_connected, first)
    driver.run_until(3.0)
    assert len(driver.ordered) == 1
    third = ask(driver, 3.0)
    assert third.state is WAITING
    driver.answer_connects(3.1)
    assert third.state is GRANTED


def test_who_waited_behind_a_failure_gets_that_failure() -> None:
    """Each one a copy of its own, whose cause it is."""
    driver = leases(4, max_connecting=1)
    tickets = [ask(driver, 1.0) for _ in range(3)]
    fail(driver, tickets[0], 1.1)
    assert states(tickets[1:]) == [REJECTED] * 2
    errors = [ticket.error for ticket in tickets[1:]]
    assert [(type(error), str(error)) for error in errors] == [(ConnectionError, "connection refused")] * 2
    assert [error and error.__cause__ for error in errors] == [DOWN] * 2
    assert errors[0] is not errors[1]


def test_who_waited_behind_a_failed_connect_gets_that_failure_too() -> None:
    """It is the same server."""
    driver = Driver(max_connections=4, max_connecting=1, timeout=None)
    driver.take(0.0)
    driver.ask(1.0)
    driver.run_until(1.5)
    driver.begin_connects(1.5)
    ticket = ask(driver, 1.5)
    assert ticket.state is WAITING
    driver.fail_connects(DOWN, 1.6)
    assert (ticket.state, str(ticket.error)) == (REJECTED, "connection refused")


def test_who_comes_in_the_pause_after_a_failure_is_raised_at_once() -> None:
    """Nothing connects before it is over; then one at a time, until one succeeds."""
    driver = leases(6, max_connecting=4)
    fail(driver, ask(driver, 1.0), 1.0)
    pause = driver.core.connector.pause_until
    raised = ask(driver, pause - 0.001)
    assert (raised.state, str(raised.error)) == (REJECTED, "connection refused")
    tickets = [ask(driver, pause) for _ in range(6)]
    assert states(tickets) == [GRANTED] + [WAITING] * 5
    end(driver, pause + 0.1, driver.core.lease_connected, tickets[0])
    assert states(tickets) == [GRANTED] * 5 + [WAITING]


def test_failures_of_leases_alone_open_the_breaker() -> None:
    """With every connection in use there is no slot to probe with, so the next lease after the pause is the probe."""
    driver = leases(3, break_after=3, max_connecting=1)
    now = 1.0
    for _ in range(3):
        fail(driver, ask(driver, now), now)
        now = driver.core.connector.pause_until
    assert driver.core.connector.broken
    raised = ask(driver, now - 0.001)
    assert raised.state is REJECTED
    assert "not connecting" in str(raised.error)
    probe, behind = ask(driver, now), ask(driver, now)
    assert states([probe, behind]) == [GRANTED, REJECTED]
    assert "not connecting" in str(behind.error)
    end(driver, now + 0.1, driver.core.lease_connected, probe)
    assert driver.core.connector.failures == 0
    assert ask(driver, now + 0.1).state is GRANTED


def test_when_the_breaker_opens_those_in_the_queue_are_raised() -> None:
    """Where there is a slot for a probe, which no caller has asked for."""
    driver = Driver(max_connections=2, break_after=1, timeout=None, max_connecting=1)
    driver.take(0.0)
    ticket = ask(driver, 1.0)
    waiting = driver.ask(1.0)
    fail(driver, ticket, 1.1)
    assert (waiting.state, str(waiting.error)) == (REJECTED, "connection refused")
    assert ask(driver, 5.0).state is REJECTED
    driver.run_until(5.0)
    assert len(driver.ordered) == 1


def test_a_full_server_is_no_failure_for_the_breaker() -> None:
    """But it is asked for no other connection for a while."""
    driver = leases(2, break_after=1)
    ticket = ask(driver, 1.0)
    driver.core.lease_connect_failed(ticket, DOWN, 1.0, failure=Failure.FULL)
    assert not driver.core.connector.broken
    assert ask(driver, 1.5).state is REJECTED


@pytest.mark.parametrize("again", ["lease_connected", "give_up_connect"])
def test_each_connect_is_answered_once(again: str) -> None:
    """A second answer changes nothing."""
    driver = leases(2, max_connecting=1)
    ticket = ask(driver, 1.0)
    fail(driver, ticket, 1.0)
    getattr(driver.core, again)(ticket, 1.0)
    assert (driver.core.connector.failures, driver.core.connector.under_way) == (1, 0)
    fail(driver, ticket, 1.0)
    assert driver.core.connector.failures == 1


def test_an_interrupted_connect_says_nothing_of_the_server() -> None:
    """The next one has its turn."""
    driver = leases(2, max_connecting=1, break_after=1)
    first, second = ask(driver, 1.0), ask(driver, 1.0)
    end(driver, 1.1, driver.core.give_up_connect, first)
    assert (second.state, driver.core.connector.failures, driver.core.connector.last_error) == (GRANTED, 0, None)


@pytest.mark.parametrize(("budget", "deadline", "ends"), [(2.0, math.inf, 3.0), (2.0, 1.5, 1.5), (math.inf, 4.0, 4.0)])
def test_a_turn_is_waited_for_no_longer_than_a_connect_may_take(budget: float, deadline: float, ends: float) -> None:
    """Nor beyond the caller's deadline."""
    driver = leases(2, max_connecting=1, connect_budget=budget)
    ask(driver, 1.0)
    ticket = ask(driver, 1.0, deadline)
    assert driver.core.wake_at <= ends
    driver.run_until(ends - 0.001)
    assert ticket.state is WAITING
    driver.run_until(ends)
    if ends == 1.0 + budget:  # the one before it has used up its time, too
        assert ticket.state in (GRANTED, TicketState.TIMED_OUT)
    else:
        assert isinstance(ticket.error, PoolTimeout)
    assert driver.stats(ends).timeouts == 0


def test_a_permission_whose_end_is_never_raised_comes_back() -> None:
    """Its caller may have been interrupted: it counts for as long as a connect may take."""
    driver = leases(2, max_connecting=1, connect_budget=2.0)
    ask(driver, 1.0)
    driver.run_until(2.9)
    later = ask(driver, 2.9)
    assert later.state is WAITING
    driver.run_until(3.0)
    assert later.state is GRANTED


def test_a_closed_pool_opens_nothing_again() -> None:
    """Waiters get the error, and so does a caller that comes later."""
    driver = leases(2, max_connecting=1)
    ask(driver, 1.0)
    waiting = ask(driver, 1.0)
    driver.shutdown(1.1)
    for ticket in (waiting, ask(driver, 1.2)):
        assert isinstance(ticket.error, PoolClosed)


def test_what_an_exception_left_half_done_is_put_in_order() -> None:
    """A caller that never learned of its ticket has left; a grant is completed."""
    driver = leases(4, max_connecting=2)
    unknown = driver.core.ask_to_connect(1.0)
    tickets = [ask(driver, 1.0) for _ in range(3)]
    assert states(tickets) == [GRANTED, WAITING, WAITING]
    driver.core.connector.leases[tickets[1]] = 5.0  # was being granted
    driver.core.repair(1.0)
    assert unknown not in driver.core.connector.leases
    assert states(tickets) == [GRANTED, GRANTED, WAITING]
    driver.core.repair(1.0)
    assert driver.core.connector.under_way == 2
