"""What a pool does when time has passed: each a small rule over the core, called by its `tick`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from . import policy, reconnecting
from .actions import CutCall, ReportLeak, Wake
from .slot import Reason, Slot, State

if TYPE_CHECKING:
    from .pool import PoolCore


def end_waits(core: PoolCore, now: float) -> None:
    """No caller waits beyond its deadline."""
    for ticket in core.queue.expired(now):
        core.time_out(ticket, now)
        core.outbox.append(Wake(ticket))


def cut_connects(core: PoolCore, now: float) -> None:
    """A connect that has used up its own time is cut off, so that it can't hold its place for ever."""
    for slot in list(core.connector.slots):
        if now >= slot.connect_deadline:
            core.cut_connect(slot)
    reconnecting.expire(core, now)


def shrink(core: PoolCore, now: float) -> None:
    """Close the connections above `min_idle` that no caller has needed for `max_idle_time`, longest-idle first."""
    idle_since = core.idle_since
    while core.idle and len(idle_since) > core.config.min_idle and now >= idle_since[0] + core.max_idle_time:
        since = idle_since.popleft()
        idle_since.append(since)  # close_idle takes the last
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
            core.counters.leaks += 1
            core.outbox.append(ReportLeak(slot, now - slot.since, slot.caller, slot.taken))


def keep(slot: Slot) -> None:
    """The pool itself holds this lease, for as long as it likes: it is no leak."""
    slot.leak_reported_for = slot.since


def next_deadline(core: PoolCore, now: float) -> float:
    """When the next thing is due: always later than `now`.

    What goes idle or on lease from now on is due no sooner than `longest_idle_time`. Where a check is under way, its
    end brings about the next.
    """
    due = min((core.queue.next_deadline(), *core.connector.leases.values()))
    if not core.is_empty:
        due = min(due, now + core.longest_idle_time)
    if core.idle and len(core.idle_since) > core.config.min_idle:
        due = min(due, core.idle_since[0] + core.max_idle_time)
    may_check = len(core.validating) < core.config.max_connecting
    for slot in core.slots:
        due = min(due, slot.connect_deadline)
        if slot.state is State.IDLE and may_check:
            due = min(due, slot.verified_at + core.ping_every)
        elif slot.state is State.LEASED and slot.leak_reported_for != slot.since:
            due = min(due, slot.since + core.leak_after)
        if (limit := _limit(slot)) is not None:
            due = min(due, limit.at + policy.CALL_GRACE)
        if slot.expires_at > now:
            due = min(due, slot.expires_at)
    return due
