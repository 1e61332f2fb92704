"""What is done to a pool as a whole: warm up, resize, drain, close, shut down."""

from __future__ import annotations

import math

import pytest

from redpool.core.slot import Reason, State
from redpool.core.waiters import TicketState
from redpool.errors import PoolClosed, PoolTimeout

from .driver import Driver
from .invariants import check_emptied, check_step

DOWN = ConnectionError("connection refused")


def test_warm_up_is_granted_when_so_many_are_open() -> None:
    """A few connects at a time; those in use count."""
    driver = Driver(max_connecting=2)
    driver.take(0.0)
    ticket = driver.warm_up(5, 0.0)
    assert (driver.answer_connects(0.1), driver.answer_connects(0.2)) == (2, 2)
    assert ticket.state is TicketState.GRANTED
    assert driver.core.open == 5
    assert driver.ordered == []
    assert driver.woken[-1] is ticket


def test_a_warm_pool_is_warm_at_once() -> None:
    """Nothing to open, nothing to wake."""
    driver = Driver()
    driver.open(2, 0.0)
    woken = len(driver.woken)
    assert [driver.warm_up(n, 0.1).state for n in (0, 1, 2)] == [TicketState.GRANTED] * 3
    assert len(driver.woken) == woken


def test_warm_up_tells_what_the_connect_raised() -> None:
    """At once, not when the time is up."""
    driver = Driver()
    ticket = driver.warm_up(2, 0.0)
    driver.fail_connects(DOWN, 0.1)
    assert (ticket.state, ticket.error) == (TicketState.REJECTED, DOWN)


def test_warm_up_ends_at_its_deadline() -> None:
    """A tick is due just then."""
    driver = Driver()
    ticket = driver.warm_up(2, 0.0, deadline=3.0)
    driver.run_until(3.0)
    assert ticket.state is TicketState.TIMED_OUT
    assert isinstance(ticket.error, PoolTimeout)


@pytest.mark.parametrize("opens", [-1, 3])
def test_warm_up_refuses_what_cannot_be(opens: int) -> None:
    """More than `max_connections`, or fewer than none."""
    with pytest.raises(ValueError, match=str(opens)):
        Driver(max_connections=2).warm_up(opens, 0.0)


def test_giving_up_a_warm_up_leaves_the_connects_unwanted() -> None:
    """Those not begun are withdrawn."""
    driver = Driver()
    driver.give_up(driver.warm_up(2, 0.0), 0.1)
    assert driver.begin_connects(0.2) == []


def test_a_warm_up_that_a_resize_makes_impossible_ends() -> None:
    """It doesn't wait for connections that there will never be: it ends when all that may be open are."""
    driver = Driver(max_connections=4)
    ticket = driver.warm_up(4, 0.0)
    driver.resize(2, 0.1)
    for at in (0.2, 0.3, 0.4):
        driver.answer_connects(at)
        driver.close_all(at)
        driver.tick(at)
    assert ticket.state is not TicketState.WAITING


def test_resize_up_serves_those_who_wait() -> None:
    """New slots are connected for them."""
    driver = Driver(max_connections=1)
    driver.take(0.0)
    ticket = driver.ask(1.0)
    driver.resize(2, 1.1)
    driver.answer_connects(1.2)
    assert ticket.state is TicketState.GRANTED
    assert driver.core.max_connections == 2


def test_resize_down_closes_idle_ones_now() -> None:
    """The longest-idle, and no more than the surplus."""
    driver = Driver(max_connections=5)
    driver.open(5, 0.0)
    driver.resize(3, 1.0)
    assert driver.reasons == [Reason.SURPLUS] * 2
    assert len(driver.core.idle) == 3
    driver.close_all(1.1)
    assert len(driver.core.slots) == 3


def test_resize_down_takes_unused_places_first() -> None:
    """No connection is closed where empty slots suffice."""
    driver = Driver(max_connections=5)
    driver.open(2, 0.0)
    driver.resize(2, 1.0)
    assert driver.reasons == []


def test_surplus_connections_close_as_they_come_back() -> None:
    """Nothing is taken from its user; who waits then waits for those that stay."""
    driver = Driver(prompt=True, max_connections=3)
    slots = driver.take_many(3, 0.0)
    ticket = driver.ask(0.5)
    driver.resize(1, 1.0)
    driver.release(slots[0], 2.0)
    driver.release(slots[1], 2.0)
    assert driver.reasons == [Reason.SURPLUS] * 2
    assert ticket.state is TicketState.WAITING
    driver.release(slots[2], 3.0)
    assert ticket.slot is slots[2]
    assert len(driver.core.slots) == 1


def test_no_more_than_the_surplus_is_closed_while_closes_are_under_way() -> None:
    """One too many: the second that comes back stays, though the first isn't quite closed yet."""
    driver = Driver(max_connections=3)
    slots = driver.take_many(3, 0.0)
    driver.resize(2, 1.0)
    driver.release(slots[0], 2.0)
    driver.release(slots[1], 2.0)
    assert driver.reasons == [Reason.SURPLUS]


def test_resize_down_withdraws_surplus_connects() -> None:
    """And closes the connection of one that had begun."""
    driver = Driver(max_connections=3)
    driver.warm_up(3, 0.0, deadline=5.0)
    driver.begin_connects(0.0, 2)
    driver.resize(1, 0.1)
    driver.answer_connects(0.2)
    driver.close_all(0.3)
    assert len(driver.core.slots) == driver.core.open == 1


@pytest.mark.parametrize("value", [0, -1, 2.0, True, None])
def test_resize_refuses_nonsense(value: int) -> None:
    """As the option does."""
    with pytest.raises((TypeError, ValueError), match=f"max_connections.*{value!r}"):
        Driver().resize(value, 0.0)


def test_resize_refuses_less_than_min_idle() -> None:
    """Both can't be had."""
    with pytest.raises(ValueError, match="max_connections must be at least 3, not 2"):
        Driver(min_idle=3).resize(2, 0.0)


def test_drain_replaces_idle_ones_now_and_used_ones_as_they_come_back() -> None:
    """A new generation begins."""
    driver = Driver(prompt=True, max_connections=2)
    used, other = driver.take_many(2, 0.0)
    driver.release(other, 0.1)
    driver.drain(1.0)
    assert driver.reasons == [Reason.DRAINED]
    assert used.state is State.LEASED
    driver.release(used, 2.0)
    assert driver.reasons == [Reason.DRAINED] * 2
    assert driver.take(3.0).generation == 1


def test_a_connect_begun_before_a_drain_is_of_the_old_generation() -> None:
    """Its connection is closed, and another connected for the waiter."""
    driver = Driver()
    ticket = driver.ask(0.0)
    driver.begin_connects(0.0)
    driver.drain(0.1)
    driver.answer_connects(0.2, 1)
    assert driver.reasons == [Reason.DRAINED]
    assert driver.waiting == [ticket]
    driver.run_until(0.3)
    driver.answer_connects(0.3)
    assert ticket.state is TicketState.GRANTED


def test_a_connect_not_begun_before_a_drain_is_of_the_new_generation() -> None:
    """Nothing was opened before it."""
    driver = Driver()
    ticket = driver.ask(0.0)
    driver.drain(0.1)
    driver.answer_connects(0.2)
    assert ticket.state is TicketState.GRANTED
    assert driver.reasons == []


def test_a_connection_being_checked_during_a_drain_ends_with_its_answer() -> None:
    """Whatever the answer is."""
    driver = Driver(ping_after_idle=30.0)
    driver.open(1, 0.0)
    driver.tick(30.0)
    driver.drain(30.1)
    driver.answer_validations(True, 30.2)
    assert driver.reasons == [Reason.DRAINED]


def test_a_shutdown_refuses_those_who_wait_and_those_who_come() -> None:
    """All get `PoolClosed`, and are counted."""
    driver = Driver(max_connections=1, name="cache")
    driver.take(0.0)
    waiting, warming = driver.ask(0.1), driver.warm_up(1, 0.1)
    driver.shutdown(1.0)
    newcomer = driver.ask(1.1)
    assert warming.state is TicketState.GRANTED
    for ticket in (waiting, newcomer):
        assert ticket.state is TicketState.REJECTED
        assert isinstance(ticket.error, PoolClosed)
        assert "cache" in str(ticket.error)
    assert driver.stats(1.1).rejected == 2
    assert driver.warm_up(1, 1.2).state is TicketState.REJECTED


def test_a_shutdown_refuses_those_who_warm_the_pool() -> None:
    """They need not wait for their deadline."""
    driver = Driver()
    ticket = driver.warm_up(3, 0.0)
    driver.shutdown(0.1)
    assert isinstance(ticket.error, PoolClosed)
    assert driver.woken == [ticket]


def test_a_shutdown_closes_idle_ones_now_and_used_ones_as_they_come_back() -> None:
    """With every order done, every slot is empty."""
    driver = Driver(ping_after_idle=30.0, max_connections=4)
    driver.open(3, 0.0)
    used = driver.take(0.0)
    driver.tick(30.0)
    driver.warm_up(4, 30.0)
    driver.shutdown(31.0)
    driver.answer_validations(True, 31.1)
    driver.answer_connects(31.2)
    driver.close_all(31.3)
    assert not driver.core.is_empty
    driver.release(used, 40.0)
    driver.close_all(40.1)
    assert driver.reasons == [Reason.POOL_CLOSED] * 3
    check_emptied(driver)
    check_step(driver, 40.1)


def test_shutting_down_twice_changes_nothing() -> None:
    """The second time there is nothing left to do."""
    driver = Driver()
    driver.open(1, 0.0)
    driver.shutdown(1.0)
    driver.close_all(1.0)
    driver.shutdown(2.0)
    assert driver.closes == []
    check_emptied(driver)


def test_a_pool_that_was_shut_down_opens_nothing() -> None:
    """Not even what `min_idle` asks for."""
    driver = Driver(min_idle=2)
    driver.shutdown(0.0)
    driver.tick(1.0)
    assert driver.ordered == []


def test_a_close_ends_idle_ones_now_and_used_ones_as_they_come_back() -> None:
    """Nothing is left then, and nothing is due, so that the shell may sleep for ever."""
    driver = Driver(prompt=True, min_idle=2, max_connections=4)
    driver.run_until(1.0)
    used = driver.take(1.0)
    driver.close(2.0)
    assert driver.core.open == driver.core.in_use == 1
    driver.release(used, 3.0)
    assert driver.core.is_empty
    driver.run_until(1000.0)
    assert driver.core.is_empty
    assert driver.core.wake_at == math.inf
    assert driver.reasons == [Reason.POOL_CLOSED, Reason.DRAINED]


def test_a_closed_pool_serves_when_it_is_asked() -> None:
    """From then on it keeps as many ready as before."""
    driver = Driver(prompt=True, min_idle=2, max_connections=2)
    driver.run_until(1.0)
    driver.close(2.0)
    driver.run_until(50.0)
    assert driver.core.is_empty
    slot = driver.take(50.0)
    driver.release(slot, 50.1)
    driver.run_until(60.0)
    assert len(driver.core.idle) == 2


def test_warming_a_closed_pool_is_asking() -> None:
    """It opens what it is asked for, and keeps `min_idle` ready."""
    driver = Driver(prompt=True, min_idle=1)
    driver.close(0.0)
    assert driver.warm_up(2, 1.0).state is TicketState.GRANTED
    assert driver.core.open == 2
    driver.run_until(1000.0)
    assert driver.core.open == 1


def test_those_who_wait_have_asked() -> None:
    """A close tells them nothing: each gets the next connection."""
    driver = Driver(prompt=True, max_connections=1)
    used = driver.take(0.0)
    waiting = driver.ask(0.1)
    driver.close(0.2)
    assert driver.waiting == [waiting]
    driver.release(used, 0.3)
    driver.run_until(1.0)
    assert waiting.state is TicketState.GRANTED


def test_a_close_ends_the_probes_of_a_breaker() -> None:
    """Until a caller asks: then the server is tried again."""
    driver = Driver(break_after=1)
    driver.ask(0.0)
    driver.fail_connects(ConnectionError("rejected"), 0.1)
    assert driver.core.connector.broken
    driver.close(0.2)
    driver.answer_connects(0.3, 0)
    driver.run_until(100.0)
    assert driver.ordered == []
    driver.ask(100.0)
    assert len(driver.ordered) == 1
