"""How many dials a pool needs, and the only place where one is ordered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .orders import Dial
from .slot import State

if TYPE_CHECKING:
    from .pool import PoolCore


def grow(core: PoolCore, now: float) -> None:
    """Order the dials that are needed and allowed. While the server is down, one at a time, with pauses."""
    dialling = core.dialling
    while core.empty and len(dialling.slots) < min(dialling.limit, _dials_due(core, now)):
        if now < dialling.pause_until:
            core.wake_by(dialling.pause_until)
            return
        slot = core.empty.pop()
        slot.state = State.DIALLING
        dialling.slots[slot] = None
        core.outbox.append(Dial(slot))


def dials_wanted(core: PoolCore) -> int:
    """How many dials under way would serve a purpose."""
    return max(_dials_for_upkeep(core), len(core.queue.tickets) + max(0, core.config.min_idle - len(core.rested)))


def _dials_due(core: PoolCore, now: float) -> int:
    """The same, but counting callers only where connections don't come back to them soon enough."""
    if len(core.queue.tickets) <= len(core.dialling.slots):
        return _dials_for_upkeep(core)
    # After each step the queue gets time to show what the new connections did for it.
    stalled_since = max(min(core.queue.since, core.available_at), core.dialling.stepped_at)
    due_at = stalled_since + core.dialling.patience
    if now < due_at:
        core.wake_by(due_at)
        return _dials_for_upkeep(core)
    return dials_wanted(core)


def _dials_for_upkeep(core: PoolCore) -> int:
    ready = core.config.min_idle - len(core.rested)
    if core.queue.warming:
        ready = max(ready, max(ticket.opens for ticket in core.queue.warming) - core.open)
    return max(ready, len(core.outlived))
