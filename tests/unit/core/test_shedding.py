"""`shed="codel"`: a standing queue is shortened, a burst is not; one that would come too late learns it at once."""

from __future__ import annotations

import math

import pytest

from redpool.core.recent import TimeInFlight
from redpool.core.shedding import INTERVAL, TARGET, Shedding
from redpool.core.slot import Slot
from redpool.core.waiters import Ticket, TicketState
from redpool.errors import PoolOverloaded

from .driver import Driver


def full(uses: float = 0.001) -> tuple[Driver, Slot]:
    """A pool of one connection, in use, whose uses have lasted so long."""
    driver = Driver(max_connections=1, timeout=5.0, shed="codel")
    slot = driver.take(0.0)
    for _ in range(40):
        driver.core.counters.use.add(uses)
    return driver, slot


def turns(driver: Driver, slot: Slot, tickets: list[Ticket], first: float, every: float) -> list[TicketState]:
    """Release the connection at intervals, as long as callers wait; what has become of each."""
    now = first
    while driver.core.queue.tickets:
        driver.release(slot, now)
        now += every
    return [ticket.state for ticket in tickets]


def test_a_burst_is_served_however_long_it_takes() -> None:
    """Its last caller but one waits eight times the target; by then a short wait was seen in the same interval."""
    driver, slot = full()
    tickets = [driver.ask(0.0) for _ in range(20)]
    states = turns(driver, slot, tickets, 0.002, 0.002)
    assert states == [TicketState.GRANTED] * 20
    assert driver.stats(0.1).shed == 0


def test_of_a_standing_queue_those_that_have_waited_too_long_are_turned_away() -> None:
    """Where the shortest wait of an interval is above the target, those that have waited twice that are turned away."""
    driver, slot = full()
    stale = [driver.ask(0.0) for _ in range(4)]
    driver.release(slot, 0.05)  # this one has waited 50 ms: the shortest wait of the interval that begins
    driver.release(slot, 0.1)
    assert [ticket.state for ticket in stale[:2]] == [TicketState.GRANTED] * 2
    now = 0.05 + INTERVAL
    fresh = driver.ask(now - TARGET)
    driver.release(slot, now)
    assert [ticket.state for ticket in stale[2:]] == [TicketState.REJECTED] * 2
    assert all(type(ticket.error) is PoolOverloaded for ticket in stale[2:])
    assert "waited 0.150 s" in str(stale[2].error)
    assert set(stale[2:]) <= set(driver.woken)
    assert fresh.state is TicketState.GRANTED
    assert driver.stats(now).shed == 2


def test_the_last_waiter_always_goes() -> None:
    """However long it has waited: else a pool could stay shut."""
    driver, slot = full()
    first, second = driver.ask(0.0), driver.ask(0.0)
    driver.release(slot, 0.05)
    driver.release(slot, 0.05 + INTERVAL)
    assert first.state is second.state is TicketState.GRANTED


def test_a_queue_that_was_empty_does_not_stand() -> None:
    """A caller that finds no other waiting begins a new queue."""
    driver, slot = full()
    driver.ask(0.0)
    driver.release(slot, 0.05)
    again = [driver.ask(0.06) for _ in range(3)]
    assert turns(driver, slot, again, 0.05 + INTERVAL, 0.02) == [TicketState.GRANTED] * 3


def test_of_a_time_without_turns_nothing_is_known() -> None:
    """A server that stood still has no standing queue yet when it goes on."""
    driver, slot = full()
    tickets = [driver.ask(0.0) for _ in range(3)]
    driver.release(slot, 0.05)
    driver.release(slot, 0.05 + 3 * INTERVAL)
    assert [ticket.state for ticket in tickets[:2]] == [TicketState.GRANTED] * 2


def test_a_caller_that_would_come_too_late_fails_at_once() -> None:
    """With uses of 100 ms and one ahead of it, 250 ms are too short, and 350 ms are enough."""
    driver, _ = full(uses=0.1)
    driver.ask(0.0)
    late = driver.ask(0.0)
    driver.core.bound(late, 0.25, 0.0)
    assert late.state is TicketState.REJECTED
    assert type(late.error) is PoolOverloaded
    driver.waiting.remove(late)
    in_time = driver.ask(0.0)
    driver.core.bound(in_time, 0.35, 0.0)
    assert in_time.state is TicketState.WAITING


def test_so_is_one_whose_own_timeout_is_too_short() -> None:
    """One is ahead of it, uses last 3 seconds, and its `timeout` is 5: it would wait for 6."""
    driver, _ = full(uses=3.0)
    states = []
    for _ in range(3):
        ticket = driver.ask(0.0)
        driver.core.bound(ticket, math.inf, 0.0)
        states.append(ticket.state)
    assert states == [TicketState.WAITING, TicketState.REJECTED, TicketState.REJECTED]


@pytest.mark.parametrize("max_connections", [1, 2])
def test_no_caller_fails_for_which_a_connection_may_be_free(max_connections: int) -> None:
    """Nor one that is alone in the queue, whatever its deadline."""
    driver = Driver(max_connections=max_connections, shed="codel")
    driver.take(0.0)
    driver.core.counters.use.add(1.0)
    alone = driver.ask(0.0)
    driver.core.bound(alone, 0.01, 0.0)
    assert alone.state is TicketState.WAITING


def test_at_its_turn_a_caller_fails_for_which_too_little_is_left() -> None:
    """Its deadline comes within a use; the one behind it has time."""
    driver, slot = full(uses=0.1)
    short = driver.ask(0.0)
    driver.core.bound(short, 0.15, 0.0)
    long = driver.ask(0.0)
    driver.release(slot, 0.1)
    assert short.state is TicketState.REJECTED
    assert long.state is TicketState.GRANTED


def test_without_the_option_none_is_turned_away() -> None:
    """The default: waiters are served in their order, however long they have waited."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    tickets = [driver.ask(0.0) for _ in range(4)]
    assert turns(driver, slot, tickets, 1.0, 0.2) == [TicketState.GRANTED] * 4


def test_over_shared_connections_a_use_is_the_time_in_flight() -> None:
    """By those in flight and those answered: 400 at 8 000 a second are 50 ms, so that the target is twice that."""
    flights = TimeInFlight()
    shedding = Shedding(flights, 0.0)
    flights.look(400, 0, 0.0)
    flights.look(400, 240, 0.03)
    assert shedding.target == TARGET
    flights.look(400, 800, 0.1)
    assert shedding.target == pytest.approx(0.1)
    flights.look(400, 800, 0.2)  # the server stands still
    assert shedding.usual_use == pytest.approx(0.05)
    flights.look(400, 801, 9.0)  # the connections weren't full meanwhile
    assert shedding.usual_use == pytest.approx(0.05)
    flights.look(400, 4801, 9.125)
    assert shedding.target == pytest.approx(0.025)
