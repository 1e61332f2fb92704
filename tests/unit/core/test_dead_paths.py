"""A path that died in silence: one PING that goes unanswered has everything asked that may have died of the same."""

from __future__ import annotations

from typing import Any

import pytest

from redpool.core.slot import Slot
from redpool.core.waiters import TicketState

from .driver import Driver


def idle_since(count: int, **options: Any) -> Driver:
    """A pool with so many connections, all idle since 0.0."""
    driver = Driver(**{"max_connections": 10, "max_connecting": 2, "ping_after_idle": 30.0, **options})
    driver.open(count, 0.0)
    return driver


def idle(got: object) -> Slot:
    assert isinstance(got, Slot), "nothing was idle"
    return got


def test_one_unanswered_ping_in_the_background_has_all_others_asked() -> None:
    """Together, and more than `max_connecting`: none is left to be handed out unasked."""
    driver = idle_since(6)
    driver.tick(30.0)
    assert len(driver.validations) == 2
    driver.answer_validations(False, 31.0, 1)
    assert len(driver.validations) == 5
    assert not driver.core.idle


def test_so_does_one_at_checkout() -> None:
    """The caller that sent it pays for all."""
    driver = idle_since(6)
    slot = idle(driver.acquire(30.5))
    assert slot.needs_validation == "ping"
    driver.reject_at_checkout(slot, 31.5)
    assert len(driver.validations) == 5


def test_a_caller_that_comes_then_has_the_first_that_answers() -> None:
    """It sends no PING of its own; and nothing having come back for so long, a connect is under way at once."""
    driver = idle_since(3)
    driver.reject_at_checkout(idle(driver.acquire(30.5)), 31.5)
    ticket = driver.ask(31.5)
    assert len(driver.ordered) == 1
    driver.answer_validations(False, 31.6, 1)
    assert ticket.state is TicketState.WAITING
    driver.answer_validations(True, 31.6, 1)
    assert ticket.slot is not None
    assert ticket.slot.needs_validation != "ping"


def test_a_caller_that_comes_when_all_are_dead_has_the_connect() -> None:
    """However many there are, it waits for none of them."""
    driver = idle_since(10, max_connections=11)
    driver.reject_at_checkout(idle(driver.acquire(30.5)), 31.5)
    ticket = driver.ask(31.5)
    driver.answer_connects(31.501)
    assert ticket.slot is not None
    driver.answer_validations(False, 32.5)
    driver.close_all(32.5)
    assert driver.stats(32.5).open == 1


def test_what_was_heard_from_since_the_ping_was_sent_is_not_asked() -> None:
    """Its path is not dead. It is looked at, as ever when one was found dead."""
    driver = idle_since(4)
    driver.tick(30.0)
    used = driver.take(30.5)
    driver.release(used, 30.6)
    driver.answer_validations(False, 31.0, 1)
    assert list(driver.core.idle) == [used]
    assert idle(driver.acquire(31.0)).needs_validation == "peek"


def test_the_silence_of_those_that_were_asked_together_is_no_news() -> None:
    """The others have answered meanwhile, and aren't asked again for each of the dead, however long a look is off."""
    driver = idle_since(8, validate_after_idle=20.0)
    driver.tick(30.0)
    driver.answer_validations(False, 31.0, 1)
    driver.answer_validations(False, 31.0, 1)  # its twin of the first two
    assert len(driver.validations) == 6
    driver.answer_validations(True, 31.1, 3)
    driver.answer_validations(False, 32.0)
    assert driver.validations == []
    assert len(driver.core.idle) == 3


def test_a_ping_sent_later_is_news_again() -> None:
    """The path may have died since."""
    driver = idle_since(6)
    driver.tick(30.0)
    driver.answer_validations(False, 31.0, 1)
    driver.answer_validations(True, 31.1)
    assert len(driver.core.idle) == 5
    driver.tick(62.0)
    assert len(driver.validations) == 2
    driver.answer_validations(False, 63.0, 1)
    assert len(driver.validations) == 4


@pytest.mark.parametrize("at", [5.0, 29.0])
def test_one_that_fails_a_look_has_no_caller_asked(at: float) -> None:
    """A look would show it of the others, too; a round trip is saved."""
    driver = idle_since(4)
    slot = idle(driver.acquire(at))
    assert slot.needs_validation == "peek"
    driver.reject_at_checkout(slot, at)
    assert driver.validations == []
    assert idle(driver.acquire(at)).needs_validation == "peek"


def test_where_nothing_is_ever_pinged_nothing_is() -> None:
    """`ping_after_idle=None` is the user's word, whatever was found dead."""
    driver = idle_since(4, ping_after_idle=None)
    slot = driver.take(20.0)
    driver.release(slot, 21.0)
    driver.core.set_aside(slot)  # for a look of the shell's own
    driver.core.validated(slot, False, 40.0)
    driver.collect(40.0)
    assert driver.validations == []
    assert idle(driver.acquire(40.0)).needs_validation == "peek"


def test_the_shell_may_sleep_while_all_are_asked() -> None:
    """The next tick is later than this one."""
    driver = idle_since(8)
    driver.tick(30.0)
    driver.answer_validations(False, 31.0, 1)
    driver.tick(31.0)
    assert driver.core.wake_at > 31.0
