"""`repair` and a pool's size, its end, and all that was in order before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from redpool.core.pool import PoolCore
from redpool.core.slot import Reason, Slot
from redpool.core.waiters import Ticket

from .invariants import check_emptied, check_step
from .shell import Shell, shell


def test_a_place_too_many_goes_when_it_is_empty() -> None:
    """A resize that was interrupted before the last empty slots were taken away."""
    pool = shell(idle=1)
    pool.core.max_connections = 1
    pool.repair(1.0)
    assert len(pool.core.slots) == 1
    pool.all_can_be_had(2.0)


def test_a_place_too_many_that_is_in_use_goes_when_it_comes_back() -> None:
    """Nothing that comes back may stay until then."""
    pool = shell()
    leases = [pool.lease(1.0) for _ in range(3)]
    pool.core.max_connections = 2
    pool.core.inconsistent = True
    pool.core.repair(2.0)
    pool.collect(2.0)
    check_step(pool, 2.0)
    pool.come_back(*leases[0], 3.0)
    assert pool.reasons == [Reason.SURPLUS]


def test_a_close_that_was_interrupted_is_still_a_close() -> None:
    """Once everything is done, every slot is empty."""
    pool = shell()
    slot, connection = pool.lease(1.0)
    pool.core.shutdown(2.0)
    pool.forget_actions()
    pool.repair(3.0)
    pool.come_back(slot, connection, 4.0)
    pool.close_all(5.0)
    check_emptied(pool)


def test_a_connection_that_came_back_closed_frees_its_slot_though_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller has closed it; the core was interrupted as it was told so."""
    pool = shell()
    slot, _ = pool.lease(1.0)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PoolCore, "_free", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pool.core.release_closed(slot, 2.0, Reason.ERROR)
    pool.repair(3.0)
    pool.close_all(4.0)
    assert slot.connection is None
    pool.all_can_be_had(5.0)


def test_a_repair_that_is_interrupted_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is through, the core counts as inconsistent."""
    pool = shell()
    pool.core.idle.slots.pop()

    def interrupt(core: PoolCore, now: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PoolCore, "_grow", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pool.core.repair(1.0)
    assert pool.core.inconsistent
    pool.repair(2.0)
    assert len(pool.core.idle) == 2


def looks(pool: Shell) -> Any:
    """All that there is to be seen of a core, except when it wants to be woken."""
    core = pool.core
    slots = [tuple(getattr(slot, name) for name in Slot.__slots__) for slot in core.slots]
    tickets = [tuple(getattr(ticket, name) for name in Ticket.__slots__) for ticket in core.waiting()]
    lists = [
        list(each) for each in (core.slots, core.empty, core.idle, core.connector.slots, core.idle.since, core.expired)
    ]
    sets = [set(core.idle.validating), set(core.closing)]
    return slots, tickets, lists, sets, core.steady, core.closed, core.generation, pool.stats(100.0)


def at_rest(pool: Shell) -> None:
    """Two are idle."""


def busy(pool: Shell) -> None:
    """All are on lease, and two wait."""
    for _ in range(3):
        pool.lease(1.0)
    pool.wait(2.0)
    pool.wait(3.0)


def growing(pool: Shell) -> None:
    """One is being connected, another is ordered."""
    pool.drain(1.0)
    pool.close_all(1.0)
    pool.warm_up(2, 2.0)
    pool.begin_connects(2.0, count=1)


def validating(pool: Shell) -> None:
    """One is being asked, another is to be."""
    first, second = pool.core.idle
    pool.core.set_aside(first, begun=False)
    pool.core.set_aside(second, begun=False)
    pool.core.begin_validation(first)
    pool.validations += [first, second]


def draining(pool: Shell) -> None:
    """One is on lease, one is being closed."""
    pool.lease(1.0)
    pool.drain(2.0)


def shrinking(pool: Shell) -> None:
    """There are more on lease than may be."""
    for _ in range(3):
        pool.lease(1.0)
    pool.resize(2, 2.0)


def closed(pool: Shell) -> None:
    """One is on lease, one is being closed."""
    pool.lease(1.0)
    pool.shutdown(2.0)


@pytest.mark.parametrize("prepare", [at_rest, busy, growing, validating, draining, shrinking, closed])
def test_what_was_in_order_stays_as_it_is(prepare: Callable[[Shell], None]) -> None:
    """But for the time to wake; ordered is only what was ordered before and has not begun."""
    pool = shell()
    prepare(pool)
    before = looks(pool)
    asked = len(pool.ordered), len(pool.closes), len(pool.validations), len(pool.woken)
    for now in (50.0, 60.0):
        pool.core.repair(now)
        pool.collect(now)
        assert looks(pool) == before
        assert pool.core.wake_at == now
    assert (len(pool.ordered), len(pool.closes), len(pool.validations), len(pool.woken)) == asked
    check_step(pool, 60.0)
