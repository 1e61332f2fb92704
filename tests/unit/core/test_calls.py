"""A call that goes on beyond its caller's deadline is cut off, where it has not ended by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from redpool.core.policy import CALL_GRACE, CALL_LAST_GRACE
from redpool.core.slot import Reason, Slot

from .driver import Driver

CUT_AFTER = CALL_GRACE + CALL_LAST_GRACE + 1e-9
"""Seconds after its deadline when a call that still goes on has been cut, for certain."""


@dataclass
class Limit:
    """A deadline, as the core sees one."""

    at: float
    over: bool = False
    """its block has been left"""


def driver(count: int = 1) -> Driver:
    """So many connections, which are never asked after."""
    made = Driver(max_connections=count, timeout=None, ping_after_idle=None, max_lifetime=None, max_idle_time=None)
    made.open(count, 0.0)
    return made


def call(pool: Driver, slot: Slot, at: float) -> Limit:
    """A call begins over a connection on lease, within a deadline; the shell notes it so."""
    limit = Limit(at)
    slot.bound(limit)
    pool.core.wake_by(at + CALL_GRACE)
    return limit


def test_a_call_beyond_its_deadline_is_cut_once() -> None:
    """After the grace, so that those that can end by themselves do; not before, and not again."""
    pool = driver()
    slot = pool.take(1.0)
    limit = call(pool, slot, 5.0)
    pool.run_until(5.0 + CALL_GRACE + CALL_LAST_GRACE / 2)
    assert pool.cut_calls == []
    pool.run_until(5.0 + CUT_AFTER)
    assert [tuple(cut) for cut in pool.cut_calls] == [(slot, limit)]
    pool.run_until(1000.0)
    assert len(pool.cut_calls) == 1


def test_a_process_that_was_halted_lets_its_calls_end() -> None:
    """It goes on long after a deadline: the call isn't cut for that, but once it goes on beyond the next look, too."""
    pool = driver(2)
    ends, goes_on = pool.take_many(2, 1.0)
    limit = call(pool, ends, 5.0)
    call(pool, goes_on, 5.0)
    pool.tick(9.0)
    assert pool.cut_calls == []
    limit.over = True
    pool.run_until(9.0 + CUT_AFTER)
    assert [cut.slot for cut in pool.cut_calls] == [goes_on]


def test_the_tick_for_it_comes_in_time() -> None:
    """Also where others come between, and however far it is."""
    pool = driver(2)
    slot = pool.take(1.0)
    call(pool, slot, 500.0)
    pool.tick(2.0)
    assert pool.core.wake_at <= 500.0 + CALL_GRACE
    pool.run_until(499.0)
    other = pool.take(499.0)
    call(pool, other, 499.5)
    pool.run_until(499.5 + CUT_AFTER)
    assert [cut.slot for cut in pool.cut_calls] == [other]
    pool.run_until(500.0 + CUT_AFTER)
    assert [cut.slot for cut in pool.cut_calls] == [other, slot]


def test_a_call_whose_block_was_left_is_not_cut() -> None:
    """It has ended, or goes on outside of the block, where nothing bounds it; and no tick is due for it."""
    pool = driver()
    slot = pool.take(1.0)
    call(pool, slot, 5.0).over = True
    pool.tick(2.0)
    assert pool.core.wake_at > 5.0 + CALL_GRACE or pool.core.wake_at < 5.0
    pool.run_until(100.0)
    assert pool.cut_calls == []


@pytest.mark.parametrize("waiting", [False, True], ids=["from idle", "handed over"])
def test_the_next_lease_is_not_cut(waiting: bool) -> None:
    """It is another caller's, who may have no deadline; the block of the one before may still go on."""
    pool = driver()
    slot = pool.take(1.0)
    call(pool, slot, 5.0)
    if waiting:
        pool.ask(2.0)
    pool.release(slot, 3.0)
    if not waiting:
        assert pool.take(4.0) is slot
    pool.run_until(100.0)
    assert pool.cut_calls == []


def test_what_is_not_on_lease_is_not_cut() -> None:
    """Idle or closing: there is no call."""
    pool = driver(2)
    idle, closing = pool.take_many(2, 1.0)
    for slot in (idle, closing):
        call(pool, slot, 5.0)
    pool.release(idle, 2.0)
    pool.release(closing, 2.0, Reason.ERROR)
    pool.run_until(100.0)
    assert pool.cut_calls == []


def test_the_latest_call_of_a_lease_counts() -> None:
    """A new block over the same connection has a deadline of its own."""
    pool = driver()
    slot = pool.take(1.0)
    call(pool, slot, 5.0).over = True
    latest = call(pool, slot, 9.0)
    pool.run_until(100.0)
    assert [cut.limit for cut in pool.cut_calls] == [latest]


def test_a_new_connection_in_the_same_place_is_not_cut() -> None:
    """The one before was closed while its call was under way."""
    pool = driver()
    slot = pool.take(1.0)
    call(pool, slot, 5.0)
    pool.release(slot, 2.0, Reason.ERROR)
    pool.close_all(2.0)
    assert pool.take(3.0) is slot
    pool.run_until(100.0)
    assert pool.cut_calls == []


def test_a_deadline_at_infinity_never_comes() -> None:
    """Nothing is due for it."""
    pool = driver()
    call(pool, pool.take(1.0), math.inf)
    pool.run_until(10_000.0)
    assert pool.cut_calls == []
