"""Dials: how many a pool needs, the only place where one is ordered, and what becomes of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from . import policy
from .dialling import Failure
from .orders import Dial
from .slot import Reason, Slot, State
from .ticket import Ticket

if TYPE_CHECKING:
    from .pool import PoolCore


# The generation of a connection whose replacement is open already: it ends when it comes back.
_REPLACED = -1


def grow(core: PoolCore, now: float) -> None:
    """Order the dials that are needed and allowed. While the server is down or full, one at a time, with pauses."""
    dialling = core.dialling
    while core.empty and dialling.under_way < dialling.limit and len(dialling.slots) < _dials_due(core, now):
        pause_until = _pause_until(core)
        if now < pause_until:
            core.wake_by(pause_until)
            return
        slot = core.empty.pop()
        slot.state = State.DIALLING
        dialling.slots[slot] = None
        core.outbox.append(Dial(slot))


def _pause_until(core: PoolCore) -> float:
    """Return when the next connect may begin, for those who need it now."""
    dialling, tickets = core.dialling, core.queue.tickets
    if tickets and dialling.may_be_passing and next(reversed(tickets)).since >= dialling.failed_at:
        return -math.inf  # that caller came after the failure
    return dialling.pause_until if tickets or core.queue.warming else dialling.background_pause_until


def dials_wanted(core: PoolCore) -> int:
    """How many dials under way would serve a purpose."""
    return max(_dials_for_upkeep(core), len(core.queue.tickets) + max(0, core.min_idle - len(core.rested)))


def _dials_due(core: PoolCore, now: float) -> int:
    """The same, but counting callers only where connections don't come back to them soon enough."""
    if len(core.queue.tickets) <= len(core.dialling.slots):
        return _dials_for_upkeep(core)
    if not comes_back(core):
        return dials_wanted(core)  # and no timer is waited for: the clock may be a frozen one
    # After each step the queue gets time to show what the new connections did for it.
    stalled_since = max(min(core.queue.since, core.available_at), core.dialling.stepped_at)
    due_at = stalled_since + core.dialling.patience
    if now < due_at:
        core.wake_by(due_at)
        return _dials_for_upkeep(core)
    return dials_wanted(core)


def _dials_for_upkeep(core: PoolCore) -> int:
    ready = core.min_idle - len(core.rested)
    if core.queue.warming:
        ready = max(ready, max(ticket.opens for ticket in core.queue.warming) - core.open)
    return max(ready, len(core.outlived), int(core.dialling.broken and not core.resting))


def comes_back(core: PoolCore) -> bool:
    """Return whether a connection may soon be free: one on loan, or one that is being validated.

    What the pool keeps for itself doesn't come back, nor does a lease that was reported as a leak.
    """
    if core.checking:
        return True
    # What is taken first stands last.
    return core.in_use > 0 and any(
        slot.state is State.LEASED and slot.leak_reported_for != slot.since for slot in reversed(core.slots)
    )


def begin(core: PoolCore, slot: Slot, now: float) -> bool:
    """Start a dial that was ordered, if its need hasn't passed."""
    if slot.begun or slot.state is not State.DIALLING:
        return False  # ordered twice
    if core.closed or core.surplus or len(core.dialling) > dials_wanted(core):
        core.dialling.slots.pop(slot, None)
        core.vacate(slot)
        return False
    slot.begun = True
    slot.generation = core.generation
    slot.since = now
    slot.dial_deadline = now + core.dialling.budget
    core.wake_by(slot.dial_deadline)
    return True


def finish(core: PoolCore, slot: Slot, connection: object, now: float) -> None:
    """A dial is through: its connection goes to who waits longest, unless it came too late for anybody."""
    core.ledger.dial.add(now - slot.since)
    core.dialling.succeeded(slot, core.ledger.dial.mean)
    slot.connection = connection
    slot.dial_deadline = math.inf
    slot.opened_at = slot.verified_at = now
    if core.config.max_lifetime is not None:
        slot.expires_at = now + policy.lifetime(core.config.max_lifetime, core.config.lifetime_jitter, core.random)
    if slot.cut:
        # It was through at the last moment, but may have been cut all the same.
        core.close_slot(slot, core.why_ended(slot, now) if core.closed else Reason.ERROR, now)
    elif core.steady and slot.generation == core.generation:
        core.available_at = core.dialling.stepped_at = now
        core.offer(slot, now)
        _replace_outlived(core, now)
        core.end_warming()
    else:
        core.close_slot(slot, core.why_ended(slot, now), now)
    core.wake_by(min(slot.expires_at, now + core.longest_rest))
    core.grow(now)


def fail(
    core: PoolCore, slot: Slot, error: BaseException, now: float, retryable: bool, failure: Failure = Failure.DOWN
) -> None:
    """A dial has failed: whom that concerns is told."""
    dialling = core.dialling
    dialling.failed(slot, error, now, failure, retryable)
    core.vacate(slot)
    core.ledger.dial_failures += 1
    for ticket in (*_concerned(core, now), *core.queue.warming):
        ticket.dial_failures += 1
        if dialling.broken or not dialling.retryable or ticket.dial_failures > ticket.dial_retries:
            core.refuse(ticket, error)
    core.grow(now)


def give_up(core: PoolCore, slot: Slot, begun_at: float, now: float) -> Any:
    """A connect was interrupted, which says nothing of the server: its slot is free again.

    Returns the connection that it has left half-made, if any.
    """
    if slot.state is not State.DIALLING or slot.since != begun_at:
        return None  # it was through
    connection = slot.connection
    core.dialling.slots.pop(slot, None)
    core.vacate(slot)
    core.grow(now)
    return connection


def _concerned(core: PoolCore, now: float) -> list[Ticket]:
    """Those in the queue for whom a failed dial is news."""
    waiting = list(core.queue)
    if core.dialling.broken or not _served_otherwise(core, now):
        return waiting
    # A server that is full still serves what is open; of any other failure one caller is told at a time.
    return [] if core.dialling.last_failure is Failure.FULL else waiting[:1]


def _served_otherwise(core: PoolCore, now: float) -> bool:
    """Return whether a caller may get a connection sooner than the next connect may begin.

    Where the server has failed, what is on loan counts only if such connections have come back of late.
    """
    if core.dialling.slots:
        return True
    of_late = now < core.available_at + policy.LONGEST_PAUSE
    return comes_back(core) and (of_late or core.dialling.last_failure is Failure.FULL)


def failure_in_pause(core: PoolCore, now: float) -> BaseException | None:
    """Return what a caller gets that comes in the pause after a failure, where nothing but a connect can serve it.

    One whose retry policy sits through failures waits for the next connect; where no slot is left for one, all wait
    for what is in use.
    """
    dialling = core.dialling
    if not dialling.in_pause(now) or dialling.sits_through or dialling.may_be_passing:
        return None
    if not core.empty or _served_otherwise(core, now):
        return None
    last = dialling.last_error  # which another thread may change, where none holds the guard
    return None if last is None else own_copy(last)


def broken(core: PoolCore) -> bool:
    """Whether callers who find nothing idle are turned away, until a probe succeeds.

    Where no place is left for a probe, none was left for their own dial either: they wait for what is in use.
    """
    return core.dialling.broken and bool(core.empty or core.dialling.slots)


def not_dialling(core: PoolCore, now: float) -> BaseException:
    """What they are told: an error of the kind that the last dial raised, which is its cause."""
    dialling = core.dialling
    last = dialling.last_error
    assert last is not None
    message = (
        f"{core.config.name}: not trying to connect: every dial has failed for {now - dialling.failed_since:.1f} s, "
        f"{dialling.failures} in a row; the last one: {last}"
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


def _replace_outlived(core: PoolCore, now: float) -> None:
    if not core.outlived:
        return
    slot, _ = core.outlived.popitem(last=False)
    if slot.state is State.IDLE:
        core.close_idle(slot, Reason.LIFETIME, now)
    else:
        slot.generation = _REPLACED
