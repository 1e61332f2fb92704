"""Whatever an exception has left half-done, `repair` puts in order: every list agrees, and no slot is lost.

The halves are made by hand, each as it is between two steps of the core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from redpool.core.actions import CutConnect, Wake
from redpool.core.slot import Reason, Slot, State
from redpool.core.waiters import Ticket, TicketState

from .driver import Connection
from .invariants import check_step
from .shell import Shell, shell

# -- idle --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("idle_since", [False, True])
def test_popped_but_still_idle(idle_since: bool) -> None:
    """A checkout that was interrupted between the list and the state: the connection is idle as before."""
    pool = shell()
    slot = pool.core.idle.slots.pop()
    if idle_since:
        pool.core.idle.since.pop()
    pool.repair(1.0)
    assert slot in pool.core.idle
    assert len(pool.core.idle) == 2
    pool.all_can_be_had(2.0)


def test_idle_but_not_listed_yet() -> None:
    """A release that was interrupted between the state and the list."""
    pool = shell()
    slot, connection = pool.lease(1.0)
    slot.connection, slot.state = connection, State.IDLE
    pool.repair(2.0)
    assert set(pool.numbers()) == {1, 2}
    pool.all_can_be_had(3.0)


@pytest.mark.parametrize("entries", [[], [0.0], [0.0, 0.5, 0.7]])
def test_rest_out_of_step(entries: list[float]) -> None:
    """As many entries as there are connections at rest; those that were there stay, the oldest first."""
    pool = shell()
    pool.core.idle.since.clear()
    pool.core.idle.since.extend(entries)
    pool.repair(1.0)
    assert list(pool.core.idle.since) == [*entries[:2], *[1.0] * (2 - len(entries))]


def test_the_order_of_rest_is_kept() -> None:
    """The connection that was idle longest still is."""
    pool = shell(idle=3)
    before = pool.numbers()
    pool.repair(1.0)
    assert pool.numbers() == before


def test_idle_while_a_caller_waits() -> None:
    """The longest-waiting has it, and the next the next."""
    pool = shell(idle=3)
    leases = [pool.lease(1.0) for _ in range(3)]
    waiting = [pool.wait(2.0 + number) for number in range(2)]
    for slot, connection in leases[:2]:
        slot.connection, slot.state = connection, State.IDLE
        pool.core.idle.slots.append(slot)
        pool.core.idle.since.append(5.0)
    pool.repair(6.0)
    assert [ticket.state for ticket in waiting] == [TicketState.GRANTED] * 2
    assert pool.woken == waiting
    assert not pool.core.idle


# -- on lease ----------------------------------------------------------------------------------------------------------


def test_on_lease_but_never_handed_out() -> None:
    """A checkout that was interrupted after the core had decided: no caller has the connection, so it is closed."""
    pool = shell()
    slot = pool.core.acquire(1.0)
    pool.repair(2.0)
    assert [(order.slot, order.reason) for order in pool.closes] == [(slot, Reason.ERROR)]
    pool.all_can_be_had(3.0)


def test_a_release_that_has_counted_the_lease() -> None:
    """It was interrupted before it said what becomes of the connection: the lease isn't counted twice."""
    pool = shell()
    slot, connection = pool.lease(1.0)
    slot.connection, slot.borrower = connection, None
    pool.core.recorder.end(slot.since, 2.0)
    pool.repair(3.0)
    assert pool.stats(4.0).released == 1
    assert pool.reasons == [Reason.ERROR]


def test_a_lease_that_was_taken_is_left_alone() -> None:
    """Its holder has it, and gives it back as ever."""
    pool = shell()
    slot, connection = pool.lease(1.0)
    pool.repair(2.0)
    assert (slot.state, slot.since, pool.closes) == (State.LEASED, 1.0, [])
    pool.come_back(slot, connection, 3.0)
    assert pool.numbers() == [1, 2]
    pool.all_can_be_had(4.0)


def test_a_dead_hold() -> None:
    """The connection was collected, and word of it was lost: the slot is reclaimed, and the leak reported."""
    pool = shell()
    slot, _ = pool.lease(1.0)
    slot.reference = lambda: None
    pool.repair(5.0)
    assert [(leak.slot, leak.age, leak.borrower, leak.dropped) for leak in pool.leaks] == [
        (slot, 4.0, "a caller", True)
    ]
    assert pool.reasons == [Reason.LEAKED]
    pool.all_can_be_had(6.0)


def test_a_tick_finds_a_dead_hold_too() -> None:
    """Where nothing else happens."""
    pool = shell()
    slot, _ = pool.lease(1.0)
    slot.reference = lambda: None
    pool.tick(5.0)
    check_step(pool, 5.0)
    assert pool.reasons == [Reason.LEAKED]


def test_the_first_grant_of_all_was_interrupted() -> None:
    """Its caller had waited: its lease is counted, though no release ends it."""
    pool = Shell(max_connections=1)
    ticket = pool.wait(0.0)
    pool.run_until(0.1)
    pool.answer_connects(0.1)
    assert ticket.slot is not None
    ticket.slot.borrower = "a caller"  # it has accepted the grant, and was about to take the connection out
    pool.repair(0.2)
    stats = pool.stats(1.0)
    assert (stats.acquired, stats.waited, stats.wait.count) == (1, 1, 1)
    assert pool.core.distributions().wait.count == 1


# -- grants ------------------------------------------------------------------------------------------------------------

# `PoolCore._grant`, step by step.
GRANT: list[Callable[[Any, Slot, Ticket], None]] = [
    lambda core, slot, ticket: setattr(ticket, "slot", slot),
    lambda core, slot, ticket: setattr(slot, "borrower", ticket),
    lambda core, slot, ticket: setattr(ticket, "state", TicketState.GRANTED),
    lambda core, slot, ticket: setattr(slot, "lease", slot.lease + 1),
    lambda core, slot, ticket: setattr(slot, "state", State.LEASED),
    lambda core, slot, ticket: setattr(slot, "since", 4.0),
    lambda core, slot, ticket: core.queue.tickets.pop(ticket),
]


@pytest.mark.parametrize("steps", range(1, len(GRANT) + 1))
@pytest.mark.parametrize("state", [State.LEASED, State.IDLE, State.VALIDATING, State.CONNECTING])
def test_granted_half_way(state: State, steps: int) -> None:
    """A caller that was being given a connection has it, by a lease of its own, and is woken; the next one waits on."""
    pool = shell(idle=1, max_connections=1)
    slot, connection = pool.lease(0.0)
    ticket, other = pool.wait(1.0), pool.wait(2.0)
    slot.connection, slot.state = connection, state
    pool.transitions.clear()
    for step in GRANT[:steps]:
        step(pool.core, slot, ticket)
    pool.repair(5.0)
    assert (ticket.state, ticket.slot, pool.woken) == (TicketState.GRANTED, slot, [ticket])
    assert (slot.state, slot.borrower) == (State.LEASED, ticket)
    assert slot.since in (4.0, 5.0)
    assert list(pool.core.queue) == [other]
    slot.connection = None
    pool.come_back(slot, connection, 6.0)
    assert pool.woken == [ticket, other]


def test_a_ticket_that_no_caller_has_learned_of() -> None:
    """A checkout that was interrupted before its caller got the ticket: it has left, and keeps no caller waiting."""
    pool = shell(idle=1, max_connections=1)
    slot, connection = pool.lease(0.0)
    ticket, other = pool.ask(1.0), pool.wait(2.0)
    pool.waiting.remove(ticket)
    pool.repair(3.0)
    assert (ticket.state, list(pool.core.queue)) == (TicketState.GIVEN_UP, [other])
    pool.come_back(slot, connection, 4.0)
    assert pool.woken == [other]


def test_a_caller_who_was_woken_but_has_not_come_yet_is_woken_again() -> None:
    """Its connection waits for it."""
    pool = shell(idle=1, max_connections=1)
    slot, connection = pool.lease(0.0)
    ticket = pool.wait(1.0)
    pool.come_back(slot, connection, 2.0)
    pool.repair(3.0)
    assert (pool.woken, pool.again, slot.borrower) == ([ticket], [Wake(ticket)], ticket)


def test_a_lease_that_may_connect_but_does_not_know_it_connects_not() -> None:
    """Its caller was interrupted before it learned of its ticket: it can't be woken, and takes no other's turn."""
    pool = Shell(max_connections=1, max_connecting=1)
    ticket = pool.core.ask_to_connect(0.0)
    assert pool.core.connector.leases
    pool.core.inconsistent = True
    pool.core.repair(1.0)
    assert (pool.core.take_actions(), pool.core.connector.leases) == ([], {})
    other = pool.core.ask_to_connect(2.0)
    assert (ticket.state, other.state) == (TicketState.GRANTED, TicketState.GRANTED)


def test_a_lease_whose_turn_has_come_is_woken() -> None:
    """It was interrupted between the two: that it connects is known, and its caller is woken."""
    pool = Shell(max_connections=1, max_connecting=1)
    first = pool.core.ask_to_connect(0.0)
    first.waker = "the first"
    waiting = pool.core.ask_to_connect(1.0)
    waiting.waker = "the second"
    pool.forget_actions()
    pool.core.lease_connected(first, 2.0)
    pool.forget_actions()
    pool.core.queue.reconnects[waiting] = None  # as it is half-way through
    waiting.state = TicketState.WAITING
    pool.repair(3.0)
    assert (pool.woken, waiting.state, list(pool.core.queue.reconnects)) == ([waiting], TicketState.GRANTED, [])


# -- orders ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [False, True])
def test_closing_without_its_order(listed: bool) -> None:
    """It is ordered anew, with the connection that is to be closed."""
    pool = shell()
    slot = pool.core.idle.slots.pop()
    pool.core.idle.since.pop()
    pool.core._close(slot, Reason.IDLE, 1.0)
    pool.forget_actions()
    if not listed:
        pool.core.closing.discard(slot)
    pool.repair(2.0)
    assert [(order.slot, order.connection) for order in pool.closes] == [(slot, slot.connection)]
    pool.all_can_be_had(3.0)


@pytest.mark.parametrize("listed", [False, True])
def test_connecting_without_its_order(listed: bool) -> None:
    """It is ordered anew, and the caller for whom it was meant is served."""
    pool = Shell(max_connections=1)
    pool.core.warm_up(1, 0.0, 9.0)
    (slot,) = pool.core.slots
    assert slot.state is State.CONNECTING
    pool.forget_actions()
    if not listed:
        del pool.core.connector.slots[slot]
    pool.repair(1.0)
    assert pool.ordered == [slot]
    pool.all_can_be_had(2.0)


def test_a_connect_that_has_begun_is_not_ordered_again() -> None:
    """The borrower that connects anew reports its end; a connection that is to be cut is cut."""
    pool = Shell(max_connections=2)
    pool.warm_up(2, 0.0)
    first, second = pool.begin_connects(1.0)
    pool.core._cut_connect(second)
    assert pool.core.take_actions() == [CutConnect(second)]
    pool.repair(2.0)
    assert (pool.ordered, pool.cuts) == ([], [second])
    assert first in pool.begun
    pool.fail_connects(OSError("cut"), 3.0)
    check_step(pool, 3.0)


@pytest.mark.parametrize("listed", [False, True])
def test_checking_without_its_order(listed: bool) -> None:
    """It is ordered anew; no caller gets the connection before it has answered."""
    pool = shell()
    slot = pool.core.idle.slots[0]
    pool.core.set_aside(slot, begun=False)
    if not listed:
        pool.core.idle.validating.discard(slot)
    pool.repair(1.0)
    assert pool.validations == [slot]
    pool.all_can_be_had(2.0)


def test_a_check_that_has_begun_is_not_ordered_again() -> None:
    """The caller that validates reports the answer."""
    pool = shell()
    slot = pool.core.idle.slots[0]
    pool.core.set_aside(slot)
    pool.core.repair(1.0)
    assert pool.core.take_actions() == []
    pool.core.validated(slot, True, 2.0)
    pool.repair(3.0)
    assert len(pool.core.idle) == 2


def test_an_order_that_is_given_twice_is_carried_out_once() -> None:
    """Of two connects, two checks, two closes in the same slot the second comes to nothing."""
    pool = Shell(max_connections=1)
    core = pool.core
    core.warm_up(1, 0.0, 9.0)
    (slot,) = core.slots
    assert [core.begin_connect(slot, 1.0), core.begin_connect(slot, 1.0)] == [True, False]
    core.connected(slot, Connection(1), 2.0)
    assert core.begin_connect(slot, 2.0) is False
    core.set_aside(slot, begun=False)
    assert [core.begin_validation(slot), core.begin_validation(slot)] == [True, False]
    core.validated(slot, True, 3.0)
    core.validated(slot, False, 3.0)
    assert core.begin_validation(slot) is False
    assert slot.state is State.IDLE
    core.drain(4.0)
    core.closed_connection(slot, 5.0)
    core.closed_connection(slot, 5.0)
    assert (slot.state, core.empty) == (State.EMPTY, [slot])
