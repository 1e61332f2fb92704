"""What time brings about: surplus ones close, old ones are replaced, idle ones are pinged."""

from __future__ import annotations

from typing import Any

import pytest

from redpool.core.slot import Reason, State

from .driver import Driver


@pytest.mark.parametrize("order", ["lifo", "fifo", "random"])
@pytest.mark.parametrize("min_idle", [0, 5])
def test_after_a_burst_the_pool_shrinks_to_what_is_needed(order: str, min_idle: int) -> None:
    """80 at once and then one at a time: within two `max_idle_time` no more than `min_idle` and the one are open."""
    driver = Driver(
        prompt=True, order=order, min_idle=min_idle, max_connections=100, max_idle_time=60.0, max_lifetime=None
    )
    for slot in driver.take_many(80, 0.0):
        driver.release(slot, 1.0)
    for second in range(2, 121):
        driver.run_until(float(second))
        driver.release(driver.take(float(second)), second + 0.1)
        if second < 60:
            assert driver.core.open >= 80, "too early"
    assert min_idle <= driver.core.open <= min_idle + 1
    assert set(driver.reasons) == {Reason.IDLE}


def test_the_longest_idle_goes_first() -> None:
    """The newest is the one that the next caller gets."""
    driver = Driver(max_idle_time=10.0, ping_after_idle=None)
    first, second = driver.take_many(2, 0.0)
    driver.release(first, 1.0)
    driver.release(second, 5.0)
    driver.run_until(11.0)
    assert driver.numbers() == [second.connection.number]
    assert driver.core.wake_at == 15.0


def test_a_connection_that_is_needed_now_and_then_stays() -> None:
    """It is `max_idle_time` without need that closes, not age."""
    driver = Driver(max_idle_time=10.0, max_lifetime=None)
    driver.open(1, 0.0)
    for at in range(9, 100, 9):
        driver.run_until(float(at))
        driver.answer_validations(True, float(at))
        driver.release(driver.take(float(at)), float(at))
    assert driver.reasons == []


def test_none_never_closes_what_rests() -> None:
    """`max_idle_time=None`, `max_lifetime=None`, `ping_after_idle=None`: left alone, and no tick is wanted."""
    driver = Driver(max_idle_time=None, max_lifetime=None, ping_after_idle=None)
    driver.open(3, 0.0)
    driver.tick(1e6)
    assert driver.core.open == 3
    assert driver.core.wake_at == float("inf")


def test_min_idle_is_opened_in_the_background_from_the_start() -> None:
    """The first tick is due at once."""
    driver = Driver(7.0, min_idle=2)
    assert driver.core.wake_at == 7.0
    driver.tick(7.0)
    driver.answer_connects(7.1)
    assert len(driver.core.idle) == 2


def test_what_min_idle_keeps_ready_is_never_closed_for_its_rest() -> None:
    """However long no caller needs it: closing and opening in turn would be no upkeep."""
    driver = Driver(prompt=True, min_idle=2, max_idle_time=10.0, max_lifetime=None)
    driver.run_until(1_000.0)
    assert driver.connected == driver.core.open == 2


def test_min_idle_is_kept_up_when_connections_are_taken() -> None:
    """A checkout of the last one kept ready is a reason to connect another, soon and in the background."""
    driver = Driver(min_idle=1, max_connections=4)
    driver.tick(0.0)
    driver.answer_connects(0.0)
    driver.take(1.0)
    driver.run_until(2.0)
    assert len(driver.ordered) == 1


def test_min_idle_is_restored_when_one_dies() -> None:
    """A background check that fails leads to a connect."""
    driver = Driver(min_idle=1, ping_after_idle=30.0)
    driver.tick(0.0)
    driver.answer_connects(0.0)
    driver.run_until(30.0)
    driver.answer_validations(False, 30.0)
    assert len(driver.ordered) == 1


def test_lifetimes_are_shortened_by_chance_so_that_they_do_not_end_together() -> None:
    """Between 90 % and 100 % of `max_lifetime` here, and not all the same."""
    driver = Driver(max_connections=20, max_connecting=20, max_lifetime=100.0, lifetime_jitter=0.1)
    driver.open(20, 0.0)
    ends = [slot.expires_at for slot in driver.core.idle]
    assert all(90.0 < end <= 100.0 for end in ends)
    assert max(ends) - min(ends) > 5.0


def aged(**options: Any) -> Driver:
    """A pool with a connection that is about to reach its age of 100 s."""
    driver = Driver(
        max_lifetime=100.0, lifetime_jitter=0.0, ping_after_idle=None, max_idle_time=None, **options
    )  # fmt: skip
    driver.open(1, 0.0)
    driver.run_until(99.9)
    return driver


def test_an_old_connection_serves_until_its_replacement_is_open() -> None:
    """Connected first, replaced after: a caller in between gets the old one at once."""
    driver = aged(max_connections=2)
    assert driver.core.wake_at == 100.0
    driver.tick(100.0)
    assert len(driver.begin_connects(100.0)) == 1
    slot = driver.take(100.1)
    assert slot.connection.number == 1
    driver.release(slot, 100.2)
    assert driver.reasons == []
    driver.answer_connects(100.3)
    assert driver.numbers() == [2]
    assert driver.close_all(100.3) == [Reason.LIFETIME]


def test_an_old_connection_survives_a_dead_server() -> None:
    """As long as no replacement can be had, it goes on serving."""
    driver = aged(max_connections=2)
    for at in (100.0, 101.0, 102.0):
        driver.tick(at)
        assert driver.fail_connects(ConnectionError("rejected"), at) == 1
    assert driver.numbers() == [1]


def test_a_full_pool_closes_first() -> None:
    """Without a place for the replacement the old one makes room."""
    driver = aged(max_connections=1)
    driver.tick(100.0)
    assert driver.close_all(100.0) == [Reason.LIFETIME]


def test_an_old_connection_in_use_is_replaced_when_it_comes_back() -> None:
    """It isn't taken from its user; when it is back, a connect is ordered and it may serve meanwhile."""
    driver = aged(max_connections=2)
    slot = driver.take(99.9)
    driver.tick(150.0)
    assert driver.ordered == []
    driver.release(slot, 160.0)
    assert slot.state is State.IDLE
    driver.answer_connects(160.1)
    assert driver.numbers() == [2]
    assert driver.reasons == [Reason.LIFETIME]


def test_one_whose_replacement_came_while_it_was_in_use_ends_when_it_comes_back() -> None:
    """It is not used again."""
    driver = aged(max_connections=2)
    driver.tick(100.0)
    slot = driver.take(100.1)
    driver.answer_connects(100.2)
    assert driver.reasons == []
    driver.release(slot, 100.3)
    assert driver.reasons == [Reason.LIFETIME]
    assert driver.numbers() == [2]


def test_a_idle_connection_is_pinged_in_the_background() -> None:
    """After `ping_after_idle`, unasked; one that answers is as good as new, and goes to the far end."""
    driver = Driver(ping_after_idle=30.0, max_idle_time=None)
    first, second = driver.take_many(2, 0.0)
    driver.release(first, 0.0)
    driver.release(second, 10.0)
    driver.run_until(30.0)
    assert driver.validations == [first]
    driver.answer_validations(True, 30.5)
    assert list(driver.core.idle) == [first, second]
    driver.run_until(40.0)
    assert driver.validations == [second]


def test_no_more_checks_than_max_connecting_are_under_way() -> None:
    """Each that is answered makes room for one more."""
    driver = Driver(max_connections=10, max_connecting=2, ping_after_idle=30.0)
    driver.open(5, 0.0)
    driver.tick(30.0)
    assert len(driver.validations) == 2
    driver.answer_validations(True, 30.1, 1)
    assert len(driver.validations) == 2


@pytest.mark.parametrize("options", [{"max_connecting": 1}, {"max_connecting": 4, "max_idle_time": 31.0}])
def test_the_shell_may_sleep_while_checks_are_under_way(options: dict[str, Any]) -> None:
    """What can't be done before a check is answered is no reason to tick: the next tick is later than this one."""
    driver = Driver(ping_after_idle=30.0, **options)
    driver.open(3, 0.0)
    driver.run_until(30.0)
    assert driver.validations
    driver.tick(32.0)
    assert driver.core.wake_at > 32.0


@pytest.mark.parametrize("option", ["max_idle_time", "ping_after_idle"])
def test_the_shell_may_sleep_where_rest_is_not_allowed_at_all(option: str) -> None:
    """A time of zero, where it is accepted, doesn't make the shell tick without a pause."""
    options: dict[str, Any] = {option: 0}
    driver = Driver(**options)
    driver.take(0.0)
    driver.tick(1.0)
    assert driver.core.wake_at > 1.0


def test_a_caller_who_finds_it_being_checked_gets_it_with_the_answer() -> None:
    """It isn't idle meanwhile, and the longest-waiting has it when it has answered."""
    driver = Driver(max_connections=1, ping_after_idle=30.0)
    driver.open(1, 0.0)
    driver.tick(30.0)
    ticket = driver.ask(30.1)
    driver.answer_validations(True, 30.2)
    assert ticket.slot is not None
    assert (State.VALIDATING, State.LEASED) in driver.transitions


def test_being_asked_is_no_use_so_it_does_not_keep_a_connection_alive() -> None:
    """A connection that no caller needs goes after `max_idle_time`, pings or not."""
    driver = Driver(ping_after_idle=30.0, max_idle_time=100.0)
    driver.open(1, 0.0)
    for at in range(1, 100):
        driver.run_until(float(at))
        driver.answer_validations(True, float(at))
    assert driver.reasons == []
    driver.run_until(100.0)
    assert driver.reasons == [Reason.IDLE]
