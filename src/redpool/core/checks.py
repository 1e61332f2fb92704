"""Whether the connections that rest are still good: who is asked when, and what follows from the answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from . import policy
from .orders import Check
from .slot import Reason, Slot, State

if TYPE_CHECKING:
    from .pool import PoolCore


def set_aside(core: PoolCore, slot: Slot, begun: bool) -> bool:
    """Keep an idle connection from being handed out until its check is finished. False where it isn't idle."""
    if slot.state is not State.IDLE:
        return False
    slot.begun = begun
    core.idle.remove(slot)
    slot.state = State.CHECKING
    core.checking.add(slot)
    return True


def ask_returned(core: PoolCore, slot: Slot, now: float) -> None:
    """A connection that comes back isn't idle before it has passed its check."""
    slot.begun = False
    slot.state = State.CHECKING
    slot.since = now
    core.checking.add(slot)
    core.rested.append(now)
    core.outbox.append(Check(slot))


def begin(core: PoolCore, slot: Slot) -> bool:
    """Whether the check that was ordered is still to be made."""
    wanted = slot in core.checking and not slot.begun
    slot.begun = True
    return wanted


def finish(core: PoolCore, slot: Slot, ok: bool, now: float) -> None:
    """A connection that was checked in the background has answered, or has not."""
    if slot not in core.checking:
        return  # checked twice
    core.checking.discard(slot)
    rested_since = core.rested.pop()
    if not ok:
        core.close_slot(slot, Reason.CHECK_FAILED, now)
        ask_others(core, slot.since, now)
        distrust(core, now)
    elif not core.may_stay(slot, now):
        core.close_slot(slot, core.why_ended(slot, now), now)
    else:
        # It rested the longest: back to the far end, and no better for having been asked.
        core.offer(slot, now, to_far_end=True)
        if slot.state is State.IDLE:
            core.rested[-1] = rested_since
            core.wake_by(max(now + policy.LEAST_REST, rested_since + core.max_idle_time))
    ask_rested(core, now)
    core.grow(now)


def distrust(core: PoolCore, now: float) -> None:
    """One connection was found dead: look at the others before they are handed out."""
    for slot in core.idle:
        slot.verified_at = min(slot.verified_at, now - core.validate_after)


def ask_rested(core: PoolCore, now: float) -> None:
    """Ask those that have rested for `ping_after_idle` whether they are still there, a few at a time."""
    for slot in list(core.idle):
        if len(core.checking) >= core.config.max_connecting:
            return
        if now >= slot.verified_at + core.ping_every:
            _ask(core, slot, now)


def ask_others(core: PoolCore, asked_at: float, now: float) -> None:
    """A PING sent at `asked_at` went unanswered: ask all that were not heard from since, before they are handed out.

    No look at a socket shows that its path is dead. All are asked together, however many: callers wait for it.
    """
    # Whoever was silent in the last such round was asked together with the others: that is no news of them.
    if core.ping_every == math.inf or asked_at <= core.others_asked_at:
        return
    core.others_asked_at = now
    for slot in [slot for slot in core.idle if slot.verified_at < asked_at]:
        _ask(core, slot, now)


def _ask(core: PoolCore, slot: Slot, now: float) -> None:
    set_aside(core, slot, begun=False)
    slot.since = now
    core.outbox.append(Check(slot))
