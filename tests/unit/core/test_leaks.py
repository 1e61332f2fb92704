"""A connection held for longer than `leak_after` is reported: once for each lease."""

from __future__ import annotations

import pytest

from redpool.core.actions import Close

from .driver import Driver


def test_a_lease_is_reported_once_when_it_is_too_old() -> None:
    """A tick is due just then; the report has the age."""
    driver = Driver(leak_after=10.0, ping_after_idle=None)
    slot = driver.take(1.0)
    driver.run_until(10.9)
    assert driver.leaks == []
    driver.run_until(60.0)
    assert [(leak.slot, leak.age) for leak in driver.leaks] == [(slot, 10.0)]
    assert driver.stats(60.0).leaks == 1


def test_a_lease_that_ends_in_time_is_not_reported() -> None:
    """Nor is an idle connection, or one that is handed on."""
    driver = Driver(leak_after=10.0, max_connections=1, timeout=None)
    slot = driver.take(0.0)
    driver.ask(1.0)
    driver.release(slot, 9.0)
    driver.run_until(18.0)
    driver.release(slot, 18.0)
    driver.run_until(25.0)
    assert driver.leaks == []


def test_the_longest_held_is_reported_first() -> None:
    """Those that are due at the same tick."""
    driver = Driver(leak_after=10.0)
    driver.open(2, 0.0)
    older, newer = driver.take(1.0), driver.take(2.0)
    driver.tick(20.0)
    assert [leak.slot for leak in driver.leaks] == [older, newer]


def test_the_next_lease_of_the_same_connection_is_reported_again() -> None:
    """Once is once for each lease, not for each connection."""
    driver = Driver(leak_after=10.0, ping_after_idle=None)
    slot = driver.take(0.0)
    driver.run_until(20.0)
    driver.release(slot, 20.0)
    assert driver.take(21.0) is slot
    driver.run_until(40.0)
    assert [leak.age for leak in driver.leaks] == [10.0, 10.0]


def test_a_handed_over_connection_is_watched_again_too() -> None:
    """The lease of the waiter is a lease of its own."""
    driver = Driver(leak_after=10.0, max_connections=1, timeout=None)
    slot = driver.take(0.0)
    driver.run_until(20.0)
    driver.ask(20.0)
    driver.release(slot, 21.0)
    driver.run_until(40.0)
    assert len(driver.leaks) == 2


def test_without_leak_after_nothing_is_reported() -> None:
    """It is off unless asked for."""
    driver = Driver()
    driver.take(0.0)
    driver.tick(1e6)
    assert driver.leaks == []


@pytest.mark.parametrize("end", ["close", "shutdown"])
def test_a_pool_that_ends_looks_for_leases_that_were_dropped_unnoticed(end: str) -> None:
    """Where the word of a collected connection was lost, its slot is closed with the others, not a minute later."""
    driver = Driver(max_connections=2)
    dropped, kept = driver.take_many(2, 0.0)
    connection = kept.connection
    for slot in (dropped, kept):
        slot.connection = None  # as while a caller has it
    dropped.reference, kept.reference = lambda: None, lambda: connection
    getattr(driver.core, end)(1.0)
    assert [action.slot for action in driver.core.take_actions() if isinstance(action, Close)] == [dropped]
