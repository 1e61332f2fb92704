"""Whatever an exception has left half-done, `recover` puts in order: every list agrees, and no place is lost.

The halves are made by hand, each as it is between two steps of the core. As a shell does, whoever gets a connection
takes it out of its slot, and whoever gets a ticket gives it what wakes him.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from redpool.core.orders import AnyOrder, Check, Close, CutDial, Dial, Wake
from redpool.core.slot import Reason, Slot, State
from redpool.core.ticket import Ticket, TicketState

from .driver import Connection, Driver
from .invariants import check_emptied, check_step


class Shell(Driver):
    """A driver that takes connections out, and to whom an order may be given again."""

    def __init__(self, **options: Any) -> None:
        super().__init__(timeout=None, ping_after_idle=None, **options)
        self.again: list[AnyOrder] = []
        """the orders that it knew already"""

    def collect(self, now: float) -> None:
        """As the driver does, those aside that were given before."""
        orders = self.core.take_orders()
        self.again += [order for order in orders if self._knows(order)]
        self.core.outbox = [order for order in orders if not self._knows(order)]
        super().collect(now)

    def _knows(self, order: AnyOrder) -> bool:
        if isinstance(order, Dial):
            return order.slot in (*self.ordered, *self.begun)
        if isinstance(order, Check):
            return order.slot in self.checks
        if isinstance(order, Close):
            return order.slot in [each.slot for each in self.closes]
        return isinstance(order, Wake) and order.ticket in self.woken

    def _file(self, order: AnyOrder) -> None:
        if isinstance(order, Close):  # of a connection that was collected there is nothing to close
            self.closes.append(order)
        else:
            super()._file(order)

    def lease(self, now: float) -> tuple[Slot, Connection]:
        """A connection that somebody has taken, and so keeps."""
        slot = self.take(now)
        connection = slot.connection
        slot.connection, slot.holder, slot.hold = None, "somebody", lambda: connection
        return slot, connection

    def wait(self, now: float) -> Ticket:
        """Somebody who waits, and knows it."""
        ticket = self.ask(now)
        ticket.waker = ticket.holder = "somebody"
        return ticket

    def come_back(self, slot: Slot, connection: Connection, now: float) -> None:
        """Give back what was taken."""
        slot.connection = connection
        self.give(slot, now)

    def forget_orders(self) -> None:
        """What was ordered is lost."""
        self.core.take_orders()

    def recover(self, now: float) -> None:
        """Put the core in order, and see that it is."""
        self.core.torn = True
        self.core.recover(now)
        assert not self.core.torn
        assert self.core.wake_at == now
        self.collect(now)
        check_step(self, now)
        assert len(self.core.slots) == self.core.max_connections

    def all_can_be_had(self, now: float) -> None:
        """Every place is good for a connection, once all that is under way has ended."""
        while self.ordered or self.begun or self.checks or self.closes:
            self.answer_dials(now)
            self.answer_checks(True, now)
            self.close_all(now)
        free = self.core.max_connections - self.core.in_use
        taken = self.take_many(free, now)
        assert len(set(taken)) == free
        check_step(self, now)


def shell(idle: int = 2, max_connections: int = 3) -> Shell:
    """A shell with so many idle connections."""
    made = Shell(max_connections=max_connections)
    made.open(idle, 0.0)
    made.woken.clear()
    return made


# -- idle --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rested", [False, True])
def test_popped_but_still_idle(rested: bool) -> None:
    """A checkout that was struck between the list and the state: the connection is idle as before."""
    pool = shell()
    slot = pool.core.idle.pop()
    if rested:
        pool.core.rested.pop()
    pool.recover(1.0)
    assert slot in pool.core.idle
    assert len(pool.core.idle) == 2
    pool.all_can_be_had(2.0)


def test_idle_but_not_listed_yet() -> None:
    """A release that was struck between the state and the list."""
    pool = shell()
    slot, connection = pool.lease(1.0)
    slot.connection, slot.state = connection, State.IDLE
    pool.recover(2.0)
    assert set(pool.numbers()) == {1, 2}
    pool.all_can_be_had(3.0)


@pytest.mark.parametrize("entries", [[], [0.0], [0.0, 0.5, 0.7]])
def test_rest_out_of_step(entries: list[float]) -> None:
    """As many entries as there are connections at rest; those that were there stay, the oldest first."""
    pool = shell()
    pool.core.rested.clear()
    pool.core.rested.extend(entries)
    pool.recover(1.0)
    assert list(pool.core.rested) == [*entries[:2], *[1.0] * (2 - len(entries))]


def test_the_order_of_rest_is_kept() -> None:
    """Who rested longest still does."""
    pool = shell(idle=3)
    before = pool.numbers()
    pool.recover(1.0)
    assert pool.numbers() == before


def test_idle_while_somebody_waits() -> None:
    """The longest-waiting has it, and the next the next."""
    pool = shell(idle=3)
    leases = [pool.lease(1.0) for _ in range(3)]
    waiting = [pool.wait(2.0 + number) for number in range(2)]
    for slot, connection in leases[:2]:
        slot.connection, slot.state = connection, State.IDLE
        pool.core.idle.append(slot)
        pool.core.rested.append(5.0)
    pool.recover(6.0)
    assert [ticket.state for ticket in waiting] == [TicketState.GRANTED] * 2
    assert pool.woken == waiting
    assert pool.core.idle == []


# -- on lease ----------------------------------------------------------------------------------------------------------


def test_on_lease_but_never_handed_out() -> None:
    """A checkout that was struck after the core had decided: nobody has the connection, so it is closed."""
    pool = shell()
    slot = pool.core.acquire(1.0)
    pool.recover(2.0)
    assert [(order.slot, order.reason) for order in pool.closes] == [(slot, Reason.ERROR)]
    pool.all_can_be_had(3.0)


def test_a_lease_that_was_taken_is_left_alone() -> None:
    """Its holder has it, and gives it back as ever."""
    pool = shell()
    slot, connection = pool.lease(1.0)
    pool.recover(2.0)
    assert (slot.state, slot.since, pool.closes) == (State.LEASED, 1.0, [])
    pool.come_back(slot, connection, 3.0)
    assert pool.numbers() == [1, 2]
    pool.all_can_be_had(4.0)


def test_a_dead_hold() -> None:
    """The connection was collected, and word of it was lost: the place is taken back, and it is told as a leak."""
    pool = shell()
    slot, _ = pool.lease(1.0)
    slot.hold = lambda: None
    pool.recover(5.0)
    assert [(leak.slot, leak.age, leak.holder, leak.dropped) for leak in pool.leaks] == [(slot, 4.0, "somebody", True)]
    assert pool.reasons == [Reason.ABANDONED]
    pool.all_can_be_had(6.0)


def test_a_tick_finds_a_dead_hold_too() -> None:
    """Where nothing else happens."""
    pool = shell()
    slot, _ = pool.lease(1.0)
    slot.hold = lambda: None
    pool.tick(5.0)
    check_step(pool, 5.0)
    assert pool.reasons == [Reason.ABANDONED]


# -- grants ------------------------------------------------------------------------------------------------------------

# `PoolCore._grant`, step by step.
GRANT: list[Callable[[Any, Slot, Ticket], None]] = [
    lambda core, slot, ticket: setattr(ticket, "slot", slot),
    lambda core, slot, ticket: setattr(slot, "holder", ticket),
    lambda core, slot, ticket: setattr(ticket, "state", TicketState.GRANTED),
    lambda core, slot, ticket: setattr(slot, "state", State.LEASED),
    lambda core, slot, ticket: setattr(slot, "since", 4.0),
    lambda core, slot, ticket: core.queue.tickets.pop(ticket),
]


@pytest.mark.parametrize("steps", range(1, len(GRANT) + 1))
@pytest.mark.parametrize("state", [State.LEASED, State.IDLE, State.CHECKING, State.DIALLING])
def test_granted_half_way(state: State, steps: int) -> None:
    """Whoever was being given a connection has it, by a lease of his own, and is woken; the next one waits on."""
    pool = shell(idle=1, max_connections=1)
    slot, connection = pool.lease(0.0)
    ticket, other = pool.wait(1.0), pool.wait(2.0)
    slot.connection, slot.state = connection, state
    pool.transitions.clear()
    for step in GRANT[:steps]:
        step(pool.core, slot, ticket)
    pool.recover(5.0)
    assert (ticket.state, ticket.slot, pool.woken) == (TicketState.GRANTED, slot, [ticket])
    assert (slot.state, slot.holder) == (State.LEASED, ticket)
    assert slot.since in (4.0, 5.0)
    assert list(pool.core.queue) == [other]
    slot.connection = None
    pool.come_back(slot, connection, 6.0)
    assert pool.woken == [ticket, other]


def test_a_ticket_that_nobody_has_learned_of() -> None:
    """A checkout that was struck before its caller got the ticket: he has left, and keeps nobody waiting."""
    pool = shell(idle=1, max_connections=1)
    slot, connection = pool.lease(0.0)
    ticket, other = pool.ask(1.0), pool.wait(2.0)
    pool.line.remove(ticket)
    pool.recover(3.0)
    assert (ticket.state, list(pool.core.queue)) == (TicketState.GIVEN_UP, [other])
    pool.come_back(slot, connection, 4.0)
    assert pool.woken == [other]


def test_a_caller_who_was_woken_but_has_not_come_yet_is_woken_again() -> None:
    """His connection waits for him."""
    pool = shell(idle=1, max_connections=1)
    slot, connection = pool.lease(0.0)
    ticket = pool.wait(1.0)
    pool.come_back(slot, connection, 2.0)
    pool.recover(3.0)
    assert (pool.woken, pool.again, slot.holder) == ([ticket], [Wake(ticket)], ticket)


# -- orders ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [False, True])
def test_closing_without_its_order(listed: bool) -> None:
    """It is ordered anew, with the connection that is to be closed."""
    pool = shell()
    slot = pool.core.idle.pop()
    pool.core.rested.pop()
    pool.core.close_slot(slot, Reason.IDLE, 1.0)
    pool.forget_orders()
    if not listed:
        pool.core.closing.discard(slot)
    pool.recover(2.0)
    assert [(order.slot, order.connection) for order in pool.closes] == [(slot, slot.connection)]
    pool.all_can_be_had(3.0)


@pytest.mark.parametrize("listed", [False, True])
def test_dialling_without_its_order(listed: bool) -> None:
    """It is ordered anew, and the caller for whom it was meant is served."""
    pool = Shell(max_connections=1)
    pool.core.warm_up(1, 0.0, 9.0)
    (slot,) = pool.core.slots
    assert slot.state is State.DIALLING
    pool.forget_orders()
    if not listed:
        del pool.core.dialling.slots[slot]
    pool.recover(1.0)
    assert pool.ordered == [slot]
    pool.all_can_be_had(2.0)


def test_a_dial_that_has_begun_is_not_ordered_again() -> None:
    """Whoever dials answers for it; one that is to be cut is cut."""
    pool = Shell(max_connections=2)
    pool.warm_up(2, 0.0)
    first, second = pool.begin_dials(1.0)
    pool.core.cut_dial(second)
    assert pool.core.take_orders() == [CutDial(second)]
    pool.recover(2.0)
    assert (pool.ordered, pool.cuts) == ([], [second])
    assert first in pool.begun
    pool.fail_dials(OSError("cut"), 3.0)
    check_step(pool, 3.0)


@pytest.mark.parametrize("listed", [False, True])
def test_checking_without_its_order(listed: bool) -> None:
    """It is ordered anew; nobody gets the connection before it has answered."""
    pool = shell()
    slot = pool.core.idle[0]
    pool.core.set_aside(slot, begun=False)
    if not listed:
        pool.core.checking.discard(slot)
    pool.recover(1.0)
    assert pool.checks == [slot]
    pool.all_can_be_had(2.0)


def test_a_check_that_has_begun_is_not_ordered_again() -> None:
    """Whoever asks says how it was answered."""
    pool = shell()
    slot = pool.core.idle[0]
    pool.core.set_aside(slot)
    pool.core.recover(1.0)
    assert pool.core.take_orders() == []
    pool.core.checked(slot, True, 2.0)
    pool.recover(3.0)
    assert len(pool.core.idle) == 2


def test_an_order_that_is_given_twice_is_carried_out_once() -> None:
    """Of two dials, two checks, two closes in the same slot the second comes to nothing."""
    pool = Shell(max_connections=1)
    core = pool.core
    core.warm_up(1, 0.0, 9.0)
    (slot,) = core.slots
    assert [core.begin_dial(slot, 1.0), core.begin_dial(slot, 1.0)] == [True, False]
    core.dialed(slot, Connection(1), 2.0)
    assert core.begin_dial(slot, 2.0) is False
    core.set_aside(slot, begun=False)
    assert [core.begin_check(slot), core.begin_check(slot)] == [True, False]
    core.checked(slot, True, 3.0)
    core.checked(slot, False, 3.0)
    assert core.begin_check(slot) is False
    assert slot.state is State.IDLE
    core.drain(4.0)
    core.closed_connection(slot, 5.0)
    core.closed_connection(slot, 5.0)
    assert (slot.state, core.empty) == (State.EMPTY, [slot])


# -- the whole pool ----------------------------------------------------------------------------------------------------


def test_a_place_too_many_goes_when_it_is_empty() -> None:
    """A resize that was struck before the last empty places were taken away."""
    pool = shell(idle=1)
    pool.core.max_connections = 1
    pool.recover(1.0)
    assert len(pool.core.slots) == 1
    pool.all_can_be_had(2.0)


def test_a_place_too_many_that_is_in_use_goes_when_it_comes_back() -> None:
    """Nothing that comes back may stay until then."""
    pool = shell()
    leases = [pool.lease(1.0) for _ in range(3)]
    pool.core.max_connections = 2
    pool.core.torn = True
    pool.core.recover(2.0)
    pool.collect(2.0)
    check_step(pool, 2.0)
    pool.come_back(*leases[0], 3.0)
    assert pool.reasons == [Reason.SURPLUS]


def test_a_close_that_was_struck_is_still_a_close() -> None:
    """Once everything is done, every place is empty."""
    pool = shell()
    slot, connection = pool.lease(1.0)
    pool.core.close(2.0)
    pool.forget_orders()
    pool.recover(3.0)
    pool.come_back(slot, connection, 4.0)
    pool.close_all(5.0)
    check_emptied(pool)


def test_a_recovery_that_is_struck_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is through, the core counts as torn."""
    pool = shell()
    pool.core.idle.pop()

    def strike(now: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pool.core, "grow", strike)
        with pytest.raises(KeyboardInterrupt):
            pool.core.recover(1.0)
    assert pool.core.torn
    pool.recover(2.0)
    assert len(pool.core.idle) == 2


def looks(pool: Shell) -> Any:
    """All that there is to be seen of a core, except when it wants to be woken."""
    core = pool.core
    slots = [tuple(getattr(slot, name) for name in Slot.__slots__) for slot in core.slots]
    tickets = [tuple(getattr(ticket, name) for name in Ticket.__slots__) for ticket in core.waiting()]
    lists = [
        list(each) for each in (core.slots, core.empty, core.idle, core.dialling.slots, core.rested, core.outlived)
    ]
    sets = [set(core.checking), set(core.closing)]
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
    """One is being dialled, another is ordered."""
    pool.drain(1.0)
    pool.close_all(1.0)
    pool.warm_up(2, 2.0)
    pool.begin_dials(2.0, count=1)


def checking(pool: Shell) -> None:
    """One is being asked, another is to be."""
    first, second = pool.core.idle
    pool.core.set_aside(first, begun=False)
    pool.core.set_aside(second, begun=False)
    pool.core.begin_check(first)
    pool.checks += [first, second]


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
    pool.close(2.0)


@pytest.mark.parametrize("prepare", [at_rest, busy, growing, checking, draining, shrinking, closed])
def test_what_was_in_order_stays_as_it_is(prepare: Callable[[Shell], None]) -> None:
    """But for the time to wake; ordered is only what was ordered before and has not begun."""
    pool = shell()
    prepare(pool)
    before = looks(pool)
    asked = len(pool.ordered), len(pool.closes), len(pool.checks), len(pool.woken)
    for now in (50.0, 60.0):
        pool.core.recover(now)
        pool.collect(now)
        assert looks(pool) == before
        assert pool.core.wake_at == now
    assert (len(pool.ordered), len(pool.closes), len(pool.checks), len(pool.woken)) == asked
    check_step(pool, 60.0)
