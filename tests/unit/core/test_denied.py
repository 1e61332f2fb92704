"""A server that denies the credentials is asked ever more seldom: it may lock the account."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from redpool.core import policy
from redpool.core.connector import Failure
from redpool.core.waiters import TicketState

from .driver import Driver
from .test_reconnecting import ask as ask_to_connect

WRONG = ConnectionError("WRONGPASS")
DOWN = ConnectionError("connection refused")
MOST = 1 + policy.PAUSE_JITTER


def deny(driver: Driver, now: float) -> int:
    """The server denies all connects that are under way; how many there were."""
    return driver.fail_connects(WRONG, now, failure=Failure.DENIED)


def denied(**options: Any) -> Driver:
    """A pool that has been denied once."""
    driver = Driver(timeout=None, **options)
    driver.ask(0.0)
    assert deny(driver, 0.0) == 1
    return driver


def logins(driver: Driver, end: float, step: float | None = None) -> list[float]:
    """When the pool tries to log in until `end`, each time in vain; with a caller every `step` seconds."""
    now, tried = 0.0, []
    while now < end:
        now = min(driver.core.wake_at, end if step is None else now + step)
        driver.tick(now)
        if step is not None:
            driver.ask(now)
        if count := deny(driver, now):
            assert count == 1
            tried.append(now)
    return tried


def pauses(tried: list[float]) -> list[float]:
    """The time from each to the next."""
    return [later - sooner for sooner, later in itertools.pairwise(tried)]


def test_for_no_caller_they_become_minutes() -> None:
    """`min_idle` asks for connections for ever: the pause doubles from a second to five minutes."""
    driver = Driver(min_idle=2, max_connecting=1)
    driver.tick(0.0)
    deny(driver, 0.0)
    between = pauses([0.0, *logins(driver, 3600.0)])
    for pause, least in zip(between, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0], strict=False):
        assert least <= pause <= least * MOST
    assert between[-1] >= 300.0


def test_for_callers_they_become_half_a_minute() -> None:
    """However many come, and however many connections are to be kept ready; then one tries for all."""
    driver = Driver(min_idle=2, max_connecting=1, timeout=None)
    driver.tick(0.0)
    deny(driver, 0.0)
    between = pauses(logins(driver, 1000.0, step=0.25))
    assert max(between[:3]) < 20.0
    assert 30.0 - 1e-9 <= min(between[6:]) <= max(between[6:]) <= 31.0


@pytest.mark.parametrize("retries", [0, 100])
def test_those_in_between_are_raised_at_once(retries: int) -> None:
    """Whatever their retry policy: wrong credentials stay wrong."""
    driver = denied(connect_retries=retries)
    ticket = driver.ask(0.5)
    assert (ticket.state, str(ticket.error), ticket.error and ticket.error.__cause__) == (
        TicketState.REJECTED, "WRONGPASS", WRONG,
    )  # fmt: skip
    assert driver.warm_up(1, 0.5).state is TicketState.REJECTED
    assert driver.ordered == []


def test_several_that_were_denied_together_count_once() -> None:
    """They were under way before it was known."""
    driver = Driver(timeout=None, max_connecting=4)
    for _ in range(4):
        driver.ask(0.0)
    assert deny(driver, 0.1) == 4
    assert driver.core.connector.pause_until <= 0.1 + MOST


def test_a_connection_opened_anew_is_denied_as_any_other() -> None:
    """A connection on lease was lost: others get the same error as its borrower."""
    driver = Driver(max_connections=3, timeout=None, ping_after_idle=None)
    driver.take_many(2, 0.0)
    ticket = ask_to_connect(driver, 1.0)
    driver.core.lease_connect_failed(ticket, WRONG, 1.0, Failure.DENIED)
    assert driver.core.connector.hopeless
    assert ask_to_connect(driver, 1.9).state is TicketState.REJECTED
    assert driver.core.connector.pause_until >= 2.0


def test_the_first_that_is_let_in_ends_it() -> None:
    """Another denial would begin with a second anew."""
    driver = denied(max_connecting=1)
    for now in (2.0, 10.0, 30.0):
        driver.ask(now)
        assert deny(driver, now) == 1
    assert driver.core.connector.pause_until > 37.0
    driver.ask(60.0)
    driver.answer_connects(60.0)
    assert not driver.core.connector.hopeless
    driver.run_until(61.0)
    driver.ask(61.0)
    driver.run_until(61.5)
    assert deny(driver, 61.5) == 1
    assert driver.core.connector.pause_until <= 61.5 + MOST


@pytest.mark.parametrize("how", ["drain", "disconnect"])
def test_a_drain_tries_again_at_once(how: str) -> None:
    """The credentials may be others now; the pauses go on growing where they are no better."""
    driver = denied()
    getattr(driver, how)(0.1)
    driver.ask(0.1)
    assert deny(driver, 0.1) == 1
    assert driver.core.connector.pause_until >= 2.1


def test_a_denial_is_no_failure_for_the_breaker() -> None:
    """The server is up. While it is down, its pauses are as ever."""
    connector = denied(break_after=1).core.connector
    assert (connector.failures, connector.broken) == (0, False)
    driver = denied(break_after=1)
    driver.ask(2.0)
    driver.fail_connects(DOWN, 2.0)
    assert driver.core.connector.broken
    assert driver.core.connector.pause_until < 2.1


def test_other_failures_are_pursued_in_the_background_as_ever() -> None:
    """Twice a second: whether a server is back, is to be found out soon."""
    driver = Driver(min_idle=1, max_connecting=1)
    driver.tick(0.0)
    driver.fail_connects(DOWN, 0.0)
    tried = 0
    while driver.core.wake_at < 10.0:
        now = driver.core.wake_at
        driver.tick(now)
        tried += driver.fail_connects(DOWN, now)
    assert tried >= 19


def test_a_server_without_tls_is_not_waited_for() -> None:
    """No retry policy sits through it. It locks no account, so that the pauses are those of a server that is down."""
    driver = Driver(timeout=None, connect_retries=100)
    ticket = driver.ask(0.0)
    driver.fail_connects(WRONG, 0.0, failure=Failure.NO_TLS)
    assert ticket.state is TicketState.REJECTED
    assert driver.core.connector.hopeless
    assert 0.0 < driver.core.connector.pause_until <= policy.LONGEST_PAUSE
    assert driver.core.connector.failures == 1
