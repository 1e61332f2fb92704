"""Connecting: how many at a time, for whom, how soon after failures, and which error a caller gets."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from redpool.core import policy
from redpool.core.config import PoolConfig
from redpool.core.connector import Connector
from redpool.core.slot import Reason, Slot, State
from redpool.core.waiters import TicketState
from support.collecting import while_collecting

from .driver import Driver

DOWN = ConnectionError("connection refused")


def test_no_more_connects_than_max_connecting_are_under_way() -> None:
    """A burst on a cold pool connects a few at a time; the next step waits to see what this one did for the queue."""
    driver = Driver(max_connections=10, max_connecting=3)
    for _ in range(8):
        driver.ask(0.0)
    driver.begin_connects(0.0)
    assert len(driver.begun) == 3
    driver.answer_connects(0.1, 1)
    assert len(driver.begun) + len(driver.ordered) == 2
    driver.run_until(0.5)
    assert len(driver.begun) + len(driver.ordered) == 3


def test_no_more_connections_than_max_connections_are_opened() -> None:
    """However many wait."""
    driver = Driver(prompt=True, max_connections=4, max_connecting=10)
    for _ in range(9):
        driver.ask(0.0)
    driver.run_until(1.0)
    assert driver.stats(1.0).in_use == 4
    assert driver.connected == 4
    assert len(driver.waiting) == 5


def test_the_first_connect_is_ordered_at_once() -> None:
    """No connection can come back to a pool that has none, so there is nothing to be patient for."""
    driver = Driver()
    driver.ask(5.0)
    assert len(driver.ordered) == 1


def test_a_returning_connection_serves_the_waiter_and_the_connect_is_withdrawn() -> None:
    """A connect that was ordered and not begun isn't started when its need has passed."""
    driver = Driver(max_connections=2)
    slot = driver.take(0.0)
    ticket = driver.ask(1.0)
    assert len(driver.ordered) == 1
    driver.release(slot, 1.1)
    assert ticket.slot is slot
    place = driver.ordered[0]
    assert driver.begin_connects(1.2) == []
    assert place.state is State.EMPTY
    assert driver.stats(1.2).connecting == 0


def test_a_connect_that_has_begun_goes_on_and_its_connection_is_idle() -> None:
    """What is half open isn't thrown away."""
    driver = Driver(max_connections=2)
    slot = driver.take(0.0)
    ticket = driver.ask(1.0)
    driver.begin_connects(1.0)
    driver.release(slot, 1.1)
    driver.answer_connects(1.2)
    assert ticket.slot is slot
    assert driver.numbers() == [2]


def test_a_queue_is_given_a_few_connects_time_before_the_pool_grows() -> None:
    """A caller that came just after the last hand-out waits for `patience`; then a connect is ordered by the tick."""
    driver = Driver(max_connections=2)
    driver.take(0.0)
    patience = driver.core.connector.patience
    driver.ask(0.001)
    assert driver.ordered == []
    assert driver.core.wake_at == patience
    driver.tick(patience)
    assert len(driver.ordered) == 1


def test_short_commands_share_few_connections() -> None:
    """Where connections come back within the patience, a burst opens no more of them."""
    driver = Driver(prompt=True, max_connections=10)
    slot = driver.take(0.0)
    for number in range(5):
        driver.ask(0.001 * number)
    for number in range(5):
        driver.release(slot, 0.005 + 0.001 * number)
    assert driver.connected == 1
    assert driver.waiting == []


def test_a_queue_that_lasts_makes_the_pool_grow_though_connections_come_back() -> None:
    """Callers that queue for longer than the patience show that the pool is too small."""
    driver = Driver(max_connections=10)
    slot = driver.take(0.0)
    for _ in range(50):
        driver.ask(0.001)
    now = 0.001
    while not driver.ordered and now < 1.0:
        now += 0.002
        driver.release(slot, now)
        if now >= driver.core.wake_at:
            driver.tick(now)
    assert now < 0.02


def test_a_failed_connect_is_raised_to_the_longest_waiting_at_once_and_only_to_it() -> None:
    """Others may still be served by the connections that are open, where these come back."""
    driver = Driver(max_connections=2)
    driver.take(0.9)
    first, second = driver.ask(1.0), driver.ask(1.0)
    driver.fail_connects(DOWN, 1.1)
    assert (first.state, first.error) == (TicketState.REJECTED, DOWN)
    assert second.state is TicketState.WAITING
    assert driver.woken[-1] is first


def test_a_failed_connect_is_raised_to_all_when_nothing_is_open() -> None:
    """Nothing else can serve them, so no caller waits out its timeout for a dead server."""
    driver = Driver(max_connections=4, max_connecting=1)
    tickets = [driver.ask(0.0) for _ in range(3)]
    driver.fail_connects(DOWN, 0.1)
    assert [ticket.error for ticket in tickets] == [DOWN] * 3
    assert driver.woken == tickets


def test_a_failed_connect_is_raised_to_all_when_nothing_comes_back() -> None:
    """A subscriber keeps its connection: no caller waits for that one."""
    driver = Driver(max_connections=10, max_connecting=4)
    driver.take(0.0)
    tickets = [driver.ask(1.0) for _ in range(8)]
    assert driver.fail_connects(DOWN, 1.1) == 4
    assert [ticket.error for ticket in tickets] == [DOWN] * 8
    assert driver.ask(1.11).state is TicketState.REJECTED


def test_callers_sit_through_as_many_failures_as_they_said() -> None:
    """`retries` of 2: the caller gets the third failure."""
    driver = Driver(connect_retries=2)
    ticket = driver.ask(0.0)
    now = 0.0
    for failures in (1, 2, 3):
        assert ticket.state is TicketState.WAITING
        driver.run_until(now)
        assert driver.fail_connects(DOWN, now) == 1
        assert ticket.connect_failures == failures
        now = driver.core.connector.pause_until
    assert ticket.error is DOWN


def test_an_error_that_is_not_retryable_is_raised_at_once() -> None:
    """A wrong password stays wrong."""
    driver = Driver(connect_retries=2)
    ticket = driver.ask(0.0)
    driver.fail_connects(DOWN, 0.1, retryable=False)
    assert ticket.error is DOWN


def test_pauses_between_connects_grow_up_to_a_limit() -> None:
    """Doubling from 20 ms to half a second, each a little shorter by chance."""
    driver = Driver(timeout=None, connect_retries=100)
    driver.ask(0.0)
    now, pauses = 0.0, []
    for _ in range(9):
        driver.fail_connects(DOWN, now)
        assert driver.ordered == []
        pauses.append(driver.core.wake_at - now)
        now = driver.core.wake_at
        driver.tick(now)
    for pause, longest in zip(pauses, [0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5, 0.5, 0.5], strict=True):
        assert 0.79 * longest < pause <= longest + 1e-9


def test_only_one_connect_probes_a_server_that_is_down() -> None:
    """Nor do newcomers add more."""
    driver = Driver(max_connections=10, max_connecting=4, timeout=None, connect_retries=100)
    for _ in range(4):
        driver.ask(0.0)
    assert driver.fail_connects(DOWN, 0.0) == 4
    for number in range(1, 6):
        driver.ask(0.1 * number)
        driver.tick(0.5 * number)
        assert len(driver.ordered) == 1


def test_the_first_success_ends_pauses_and_lets_all_connects_through_again() -> None:
    """The others needn't wait for the pause to pass."""
    driver = Driver(max_connections=10, max_connecting=4, timeout=None, connect_retries=100)
    for _ in range(6):
        driver.ask(0.0)
    driver.fail_connects(DOWN, 0.0)
    driver.run_until(1.0)
    assert driver.answer_connects(1.0) == 1
    assert driver.core.connector.last_error is None
    driver.run_until(1.1)
    assert len(driver.ordered) == 4


def down(**options: Any) -> tuple[Driver, float]:
    """A pool whose connects have failed too often for that to be passing; and when the last one did."""
    driver = Driver(**options)
    for failures in range(policy.PASSING_FAILURES + 1):
        driver.ask(float(failures))
        driver.run_until(float(failures))
        assert driver.fail_connects(DOWN, float(failures)) == 1
    return driver, float(policy.PASSING_FAILURES)


def newcomer_is_raised(driver: Driver, now: float) -> bool:
    """Whether one that comes then gets the last failure at once, a copy of its own."""
    ticket = driver.ask(now)
    if ticket.state is TicketState.WAITING:
        return False
    error = ticket.error
    assert (type(error), str(error), error and error.__cause__) == (ConnectionError, str(DOWN), DOWN)
    assert error is not DOWN
    assert ticket not in driver.woken
    return True


@pytest.mark.parametrize("timeout", [None, 0, 5.0])
def test_a_newcomer_during_a_pause_is_raised_at_once(timeout: float | None) -> None:
    """It doesn't wait for the next connect; the first that comes when the pause is over has that made, for all."""
    driver, now = down(timeout=timeout)
    pause = driver.core.connector.pause_until
    rejected = driver.stats(now).rejected
    assert newcomer_is_raised(driver, now)
    assert newcomer_is_raised(driver, pause - 0.001)
    assert driver.ordered == []
    assert driver.core.wake_at > pause
    first, second = driver.ask(pause), driver.ask(pause)
    assert driver.fail_connects(DOWN, pause + 0.001) == 1
    assert [first.error, second.error] == [DOWN, DOWN]
    assert driver.stats(pause).rejected == rejected


def test_the_first_failures_may_be_passing() -> None:
    """The next caller neither gets them nor waits for the pause to end, but has a connect of its own, at once."""
    driver = Driver(timeout=None, min_idle=1)
    for _ in range(policy.PASSING_FAILURES):
        driver.ask(0.0)
        assert driver.fail_connects(DOWN, 0.0) == 1
        assert driver.ordered == []
    ticket = driver.ask(0.0)
    assert driver.answer_connects(0.0) == 1
    assert ticket.slot is not None


def test_a_newcomer_that_sits_through_failures_waits_in_the_pause() -> None:
    """As its retry policy says; an error that isn't retryable it gets like any other caller."""
    driver = Driver(connect_retries=1, timeout=None)
    driver.ask(0.0)
    driver.fail_connects(DOWN, 0.0)
    assert not newcomer_is_raised(driver, 0.001)
    assert driver.ordered == []
    for now in range(1, 6):
        driver.run_until(float(now))
        driver.fail_connects(DOWN, float(now), retryable=False)
        if now < 5:
            driver.ask(now + 0.9)
    assert newcomer_is_raised(driver, 5.001)


def test_a_newcomer_in_the_pause_waits_for_what_comes_back() -> None:
    """One connection is in use, and was handed out of late; a connect that is under way may serve it, too."""
    driver = Driver(max_connections=3, max_connecting=2, timeout=None)
    slot = driver.take(0.9)
    driver.ask(1.0)
    driver.fail_connects(DOWN, 1.1)
    ticket = driver.ask(1.101)
    driver.release(slot, 1.102)
    assert ticket.slot is slot
    several = Driver(max_connections=3, max_connecting=2, timeout=None)
    several.ask(0.0)
    several.ask(0.0)
    several.begin_connects(0.0)
    several.fail_connects(DOWN, 0.1, 1)
    assert several.ask(0.101).state is TicketState.WAITING


def test_a_newcomer_in_the_pause_waits_where_no_slot_is_left() -> None:
    """The pool is full, so that no connect could serve it."""
    driver = Driver(max_connections=2, timeout=None)
    slot = driver.take(0.0)
    driver.ask(1.0)
    driver.fail_connects(DOWN, 1.1)
    driver.resize(1, 1.101)
    ticket = driver.ask(1.102)
    driver.release(slot, 1.103)
    assert ticket.slot is slot


def test_where_nothing_is_open_the_first_connect_is_ordered_at_once() -> None:
    """However recently a connection was handed out: it was closed, and no clock need go on for the next one."""
    driver = Driver(max_connections=4)
    for number in range(3):
        slot = driver.take(1.0)
        driver.release(slot, 1.0, Reason.ERROR)
        driver.close_all(1.0)
        ticket = driver.ask(1.0)
        assert len(driver.ordered) == 1
        driver.answer_connects(1.0)
        assert ticket.slot is not None
        assert driver.connected == 2 * number + 2
        driver.release(ticket.slot, 1.0, Reason.ERROR)
        driver.close_all(1.0)


def test_what_the_pool_keeps_for_itself_is_not_waited_for() -> None:
    """A multiplexed connection doesn't come back: who needs a connection of its own has it connected at once."""
    driver = Driver(max_connections=4)
    driver.take(1.0).keep()
    driver.ask(1.0)
    assert len(driver.ordered) == 1


def test_a_connect_that_used_up_its_budget_is_cut_once() -> None:
    """So that it can't hold its place for ever; the shell then says that it failed."""
    driver = Driver(connect_budget=2.0, timeout=None)
    driver.ask(0.0)
    (slot,) = driver.begin_connects(0.5)
    driver.run_until(2.4)
    assert driver.cuts == []
    driver.run_until(10.0)
    assert driver.cuts == [slot]
    driver.fail_connects(TimeoutError("too slow"), 10.0)
    assert slot.state is not State.CONNECTING or slot in driver.ordered


def test_connects_are_cut_in_the_same_order_in_every_run() -> None:
    """Nothing depends on where in memory a slot happens to be."""

    def cut() -> list[int]:
        driver = Driver(max_connections=40, max_connecting=40, connect_budget=2.0, timeout=None)
        driver.warm_up(40, 0.0)
        driver.begin_connects(0.0)
        driver.tick(2.0)
        return [driver.core.slots.index(slot) for slot in driver.cuts]

    kept = [object() for _ in range(7)]
    first = cut()
    assert sorted(first) == list(range(40))
    assert all(cut() == first for _ in kept)


def test_a_connect_begun_before_a_close_ends_in_a_close() -> None:
    """And one not begun isn't started."""
    driver = Driver(max_connections=2, max_connecting=2)
    driver.warm_up(2, 0.0)
    driver.begin_connects(0.0, 1)
    driver.shutdown(0.1)
    driver.answer_connects(0.2)
    assert driver.connected == 1
    assert driver.close_all(0.3) == ["pool closed"]
    assert driver.core.is_empty


def test_a_waiter_is_not_held_up_by_a_check_while_places_are_empty() -> None:
    """An idle connection may take long to answer its PING: a queue that outlasts the patience gets a connect."""
    driver = Driver(max_connections=10, ping_after_idle=30.0, timeout=None)
    driver.open(1, 0.0)
    driver.tick(30.0)
    assert len(driver.validations) == 1
    driver.ask(30.1)
    driver.run_until(31.0)
    assert len(driver.ordered) == 1


def test_callers_that_wait_see_which_connects_have_not_begun() -> None:
    """They look without the lock, while other threads order and begin connects."""
    connector = Connector(PoolConfig(), 1.0, Random(1))
    slots = [Slot() for _ in range(3)]
    for slot in slots:
        connector.order(slot)
    connector.begin(slots[0], 0, 0.0)

    def look() -> None:
        assert connector.unbegun[:2] == slots[1:]

    while_collecting(lambda: connector.order(Slot()), look)
