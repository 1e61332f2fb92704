"""The pool as a whole: warmed up, resized, drained, closed until a caller asks again, shut down for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import PoolClosed
from . import growth, policy
from .config import MOST_CONNECTIONS, whole_number
from .slot import Reason, Slot
from .ticket import Ticket, TicketState

if TYPE_CHECKING:
    from .pool import PoolCore


def warm_up(core: PoolCore, opens: int, now: float, deadline: float) -> Ticket:
    """A ticket that is granted when `opens` connections are open, or refused with what a connect raised."""
    if whole_number("n", opens, at_least=0) > core.max_connections:
        raise ValueError(f"n={opens!r} is more than max_connections={core.max_connections!r}")
    ticket = Ticket(now, deadline, opens=opens)
    if core.closed:
        core.reject(ticket, PoolClosed(f"{core.config.name}: the pool was shut down"))
    elif core.open >= opens:
        core.queue.end(ticket, TicketState.GRANTED)
    elif core.connector.denials and core.connector.in_pause(now):
        assert core.connector.last_error is not None  # and the next connect may be long in coming
        core.queue.end(ticket, TicketState.REJECTED, growth.own_copy(core.connector.last_error))
    else:
        core.serve_again(now)
        core.queue.join(ticket, now)
        core.wake_by(deadline)
        core.grow(now)
    return ticket


def resize(core: PoolCore, max_connections: int, now: float) -> None:
    """Allow so many connections; what is open beyond that closes, idle ones now, used ones as they come back."""
    whole_number("max_connections", max_connections, at_least=max(1, core.config.min_idle))
    max_connections = min(max_connections, MOST_CONNECTIONS)
    core.counters.capacity_changes(core.max_connections, now)
    core.max_connections = max_connections
    added = [Slot() for _ in range(max_connections - len(core.slots))]
    core.slots += added
    core.empty += added
    surplus = max(0, len(core.slots) - max_connections)
    unused = set(core.empty[len(core.empty) - min(surplus, len(core.empty)) :])
    core.empty[:] = [slot for slot in core.empty if slot not in unused]
    core.slots[:] = [slot for slot in core.slots if slot not in unused]
    while core.idle and core.surplus:
        core.close_idle(core.idle[0], Reason.SURPLUS, now)
    core.steady = not core.closed and not core.surplus
    for ticket in core.queue.warming:
        ticket.opens = min(ticket.opens, max_connections)
    core.end_warming()
    core.grow(now)


def drain(core: PoolCore, now: float) -> None:
    """Replace every connection: a new generation begins, and the old one ends as it comes back."""
    core.generation += 1
    core.connector.try_again()
    core.expired.clear()
    for slot in list(core.idle):
        core.close_idle(slot, Reason.DRAINED, now)
    core.grow(now)


def refused_write(core: PoolCore, slot: Slot | None, starts_over: bool, now: float) -> bool:
    """A server that was written to is a replica: have connections replaced, since their name may lead elsewhere by now.

    Return whether the one in `slot` is to be replaced. Its borrower connects it anew, and it is new then, where it
    `starts_over`; without a slot, whether all are replaced now. A pool that is meant for a replica is left alone for a
    while.
    """
    if core.closed:
        return False
    if slot is None or slot.generation == core.generation:
        if now < core.refused_at + policy.REPLACED_AGAIN_AFTER:
            return False
        core.refused_at = now
        drain(core, now)
    if slot is not None and starts_over and not core.resting:
        slot.generation = core.generation
    return True


def close(core: PoolCore, now: float) -> None:
    """Close idle connections now, used ones as they come back; connect nothing until a caller asks.

    Callers that wait have asked: they are served.
    """
    if not (core.queue or core.queue.warming):
        core.resting = True
        core.min_idle = 0
    core.generation += 1
    core.expired.clear()
    for slot in list(core.idle):
        core.close_idle(slot, Reason.POOL_CLOSED, now)
    core.wake_by(now)  # maintenance may have nothing left to do
    core.grow(now)


def disconnect(core: PoolCore, now: float) -> None:
    """Close the same way; the next caller connects, whatever the last connects have ended with."""
    core.connector.try_again()
    close(core, now)


def serve_again(core: PoolCore, now: float) -> None:
    """A caller asks a pool that was closed: all is as before."""
    if core.resting:
        core.resting = False
        core.min_idle = core.config.min_idle
        core.grow(now)


def shutdown(core: PoolCore, now: float) -> None:
    """Hand out nothing any more, for good: waiters fail, idle connections close now, used ones as they come back."""
    core.closed = True
    core.steady = False
    for ticket in (*core.queue, *core.queue.warming):
        core.reject_ticket(ticket, PoolClosed(f"{core.config.name}: the pool was shut down"))
        core.counters.rejected += 1
    for ticket in list(core.queue.reconnects):
        core.reject_ticket(ticket, PoolClosed(f"{core.config.name}: the pool was shut down"))
    for slot in list(core.idle):
        core.close_idle(slot, Reason.POOL_CLOSED, now)
    for slot in core.connector.slots:
        core.cut_connect(slot)
