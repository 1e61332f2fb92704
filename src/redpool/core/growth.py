"""Connects: how many a pool needs, the only place where one is ordered, and what becomes of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from . import policy
from .actions import Connect
from .connector import Failure
from .slot import Reason, Slot, State
from .ticket import Ticket

if TYPE_CHECKING:
    from .pool import PoolCore


# The generation of a connection whose replacement is open already: it ends when it comes back.
_REPLACED = -1


def grow(core: PoolCore, now: float) -> None:
    """Order the connects that are needed and allowed. While the server is down or full, one at a time, with pauses."""
    connector = core.connector
    while core.empty and connector.under_way < connector.limit and len(connector.slots) < _connects_due(core, now):
        pause_until = _pause_until(core)
        if now < pause_until:
            core.wake_by(pause_until)
            return
        slot = core.empty.pop()
        slot.state = State.CONNECTING
        connector.slots[slot] = None
        core.outbox.append(Connect(slot))


def _pause_until(core: PoolCore) -> float:
    """Return when the next connect may begin, for those who need it now."""
    connector, tickets = core.connector, core.queue.tickets
    if tickets and connector.may_be_passing and next(reversed(tickets)).since >= connector.failed_at:
        return -math.inf  # that caller came after the failure
    return connector.pause_until if tickets or core.queue.warming else connector.background_pause_until


def connects_wanted(core: PoolCore) -> int:
    """How many connects under way would serve a purpose."""
    return max(_connects_for_upkeep(core), len(core.queue.tickets) + max(0, core.min_idle - len(core.idle_since)))


def _connects_due(core: PoolCore, now: float) -> int:
    """The same, but counting callers only where connections don't come back to them soon enough."""
    if len(core.queue.tickets) <= len(core.connector.slots):
        return _connects_for_upkeep(core)
    if not comes_back(core):
        return connects_wanted(core)  # and no timer is waited for: the clock may be a frozen one
    # After each step the queue gets time to show what the new connections did for it.
    stalled_since = max(min(core.queue.since, core.available_at), core.connector.stepped_at)
    due_at = stalled_since + core.connector.patience
    if now < due_at:
        core.wake_by(due_at)
        return _connects_for_upkeep(core)
    return connects_wanted(core)


def _connects_for_upkeep(core: PoolCore) -> int:
    ready = core.min_idle - len(core.idle_since)
    if core.queue.warming:
        ready = max(ready, max(ticket.opens for ticket in core.queue.warming) - core.open)
    return max(ready, len(core.expired), int(core.connector.broken and not core.resting))


def comes_back(core: PoolCore) -> bool:
    """Return whether a connection may soon be free: one on loan, or one that is being validated.

    What the pool keeps for itself doesn't come back, nor does a lease that was reported as a leak.
    """
    if core.validating:
        return True
    # What is taken first stands last.
    return core.in_use > 0 and any(
        slot.state is State.LEASED and slot.leak_reported_for != slot.since for slot in reversed(core.slots)
    )


def begin(core: PoolCore, slot: Slot, now: float) -> bool:
    """Start a connect that was ordered, if its need hasn't passed."""
    if slot.begun or slot.state is not State.CONNECTING:
        return False  # ordered twice
    if core.closed or core.surplus or len(core.connector) > connects_wanted(core):
        core.connector.slots.pop(slot, None)
        core.free(slot)
        return False
    slot.begun = True
    slot.generation = core.generation
    slot.since = now
    slot.connect_deadline = now + core.connector.budget
    core.wake_by(slot.connect_deadline)
    return True


def finish(core: PoolCore, slot: Slot, connection: object, now: float) -> None:
    """A connect is through: its connection goes to who waits longest, unless it came too late for anybody."""
    core.counters.connect.add(now - slot.since)
    core.connector.succeeded(slot, core.counters.connect.mean)
    slot.connection = connection
    slot.connect_deadline = math.inf
    slot.connected_at = slot.verified_at = now
    if core.config.max_lifetime is not None:
        slot.expires_at = now + policy.lifetime(core.config.max_lifetime, core.config.lifetime_jitter, core.random)
    if slot.cut:
        # It was through at the last moment, but may have been cut all the same.
        core.close_slot(slot, core.why_ended(slot, now) if core.closed else Reason.ERROR, now)
    elif core.steady and slot.generation == core.generation:
        core.available_at = core.connector.stepped_at = now
        core.offer(slot, now)
        _replace_expired(core, now)
        core.end_warming()
    else:
        core.close_slot(slot, core.why_ended(slot, now), now)
    core.wake_by(min(slot.expires_at, now + core.longest_idle_time))
    core.grow(now)


def fail(
    core: PoolCore, slot: Slot, error: BaseException, now: float, retryable: bool, failure: Failure = Failure.DOWN
) -> None:
    """A connect has failed: whom that concerns is told."""
    connector = core.connector
    connector.failed(slot, error, now, failure, retryable)
    core.free(slot)
    core.counters.connect_failures += 1
    for ticket in (*_concerned(core, now), *core.queue.warming):
        ticket.connect_failures += 1
        if connector.broken or not connector.retryable or ticket.connect_failures > ticket.connect_retries:
            core.reject_ticket(ticket, error)
    core.grow(now)


def give_up(core: PoolCore, slot: Slot, begun_at: float, now: float) -> Any:
    """A connect was interrupted, which says nothing of the server: its slot is free again.

    Returns the connection that it has left half-made, if any.
    """
    if slot.state is not State.CONNECTING or slot.since != begun_at:
        return None  # it was through
    connection = slot.connection
    core.connector.slots.pop(slot, None)
    core.free(slot)
    core.grow(now)
    return connection


def _concerned(core: PoolCore, now: float) -> list[Ticket]:
    """Those in the queue for whom a failed connect is news."""
    waiting = list(core.queue)
    if core.connector.broken or not _served_otherwise(core, now):
        return waiting
    # A server that is full still serves what is open; of any other failure one caller is told at a time.
    return [] if core.connector.last_failure is Failure.FULL else waiting[:1]


def _served_otherwise(core: PoolCore, now: float) -> bool:
    """Return whether a caller may get a connection sooner than the next connect may begin.

    Where the server has failed, what is on loan counts only if such connections have come back of late.
    """
    if core.connector.slots:
        return True
    of_late = now < core.available_at + policy.LONGEST_PAUSE
    return comes_back(core) and (of_late or core.connector.last_failure is Failure.FULL)


def failure_in_pause(core: PoolCore, now: float) -> BaseException | None:
    """Return what a caller gets that comes in the pause after a failure, where nothing but a connect can serve it.

    One whose retry policy sits through failures waits for the next connect; where no slot is left for one, all wait
    for what is in use.
    """
    connector = core.connector
    if not connector.in_pause(now) or connector.sits_through or connector.may_be_passing:
        return None
    if not core.empty or _served_otherwise(core, now):
        return None
    last = connector.last_error  # which another thread may change, where none holds the guard
    return None if last is None else own_copy(last)


def broken(core: PoolCore) -> bool:
    """Whether callers who find nothing idle are turned away, until a probe succeeds.

    Where no place is left for a probe, none was left for their own connect either: they wait for what is in use.
    """
    return core.connector.broken and bool(core.empty or core.connector.slots)


def not_connecting(core: PoolCore, now: float) -> BaseException:
    """What they are told: an error of the kind that the last connect raised, which is its cause."""
    connector = core.connector
    last = connector.last_error
    assert last is not None
    message = (
        f"{core.config.name}: not connecting: every connect has failed for {now - connector.failed_since:.1f} s, "
        f"{connector.failures} in a row; the last one: {last}"
    )
    try:
        error = type(last)(message)
    except Exception:
        return last  # not to be made from a message
    error.__cause__ = last
    return error


def own_copy(error: BaseException) -> BaseException:
    """Return one more error like it, for one of several callers, so that their tracebacks don't mix."""
    try:
        copy = type(error)(*error.args)
    except Exception:
        return error  # not to be made from its arguments
    copy.__cause__ = error
    return copy


def _replace_expired(core: PoolCore, now: float) -> None:
    if not core.expired:
        return
    slot, _ = core.expired.popitem(last=False)
    if slot.state is State.IDLE:
        core.close_idle(slot, Reason.LIFETIME, now)
    else:
        slot.generation = _REPLACED
