"""A server that has as many clients as it allows: the pool makes do with what it has, and asks again now and then."""

from __future__ import annotations

from random import Random

import pytest
import redis

from redpool.core import policy
from redpool.core.connector import Failure
from redpool.core.waiters import TicketState
from redpool.errors import PoolTimeout
from redpool.redispy.options import server_is_full

from .driver import Driver

FULL = ConnectionError("max number of clients reached")
DOWN = ConnectionError("connection refused")


def reject(driver: Driver, now: float) -> int:
    """The server has no room for any of the connects; how many there were."""
    driver.begin_connects(now)
    count = len(driver.begun)
    while driver.begun:
        driver.core.connect_failed(driver.begun.pop(0), FULL, now, failure=Failure.FULL)
        driver.collect(now)
    return count


def test_callers_wait_for_what_is_open() -> None:
    """No caller gets the error while a connection may come back; then the longest-waiting one gets that."""
    driver = Driver(max_connections=10)
    slot = driver.take(0.0)
    first, second = driver.ask(1.0), driver.ask(1.0)
    assert reject(driver, 1.1)
    assert first.state is second.state is TicketState.WAITING
    driver.release(slot, 1.2)
    assert first.slot is slot
    assert second.state is TicketState.WAITING


def test_a_caller_that_waits_in_vain_learns_the_cause() -> None:
    """Its `PoolTimeout` says what the server said, and has that error as its cause."""
    driver = Driver(max_connections=10, timeout=2.0)
    driver.take(0.0)
    ticket = driver.ask(1.0)
    reject(driver, 1.1)
    while driver.core.wake_at <= 3.0:
        driver.tick(driver.core.wake_at)
        reject(driver, driver.core.wake_at)
    assert isinstance(ticket.error, PoolTimeout)
    assert ticket.error.__cause__ is FULL
    assert "last connect failed: max number of clients reached" in str(ticket.error)


def test_with_no_connection_at_all_everybody_is_raised() -> None:
    """Nothing could come back to them. As long as one of the connects may still succeed, no caller gets the error."""
    driver = Driver(max_connections=10, max_connecting=2)
    tickets = [driver.ask(0.0) for _ in range(3)]
    driver.begin_connects(0.0)
    driver.core.connect_failed(driver.begun.pop(), FULL, 0.1, failure=Failure.FULL)
    driver.collect(0.1)
    assert {ticket.state for ticket in tickets} == {TicketState.WAITING}
    assert reject(driver, 0.1) == 1
    assert [ticket.error for ticket in tickets] == [FULL] * 3


def test_a_caller_that_wants_the_pool_warm_is_raised() -> None:
    """So many connections there won't be."""
    driver = Driver(max_connections=10)
    driver.take(0.0)
    ticket = driver.warm_up(5, 1.0)
    reject(driver, 1.1)
    assert ticket.error is FULL


@pytest.mark.parametrize("min_idle", [0, 5])
def test_one_connect_a_second_at_most_asks_again(min_idle: int) -> None:
    """However many wait, come anew or are to be kept idle; and the pauses don't grow."""
    driver = Driver(max_connections=20, max_connecting=4, min_idle=min_idle, timeout=None)
    driver.take(0.0)
    while len(driver.waiting) < 10:
        driver.acquire(1.0)
    assert reject(driver, 1.0) == 4
    now, connects = 1.0, []
    while now < 21.0:
        driver.ask(now)
        now = min(now + 0.3, driver.core.wake_at)
        if now >= driver.core.wake_at:
            driver.tick(now)
        if count := reject(driver, now):
            connects.append(now)
            assert count == 1
    pauses = [later - sooner for sooner, later in zip([1.0, *connects], connects, strict=False)]
    assert min(pauses) >= 1.0
    assert max(pauses) <= 1.0 * (1 + policy.PAUSE_JITTER) + 1e-9


def test_the_first_connect_that_gets_through_ends_it() -> None:
    """There is room again: as many connects at once as allowed."""
    driver = Driver(max_connections=10, max_connecting=4, timeout=None)
    driver.take(0.0)
    for _ in range(8):
        driver.ask(1.0)
    reject(driver, 1.0)
    driver.run_until(3.0)
    assert driver.answer_connects(3.0) == 1
    driver.run_until(3.2)
    assert len(driver.ordered) == 4


def test_a_full_server_is_not_down() -> None:
    """It counts neither for the breaker, nor for the pauses of a server that is."""
    driver = Driver(max_connections=10, break_after=2, timeout=None, connect_retries=100)
    driver.take(0.0)
    ticket = driver.ask(1.0)
    now = 1.0
    for _ in range(5):
        assert reject(driver, now) == 1
        now = driver.core.wake_at
        driver.run_until(now)
    assert not driver.core.connector.broken
    assert driver.fail_connects(DOWN, now) == 1
    assert driver.core.connector.pause_until <= now + policy.FIRST_PAUSE
    assert ticket.state is TicketState.WAITING


def test_the_pause_is_a_second_and_a_little() -> None:
    """Longer by chance, so that the processes that share a server don't ask together; never shorter."""
    pauses = [policy.pause_when_full(Random(seed)) for seed in range(50)]
    assert 1.0 <= min(pauses) < max(pauses) <= 1.2


@pytest.mark.parametrize(
    ("message", "full"),
    [
        ("max number of clients reached", True),
        ("max number of clients + cluster connections reached", True),
        ("Error 111 connecting to localhost:6379. Connection refused.", False),
        ("", False),
    ],
)
def test_what_a_full_server_says_is_recognised(message: str, full: bool) -> None:
    """By its words: redis-py has no class for it."""
    assert server_is_full(redis.ConnectionError(message)) is full
