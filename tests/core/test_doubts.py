"""Whether a connection is looked at before it is handed out: not after a moment's rest, closely after a long one."""

from __future__ import annotations

from typing import Any

import pytest

from redpool.core.slot import Reason, Slot, State

from .driver import Driver


def doubt_after(rest: float, **options: Any) -> str | None:
    """What a connection must pass that rested for so long, in a pool that nobody ticks."""
    driver = Driver(**options)
    driver.open(1, 0.0)
    slot = driver.core.acquire(rest)
    assert isinstance(slot, Slot)
    return slot.doubt


@pytest.mark.parametrize("rest", [0.0, 0.5, 0.999])
def test_what_was_just_used_is_not_doubted(rest: float) -> None:
    """The usual path costs no look."""
    assert doubt_after(rest) is None


@pytest.mark.parametrize("rest", [1.0, 10.0, 29.999])
def test_after_check_after_idle_it_is_peeked_at(rest: float) -> None:
    """No round trip."""
    assert doubt_after(rest) == "peek"


@pytest.mark.parametrize("rest", [30.0, 1000.0])
def test_after_ping_after_idle_it_answers_first(rest: float) -> None:
    """Where the background check didn't come to it in time."""
    assert doubt_after(rest) == "ping"


def test_without_ping_after_idle_a_peek_is_all() -> None:
    """`None` never."""
    assert doubt_after(1e6, ping_after_idle=None) == "peek"


def test_check_after_idle_zero_always_looks() -> None:
    """However short the rest."""
    assert doubt_after(0.0, check_after_idle=0) == "peek"


def test_ping_after_idle_counts_though_it_is_shorter_than_check_after_idle() -> None:
    """The stricter of the two is what the option's words promise."""
    assert doubt_after(0.7, check_after_idle=1.0, ping_after_idle=0.5) == "ping"


def test_a_waiter_gets_what_was_just_used_so_there_is_no_doubt() -> None:
    """A hand-over is no rest."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    driver.ask(1.0)
    driver.give(slot, 60.0)
    assert slot.doubt is None


def test_a_rejected_connection_is_closed() -> None:
    """The caller acquires again. Counters never go back, so the first attempt stays counted."""
    driver = Driver()
    driver.open(2, 0.0)
    slot = driver.core.acquire(5.0)
    assert isinstance(slot, Slot)
    driver.reject(slot, 5.0)
    assert driver.reasons == [Reason.CHECK_FAILED]
    assert slot.state is State.CLOSING
    assert driver.stats(5.0).acquired == driver.stats(5.0).released == 1
    driver.take(5.0)
    assert driver.stats(5.0).acquired == 2


@pytest.mark.parametrize("how", ["reject", "check", "error"])
def test_one_that_is_found_dead_makes_the_others_doubted(how: str) -> None:
    """They may have died of the same: the next is looked at however fresh it is."""
    driver = Driver(ping_after_idle=30.0)
    driver.open(3, 0.0)
    if how == "check":
        driver.tick(30.0)
        driver.answer_checks(True, 30.0, 2)
        driver.answer_checks(False, 30.5)
    else:
        bad = driver.take(30.5)
        driver.give(driver.take(30.5), 30.5)
        driver.reject(bad, 30.5) if how == "reject" else driver.give(bad, 30.5, Reason.ERROR)
    slot = driver.core.acquire(30.75)
    assert isinstance(slot, Slot)
    assert slot.doubt is not None


def test_one_that_comes_back_later_is_trusted_again() -> None:
    """Doubt is for those that rested when one was found dead."""
    driver = Driver()
    driver.open(2, 0.0)
    bad, good = driver.take(0.1), driver.take(0.1)
    driver.give(bad, 0.2, Reason.ERROR)
    driver.give(good, 0.3)
    assert driver.core.acquire(0.4) is good
    assert good.doubt is None
