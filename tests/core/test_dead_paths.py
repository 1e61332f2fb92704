"""A path that died in silence: one PING that goes unanswered has everything asked that may have died of the same."""

from __future__ import annotations

from typing import Any

import pytest

from redpool.core.slot import Slot
from redpool.core.ticket import TicketState

from .driver import Driver


def rested(count: int, **options: Any) -> Driver:
    """A pool with so many connections, all idle since 0.0."""
    driver = Driver(**{"max_connections": 10, "max_connecting": 2, "ping_after_idle": 30.0, **options})
    driver.open(count, 0.0)
    return driver


def idle(got: object) -> Slot:
    assert isinstance(got, Slot), "nothing was idle"
    return got


def test_one_unanswered_ping_in_the_background_has_all_others_asked() -> None:
    """Together, and more than `max_connecting`: none is left to be handed out unasked."""
    driver = rested(6)
    driver.tick(30.0)
    assert len(driver.checks) == 2
    driver.answer_checks(False, 31.0, 1)
    assert len(driver.checks) == 5
    assert driver.core.idle == []


def test_so_does_one_at_checkout() -> None:
    """The caller who sent it pays for all."""
    driver = rested(6)
    slot = idle(driver.acquire(30.5))
    assert slot.doubt == "ping"
    driver.reject(slot, 31.5)
    assert len(driver.checks) == 5


def test_whoever_comes_then_has_the_first_that_answers() -> None:
    """He sends no PING of his own; and nothing having come back for so long, a dial is under way at once."""
    driver = rested(3)
    driver.reject(idle(driver.acquire(30.5)), 31.5)
    ticket = driver.ask(31.5)
    assert len(driver.ordered) == 1
    driver.answer_checks(False, 31.6, 1)
    assert ticket.state is TicketState.WAITING
    driver.answer_checks(True, 31.6, 1)
    assert ticket.slot is not None
    assert ticket.slot.doubt != "ping"


def test_whoever_comes_when_all_are_dead_has_the_dial() -> None:
    """However many there are, he waits for none of them."""
    driver = rested(10, max_connections=11)
    driver.reject(idle(driver.acquire(30.5)), 31.5)
    ticket = driver.ask(31.5)
    driver.answer_dials(31.501)
    assert ticket.slot is not None
    driver.answer_checks(False, 32.5)
    driver.close_all(32.5)
    assert driver.stats(32.5).open == 1


def test_what_was_heard_from_since_the_ping_was_sent_is_not_asked() -> None:
    """Its path is not dead. It is looked at, as ever when one was found dead."""
    driver = rested(4)
    driver.tick(30.0)
    used = driver.take(30.5)
    driver.give(used, 30.6)
    driver.answer_checks(False, 31.0, 1)
    assert driver.core.idle == [used]
    assert idle(driver.acquire(31.0)).doubt == "peek"


def test_the_silence_of_those_that_were_asked_together_is_no_news() -> None:
    """The others have answered meanwhile, and aren't asked again for each of the dead, however long a look is off."""
    driver = rested(8, validate_after_idle=20.0)
    driver.tick(30.0)
    driver.answer_checks(False, 31.0, 1)
    driver.answer_checks(False, 31.0, 1)  # its twin of the first two
    assert len(driver.checks) == 6
    driver.answer_checks(True, 31.1, 3)
    driver.answer_checks(False, 32.0)
    assert driver.checks == []
    assert len(driver.core.idle) == 3


def test_a_ping_sent_later_is_news_again() -> None:
    """The path may have died since."""
    driver = rested(6)
    driver.tick(30.0)
    driver.answer_checks(False, 31.0, 1)
    driver.answer_checks(True, 31.1)
    assert len(driver.core.idle) == 5
    driver.tick(62.0)
    assert len(driver.checks) == 2
    driver.answer_checks(False, 63.0, 1)
    assert len(driver.checks) == 4


@pytest.mark.parametrize("at", [5.0, 29.0])
def test_one_that_fails_a_look_has_nobody_asked(at: float) -> None:
    """A look would show it of the others, too; a round trip is saved."""
    driver = rested(4)
    slot = idle(driver.acquire(at))
    assert slot.doubt == "peek"
    driver.reject(slot, at)
    assert driver.checks == []
    assert idle(driver.acquire(at)).doubt == "peek"


def test_where_nothing_is_ever_pinged_nothing_is() -> None:
    """`ping_after_idle=None` is the user's word, whatever was found dead."""
    driver = rested(4, ping_after_idle=None)
    slot = driver.take(20.0)
    driver.give(slot, 21.0)
    driver.core.set_aside(slot)  # for a look of the shell's own
    driver.core.checked(slot, False, 40.0)
    driver.collect(40.0)
    assert driver.checks == []
    assert idle(driver.acquire(40.0)).doubt == "peek"


def test_the_shell_may_sleep_while_all_are_asked() -> None:
    """The next tick is later than this one."""
    driver = rested(8)
    driver.tick(30.0)
    driver.answer_checks(False, 31.0, 1)
    driver.tick(31.0)
    assert driver.core.wake_at > 31.0
