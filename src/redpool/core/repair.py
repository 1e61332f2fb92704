"""Putting a pool in order that an exception has interrupted in the midst of a change.

Signal handlers, asynchronous exceptions and Ctrl-C may raise between any two bytecodes. What a slot's state says is
then taken for the truth, the lists are made to agree with it, and every order is given again: to carry one out twice
does no harm. It must stay true that a slot's state is changed before or after, but never without, what follows from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import reconnecting
from .actions import Close, Connect, CutConnect, Validate, Wake
from .slot import Reason, Slot, State
from .ticket import Ticket, TicketState

if TYPE_CHECKING:
    from .pool import PoolCore


def repair(core: PoolCore, now: float) -> None:
    """Make the lists agree with the slots, and order anew what has not been begun."""
    core.inconsistent = True  # until this is through
    _complete_grants(core, now)
    reconnecting.repair(core)
    _sort_slots(core, now)
    reclaim(core, now)
    for slot in core.slots:
        if slot.state is State.LEASED and slot.connection is not None:
            _see_to_lease(core, slot, now)
    _order_again(core, now)
    while core.empty and len(core.slots) > core.max_connections:
        core.slots.remove(core.empty.pop())
    core.steady = not core.closed and not core.surplus
    while core.queue and core.idle:
        slot = core.idle.pop()
        core.idle_since.pop()
        core.offer(slot, now)
    core.grow(now)
    core.wake_at = now
    core.inconsistent = False


def reclaim(core: PoolCore, now: float) -> None:
    """Take back each lease whose connection was collected, where word of it was lost."""
    for slot in core.slots:
        if slot.state is State.LEASED and slot.reference is not None and slot.current is None:
            core.leaked(slot, now)


def _complete_grants(core: PoolCore, now: float) -> None:
    """Complete each grant; a caller that drew a ticket without ever learning of it has left."""
    for ticket in list(core.queue):
        if ticket.slot is not None:
            ticket.state = TicketState.GRANTED
            ticket.slot.state, ticket.slot.borrower = State.LEASED, ticket
            ticket.slot.since = now  # a lease of its own, the caller that still means the one before
        elif ticket.waker is None:
            ticket.state = TicketState.GIVEN_UP
        if ticket.state is not TicketState.WAITING:
            del core.queue.tickets[ticket]
    core.queue.warming[:] = [ticket for ticket in core.queue.warming if ticket.state is TicketState.WAITING]


def _sort_slots(core: PoolCore, now: float) -> None:
    """Each slot into the list of its state; those that were in it keep their order."""
    by_state: dict[State, list[Slot]] = {state: [] for state in State}
    for slot in dict.fromkeys((*core.empty, *core.idle, *core.connector.slots, *core.slots)):
        by_state[slot.state].append(slot)
    core.slots[:] = dict.fromkeys(core.slots)
    core.empty[:] = by_state[State.EMPTY]
    core.idle[:] = by_state[State.IDLE]
    core.connector.slots = dict.fromkeys(by_state[State.CONNECTING])
    core.validating = set(by_state[State.VALIDATING])
    core.closing = set(by_state[State.CLOSING])
    resting = len(core.idle) + len(core.validating)
    while len(core.idle_since) > resting:
        core.idle_since.pop()
    core.idle_since.extend([now] * (resting - len(core.idle_since)))
    for slot in [slot for slot in core.expired if slot.state not in (State.IDLE, State.LEASED)]:
        del core.expired[slot]


def _see_to_lease(core: PoolCore, slot: Slot, now: float) -> None:
    """A connection on lease that is in its slot: its caller is about to take it out, or was interrupted.

    That was in a checkout or a release, between the core's decision and what follows from it, both under the guard.
    """
    if isinstance(slot.borrower, Ticket):
        core.outbox.append(Wake(slot.borrower))
    else:
        core.close_slot(slot, Reason.ERROR, now)


def _order_again(core: PoolCore, now: float) -> None:
    for slot in core.connector.slots:
        if not slot.begun:
            core.outbox.append(Connect(slot))
        elif slot.cut:
            core.outbox.append(CutConnect(slot))
    core.outbox.extend(Validate(slot) for slot in core.validating if not slot.begun)
    ordered = {order.slot for order in core.outbox if isinstance(order, Close)}
    for slot in core.closing - ordered:
        core.outbox.append(Close(slot, slot.connection, Reason.ERROR, now - slot.connected_at))
