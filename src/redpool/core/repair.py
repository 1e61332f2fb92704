"""What puts a pool in order that an exception has interrupted in the midst of a change.

Signal handlers, asynchronous exceptions and Ctrl-C may raise between any two bytecodes. A slot's state is then taken
for the truth: every component is made to agree with it, and every action is given again, since to carry one out twice
does no harm. It must stay true that a slot's state is changed before or after, but never without, what follows from it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from .actions import AnyAction, Close, Connect, CutConnect, Validate, Wake
from .connector import Connector
from .idle import IdleSet
from .slot import Reason, Slot, State
from .waiters import Ticket, WaitQueue


class Parts(NamedTuple):
    """What a pool is made of: its slots, those of three states, and the components that hold the others."""

    slots: list[Slot]
    empty: list[Slot]
    closing: set[Slot]
    expired: OrderedDict[Slot, None]
    idle: IdleSet
    queue: WaitQueue
    connector: Connector


def rebuild(parts: Parts, now: float) -> list[Ticket]:
    """Make every part agree with the slots' states; return the tickets that are still to be woken."""
    woken = parts.queue.rebuild(parts.connector.leases, now)  # first: a grant that is half done changes a slot's state
    slots = parts.slots
    slots[:] = dict.fromkeys(slots)
    parts.empty[:] = [slot for slot in dict.fromkeys((*parts.empty, *slots)) if slot.state is State.EMPTY]
    parts.idle.rebuild(slots, now)
    parts.connector.rebuild(slots)
    parts.closing.clear()
    parts.closing.update([slot for slot in slots if slot.state is State.CLOSING])
    for slot in [slot for slot in parts.expired if slot.state not in (State.IDLE, State.LEASED)]:
        del parts.expired[slot]
    return woken


def known(outbox: Iterable[AnyAction]) -> list[AnyAction]:
    """Return the actions without the wakes for callers that never learned of their tickets: they can't be woken."""
    return [action for action in outbox if type(action) is not Wake or action.ticket.waker is not None]


def unanswered(parts: Parts, outbox: Iterable[AnyAction], now: float) -> list[AnyAction]:
    """Return the actions that the slots' states ask for and that have not begun; a close only once."""
    again: list[AnyAction] = [Connect(slot) for slot in parts.connector.unbegun]
    again += [CutConnect(slot) for slot in parts.connector.slots if slot.begun and slot.cut]
    again += [Validate(slot) for slot in parts.idle.validating if not slot.begun]
    ordered = {action.slot for action in outbox if isinstance(action, Close)}
    again += [Close(slot, slot.connection, Reason.ERROR, now - slot.connected_at) for slot in parts.closing - ordered]
    return again
