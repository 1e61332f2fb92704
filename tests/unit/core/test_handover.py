"""Checkout and hand-over: first come, first served, and only to a waiter that is still there."""

from __future__ import annotations

import pytest

from redpool.core.slot import Reason, State
from redpool.core.waiters import TicketState

from .driver import Driver


def test_an_idle_connection_is_leased_at_once_and_nothing_is_ordered() -> None:
    """The usual path: no ticket, no order."""
    driver = Driver()
    slot = driver.take(0.0)
    driver.release(slot, 0.5)
    assert driver.core.acquire(0.6) is slot
    assert slot.state is State.LEASED
    assert slot.since == 0.6
    assert driver.core.outbox == []


def test_a_released_connection_goes_straight_to_the_longest_waiting() -> None:
    """It is never idle in between."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    first, second = driver.ask(0.1), driver.ask(0.2)
    driver.release(slot, 0.5)
    assert driver.woken[-1:] == [first]
    assert (first.state, first.slot) == (TicketState.GRANTED, slot)
    assert second.state is TicketState.WAITING
    assert (State.LEASED, State.LEASED) in driver.transitions
    assert (State.LEASED, State.IDLE) not in driver.transitions


def test_grants_come_in_the_order_of_asking() -> None:
    """Twenty callers, one connection: one after the other."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    asked = [driver.ask(0.01 * number) for number in range(20)]
    served = []
    for number in range(20):
        driver.release(slot, 1.0 + number)
        served.append(driver.woken[-1])
    assert served == asked


def test_a_newcomer_cannot_overtake() -> None:
    """While a caller waits, one that comes later waits behind it, even in the moment of a release."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    waiting = driver.ask(0.1)
    driver.release(slot, 0.5)
    newcomer = driver.ask(0.5)
    assert waiting.slot is slot
    assert newcomer.state is TicketState.WAITING


def test_a_caller_that_leaves_and_asks_again_waits_behind_the_others() -> None:
    """A greedy caller gets one turn in each round."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    other = driver.ask(0.1)
    driver.release(slot, 0.2)
    greedy = driver.ask(0.2)
    assert (other.state, greedy.state) == (TicketState.GRANTED, TicketState.WAITING)


def test_giving_up_first_leaves_the_connection_to_the_next() -> None:
    """The waiter that left is passed over."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    leaver, stayer = driver.ask(0.1), driver.ask(0.2)
    assert driver.give_up(leaver, 0.3) is None
    driver.release(slot, 0.5)
    assert (leaver.state, leaver.slot) == (TicketState.GIVEN_UP, None)
    assert stayer.slot is slot


def test_a_grant_that_was_faster_wins_and_the_slot_is_the_callers() -> None:
    """Giving up after a grant returns the slot; released, it goes on to the next."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    leaver, stayer = driver.ask(0.1), driver.ask(0.2)
    driver.release(slot, 0.5)
    assert driver.give_up(leaver, 0.5) is slot
    assert leaver.state is TicketState.GRANTED
    driver.release(slot, 0.5)
    assert stayer.slot is slot


def test_giving_up_because_time_is_up_is_counted_as_that() -> None:
    """The shell's clock may be ahead of the core's tick: then the ticket times out, once."""
    driver = Driver(max_connections=1, timeout=5.0)
    driver.take(0.0)
    ticket = driver.ask(0.0)
    assert driver.give_up(ticket, 5.0, timed_out=True) is None
    driver.tick(5.0)
    assert ticket.state is TicketState.TIMED_OUT
    assert driver.stats(5.0).timeouts == 1
    assert ticket not in driver.woken


def test_giving_up_twice_changes_nothing() -> None:
    """A ticket ends once."""
    driver = Driver(max_connections=1)
    driver.take(0.0)
    ticket = driver.ask(0.1)
    driver.give_up(ticket, 0.2)
    assert driver.core.give_up(ticket, 0.3, timed_out=True) is None
    assert ticket.state is TicketState.GIVEN_UP
    assert driver.stats(0.3).timeouts == 0


def test_lifo_takes_the_one_that_idle_least() -> None:
    """The newest first: the others may go when the load falls."""
    driver = Driver(order="lifo")
    driver.open(3, 0.0)
    assert [driver.take(0.1).connection.number for _ in range(3)] == [3, 2, 1]


def test_fifo_takes_the_one_that_idle_longest() -> None:
    """All are used in turn."""
    driver = Driver(order="fifo")
    driver.open(3, 0.0)
    assert [driver.take(0.1).connection.number for _ in range(3)] == [1, 2, 3]


def test_random_takes_any_of_them_by_the_seed() -> None:
    """Each is taken sometimes, and the same seed takes the same."""

    def taken(seed: int) -> list[int]:
        driver = Driver(order="random", seed=seed)
        driver.open(3, 0.0)
        numbers = []
        for _ in range(30):
            slot = driver.take(0.1)
            numbers.append(slot.connection.number)
            driver.release(slot, 0.1)
        return numbers

    assert set(taken(1)) == {1, 2, 3}
    assert taken(1) == taken(1)
    assert taken(1) != taken(2)


@pytest.mark.parametrize("fault", [Reason.ERROR, Reason.FORK])
def test_a_faulty_connection_is_closed_for_its_fault_and_replaced_for_a_caller_that_waits(fault: Reason) -> None:
    """It isn't handed on; its slot serves a new connect as soon as it is free."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    ticket = driver.ask(0.1)
    driver.release(slot, 0.5, fault)
    assert ticket.state is TicketState.WAITING
    assert driver.ordered == []
    assert driver.close_all(0.6) == [fault]
    driver.answer_connects(0.7)
    assert ticket.slot is not None
    assert ticket.slot.connection.number == 2


def test_the_holder_of_a_granted_slot_is_the_tickets() -> None:
    """Who waits is known before the connection is, so that a dump can always tell."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    ticket = driver.ask(0.1)
    ticket.borrower = "a caller"
    driver.release(slot, 0.5)
    assert slot.caller == "a caller"
