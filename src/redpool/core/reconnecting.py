"""Leases whose connection was lost and is opened anew: when each may connect, and what follows from how it went.

The shell asks before such a connect begins, and answers once when it has ended: `connected`, `failed`, or `given_up`
where it was interrupted, which says nothing of the server. Together with the slots that are being connected, no more of
them are under way than `Connector.limit`; the others wait for their turn, first come, first served.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..errors import PoolClosed
from . import growth, policy
from .actions import Wake
from .connector import Failure
from .ticket import Ticket, TicketState

if TYPE_CHECKING:
    from .pool import PoolCore


def ask(core: PoolCore, now: float, deadline: float = math.inf) -> Ticket:
    """Return a ticket that is granted when the lease may connect, perhaps at once; or refused with the reason."""
    ticket = Ticket(now, min(deadline, now + core.connector.budget), reconnects=True)
    rejection = _rejection(core, now)
    if rejection is not None:
        core.queue.end(ticket, TicketState.REJECTED, rejection)
        return ticket
    core.queue.join(ticket, now)
    core.wake_by(ticket.deadline)
    serve(core, now)
    return ticket


def _rejection(core: PoolCore, now: float) -> BaseException | None:
    connector = core.connector
    if core.closed:
        return PoolClosed(f"{core.config.name}: the pool was shut down")
    if connector.broken and (core.empty or connector.under_way or now < connector.pause_until):
        return growth.not_connecting(core, now)  # the probe is another connect
    if connector.in_pause(now):
        assert connector.last_error is not None
        return growth.own_copy(connector.last_error)
    return None


def serve(core: PoolCore, now: float) -> None:
    """Let those connect whose turn it is."""
    connector, line = core.connector, core.queue.reconnects
    while line and connector.under_way < connector.limit:
        ticket = next(iter(line))
        # However it ends, or if word of its end is lost: it counts for no longer than a connect may take.
        connector.leases[ticket] = now + min(connector.budget, policy.LONGEST_CONNECT)
        core.wake_by(connector.leases[ticket])
        core.queue.end(ticket, TicketState.GRANTED)
        core.outbox.append(Wake(ticket))


def connected(core: PoolCore, ticket: Ticket, now: float) -> None:
    """The lease has its connection: the server is up."""
    if core.connector.leases.pop(ticket, None) is not None:
        core.connector.answered()
        core.grow(now)


def failed(core: PoolCore, ticket: Ticket, error: BaseException, now: float, failure: Failure = Failure.DOWN) -> None:
    """The connect has failed: it counts like that of a slot, and the one whose turn was next gets its error."""
    if core.connector.leases.pop(ticket, None) is None:
        return
    core.connector.failed(None, error, now, failure)
    reject_all(core, error)
    if growth.broken(core):
        for waiting in list(core.queue):
            core.reject_ticket(waiting, growth.own_copy(error))
    core.grow(now)


def reject_all(core: PoolCore, error: BaseException) -> None:
    """Tell those who wait for their turn that the connect before theirs has failed."""
    for waiting in list(core.queue.reconnects):
        core.reject_ticket(waiting, growth.own_copy(error))


def given_up(core: PoolCore, ticket: Ticket, now: float) -> None:
    """The caller was interrupted or cancelled, or its deadline came: it waits or connects no more."""
    if ticket.state is TicketState.WAITING:
        core.queue.end(ticket, TicketState.GIVEN_UP)
    core.connector.leases.pop(ticket, None)
    core.grow(now)


def expire(core: PoolCore, now: float) -> None:
    """A connect that has used up its time counts no longer: its caller may have been interrupted."""
    for ticket, end in list(core.connector.leases.items()):
        if now >= end:
            del core.connector.leases[ticket]


def repair(core: PoolCore) -> None:
    """Complete what an exception has left half-done; a caller that never learned of its ticket has left."""
    for ticket in list(core.queue.reconnects):
        if ticket in core.connector.leases:
            core.queue.end(ticket, TicketState.GRANTED)
            core.outbox.append(Wake(ticket))
        elif ticket.waker is None or ticket.state is not TicketState.WAITING:
            del core.queue.reconnects[ticket]
    for ticket in [ticket for ticket in core.connector.leases if ticket.waker is None]:
        del core.connector.leases[ticket]
