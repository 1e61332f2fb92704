"""Connections that come back with something to be cleared away are checked before a caller gets them."""

from __future__ import annotations

from redpool.core.slot import Reason, State

from .driver import Driver


def test_it_is_checked_before_it_is_idle() -> None:
    """A caller that comes meanwhile waits for the answer, and then gets it."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    driver.release_to_validate(slot, 1.0)
    assert slot.state is State.VALIDATING
    assert driver.validations == [slot]
    waiting = driver.ask(2.0)
    driver.answer_validations(True, 3.0)
    assert waiting.slot is slot
    assert driver.stats(3.0).released == 1


def test_without_a_good_answer_it_is_closed() -> None:
    """What could not be cleared away must not reach the next caller."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    driver.release_to_validate(slot, 1.0)
    driver.answer_validations(False, 2.0)
    assert driver.reasons == [Reason.INVALID]


def test_one_that_may_not_stay_is_not_asked() -> None:
    """After a drain it is replaced like any other."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    driver.drain(1.0)
    driver.release_to_validate(slot, 2.0)
    assert driver.validations == []
    assert driver.reasons == [Reason.DRAINED]
