"""Whether the connections that rest are still good: who is asked when, and what follows from the answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from . import policy
from .actions import Validate
from .slot import Reason, Slot, State

if TYPE_CHECKING:
    from .pool import PoolCore


def set_aside(core: PoolCore, slot: Slot, begun: bool) -> bool:
    """Keep an idle connection from being handed out until its check is finished. False where it isn't idle."""
    if slot.state is not State.IDLE:
        return False
    slot.begun = begun
    core.idle.remove(slot)
    slot.state = State.VALIDATING
    core.validating.add(slot)
    return True


def validate_returned(core: PoolCore, slot: Slot, now: float) -> None:
    """A connection that comes back isn't idle before it has passed its check."""
    slot.begun = False
    slot.state = State.VALIDATING
    slot.since = now
    core.validating.add(slot)
    core.idle_since.append(now)
    core.outbox.append(Validate(slot))


def begin(core: PoolCore, slot: Slot) -> bool:
    """Whether the check that was ordered is still to be made."""
    wanted = slot in core.validating and not slot.begun
    slot.begun = True
    return wanted


def finish(core: PoolCore, slot: Slot, ok: bool, now: float) -> None:
    """A connection that was checked in the background has answered, or has not."""
    if slot not in core.validating:
        return  # checked twice
    core.validating.discard(slot)
    idle_since = core.idle_since.pop()
    if not ok:
        core.close_slot(slot, Reason.INVALID, now)
        validate_others(core, slot.since, now)
        suspect_all(core, now)
    elif not core.may_stay(slot, now):
        core.close_slot(slot, core.why_ended(slot, now), now)
    else:
        # It idle the longest: back to the far end, and no better for having been asked.
        core.offer(slot, now, to_far_end=True)
        if slot.state is State.IDLE:
            core.idle_since[-1] = idle_since
            core.wake_by(max(now + policy.LEAST_IDLE_TIME, idle_since + core.max_idle_time))
    validate_idle(core, now)
    core.grow(now)


def suspect_all(core: PoolCore, now: float) -> None:
    """One connection was found dead: look at the others before they are handed out."""
    for slot in core.idle:
        slot.verified_at = min(slot.verified_at, now - core.validate_after)


def validate_idle(core: PoolCore, now: float) -> None:
    """Ask those that have been idle for `ping_after_idle` whether they are still there, a few at a time."""
    for slot in list(core.idle):
        if len(core.validating) >= core.config.max_connecting:
            return
        if now >= slot.verified_at + core.ping_every:
            _ask(core, slot, now)


def validate_others(core: PoolCore, asked_at: float, now: float) -> None:
    """A PING sent at `asked_at` went unanswered: ask all that were not heard from since, before they are handed out.

    No look at a socket shows that its path is dead. All are asked together, however many: callers wait for it.
    """
    # The caller that was silent in the last such round was asked together with the others: that is no news of them.
    if core.ping_every == math.inf or asked_at <= core.others_asked_at:
        return
    core.others_asked_at = now
    for slot in [slot for slot in core.idle if slot.verified_at < asked_at]:
        _ask(core, slot, now)


def _ask(core: PoolCore, slot: Slot, now: float) -> None:
    set_aside(core, slot, begun=False)
    slot.since = now
    core.outbox.append(Validate(slot))
