"""Whether a connection is looked at before it is handed out: not after a moment's rest, closely after a long one."""

from __future__ import annotations

from typing import Any

import pytest

from redpool.core.slot import Reason, Slot, State

from .driver import Driver


def validate_after(rest: float, **options: Any) -> str | None:
    """What a connection must pass that idle for so long, in a pool that no caller ticks."""
    driver = Driver(**options)
    driver.open(1, 0.0)
    slot = driver.core.acquire(rest)
    assert isinstance(slot, Slot)
    return slot.needs_validation


@pytest.mark.parametrize("rest", [0.0, 0.001, 10.0, 29.999])
def test_each_checkout_looks(rest: float) -> None:
    """However short the rest was, the server may have hung up in it."""
    assert validate_after(rest) == "peek"


@pytest.mark.parametrize(("rest", "expected"), [(0.0, None), (0.999, None), (1.0, "peek"), (29.9, "peek")])
def test_after_validate_after_idle_it_is_peeked_at(rest: float, expected: str | None) -> None:
    """Users that want to save the look say for how long. It is no round trip."""
    assert validate_after(rest, validate_after_idle=1.0) == expected


@pytest.mark.parametrize("rest", [30.0, 1000.0])
def test_after_ping_after_idle_it_answers_first(rest: float) -> None:
    """Where the background check didn't come to it in time."""
    assert validate_after(rest) == "ping"


def test_without_ping_after_idle_a_peek_is_all() -> None:
    """`None` never."""
    assert validate_after(1e6, ping_after_idle=None) == "peek"


def test_ping_after_idle_counts_though_it_is_shorter_than_validate_after_idle() -> None:
    """The stricter of the two is what the option's words promise."""
    assert validate_after(0.7, validate_after_idle=1.0, ping_after_idle=0.5) == "ping"


@pytest.mark.parametrize(("option", "expected"), [(0.0, "peek"), (0.001, None)])
def test_a_hand_over_is_no_rest_and_looked_at_like_the_shortest_one(option: float, expected: str | None) -> None:
    """The server may hang up right behind its last reply."""
    driver = Driver(max_connections=1, validate_after_idle=option)
    slot = driver.take(0.0)
    driver.ask(1.0)
    driver.release(slot, 60.0)
    assert slot.needs_validation == expected


def test_a_rejected_connection_is_closed() -> None:
    """The caller acquires again. Counters never go back, so the first attempt stays counted."""
    driver = Driver()
    driver.open(2, 0.0)
    slot = driver.core.acquire(5.0)
    assert isinstance(slot, Slot)
    driver.reject_at_checkout(slot, 5.0)
    assert driver.reasons == [Reason.INVALID]
    assert slot.state is State.EMPTY
    assert driver.stats(5.0).acquired == driver.stats(5.0).released == 1
    driver.take(5.0)
    assert driver.stats(5.0).acquired == 2


@pytest.mark.parametrize("how", ["reject", "check", "error"])
def test_one_that_is_found_dead_makes_the_others_suspect(how: str) -> None:
    """They may have died of the same: the next is looked at however fresh it is."""
    driver = Driver(ping_after_idle=30.0, validate_after_idle=1.0)
    driver.open(3, 0.0)
    if how == "check":
        driver.tick(30.0)
        driver.answer_validations(True, 30.0, 2)
        driver.answer_validations(False, 30.5)
    else:
        bad = driver.take(30.5)
        driver.release(driver.take(30.5), 30.5)
        driver.reject_at_checkout(bad, 30.5) if how == "reject" else driver.release(bad, 30.5, Reason.ERROR)
    slot = driver.core.acquire(30.75)
    assert isinstance(slot, Slot)
    assert slot.needs_validation is not None


def test_one_that_comes_back_later_is_trusted_again() -> None:
    """Only those are suspect that were idle when one was found dead."""
    driver = Driver(validate_after_idle=1.0)
    driver.open(2, 0.0)
    bad, good = driver.take(0.1), driver.take(0.1)
    driver.release(bad, 0.2, Reason.ERROR)
    driver.release(good, 0.3)
    assert driver.core.acquire(0.4) is good
    assert good.needs_validation is None
