"""What a pool does when time has passed: each a small rule over the core, called by its `tick`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from . import policy, reconnecting
from .orders import CutCall, ReportLeak, Wake
from .slot import Reason, Slot, State

if TYPE_CHECKING:
    from .pool import PoolCore


def end_waits(core: PoolCore, now: float) -> None:
    """Nobody waits beyond his deadline."""
    for ticket in core.queue.expired(now):
        core.time_out(ticket, now)
        core.outbox.append(Wake(ticket))


def cut_dials(core: PoolCore, now: float) -> None:
    """A dial that has used up its own time is cut off, so that it can't hold its place for ever."""
    for slot in list(core.dialling.slots):
        if now >= slot.dial_deadline:
            core.cut_dial(slot)
    reconnecting.expire(core, now)


def shrink(core: PoolCore, now: float) -> None:
    """Close the connections above `min_idle` that nobody has needed for `max_idle_time`, longest-rested first."""
    rested = core.rested
    while core.idle and len(rested) > core.config.min_idle and now >= rested[0] + core.max_idle_time:
        since = rested.popleft()
        rested.append(since)  # close_idle takes the last
        core.close_idle(core.idle[0], Reason.IDLE, now)


def renew(core: PoolCore, now: float) -> None:
    """Idle connections beyond their lifetime are replaced; they make room first only where there is none."""
    for slot in [slot for slot in core.idle if now >= slot.expires_at]:
        if not core.may_stay(slot, now):
            core.close_idle(slot, Reason.LIFETIME, now)


def cut_calls(core: PoolCore, now: float) -> None:
    """A call that goes on beyond its deadline is cut off; by then it should have ended by itself."""
    for slot in core.slots:
        limit = _limit(slot)
        if limit is not None and now >= limit.at + policy.CALL_GRACE:
            slot.limited = None
            core.outbox.append(CutCall(slot, limit))


def _limit(slot: Slot) -> Any:
    """The deadline of the call under way over a connection."""
    if slot.limited is None or slot.state is not State.LEASED or slot.limited[0] != slot.since:
        return None
    return None if slot.limited[1].over else slot.limited[1]


def report_leaks(core: PoolCore, now: float) -> None:
    """Report each lease that is older than `leak_after`, once."""
    if core.leak_after == math.inf:
        return
    for slot in core.leased():
        if slot.leak_reported_for != slot.since and now >= slot.since + core.leak_after:
            slot.leak_reported_for = slot.since
            core.ledger.leaks += 1
            core.outbox.append(ReportLeak(slot, now - slot.since, slot.lessee, slot.taken))


def keep(slot: Slot) -> None:
    """The pool itself holds this lease, for as long as it likes: it is no leak."""
    slot.leak_reported_for = slot.since


def next_deadline(core: PoolCore, now: float) -> float:
    """When the next thing is due: always later than `now`.

    What goes idle or on lease from now on is due no sooner than `longest_rest`. Where a check is under way, its end
    brings about the next.
    """
    due = min((core.queue.next_deadline(), *core.dialling.leases.values()))
    if not core.vacant:
        due = min(due, now + core.longest_rest)
    if core.idle and len(core.rested) > core.config.min_idle:
        due = min(due, core.rested[0] + core.max_idle_time)
    may_check = len(core.checking) < core.config.max_connecting
    for slot in core.slots:
        due = min(due, slot.dial_deadline)
        if slot.state is State.IDLE and may_check:
            due = min(due, slot.verified_at + core.ping_every)
        elif slot.state is State.LEASED and slot.leak_reported_for != slot.since:
            due = min(due, slot.since + core.leak_after)
        if (limit := _limit(slot)) is not None:
            due = min(due, limit.at + policy.CALL_GRACE)
        if slot.expires_at > now:
            due = min(due, slot.expires_at)
    return due
