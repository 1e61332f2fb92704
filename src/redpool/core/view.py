"""What can be seen of a pool: everything is derived when someone asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .stats import PoolStats

if TYPE_CHECKING:
    from .pool import PoolCore


def counts(core: PoolCore, now: float) -> str:
    """`10 of 10 in use, 37 waiting, oldest lease 12.4 s`, for messages."""
    leased = core.leased()
    parts = [f"{len(leased)} of {core.max_connections} in use"]
    parts += [f"{len(core.dialling)} connecting"] if core.dialling else []
    parts += [f"{len(core.queue)} waiting"]
    parts += [f"oldest lease {now - leased[0].since:.1f} s"] if leased else []
    return ", ".join(parts)


def stats(core: PoolCore, now: float) -> PoolStats:
    """Everything that is counted, at one moment."""
    ledger, leased = core.ledger, core.leased()
    waited, released = ledger.wait.count, ledger.use.count
    acquired = released + len(leased)
    used = ledger.use.total + sum(now - slot.since for slot in leased)
    capacity = ledger.capacity(core.max_connections, now)
    return PoolStats(
        name=core.config.name,
        max_connections=core.max_connections,
        open=core.open,
        idle=len(core.rested),
        in_use=len(leased),
        connecting=len(core.dialling),
        waiting=len(core.queue),
        acquired=acquired,
        waited=waited,
        timeouts=ledger.timeouts,
        refused=ledger.refused,
        dialed=ledger.dial.count,
        dial_failures=ledger.dial_failures,
        released=released,
        leaks=ledger.leaks,
        closed={reason.value: count for reason, count in ledger.closed.items()},
        wait=ledger.wait.summary(zeros=acquired - waited),
        use=ledger.use.summary(),
        dial=ledger.dial.summary(),
        utilization=used / capacity if capacity > 0 else 0.0,
    )
