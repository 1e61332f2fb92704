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
    parts += [f"{len(core.connector)} connecting"] if core.connector else []
    parts += [f"{len(core.queue)} waiting"]
    parts += [f"oldest lease {now - leased[0].since:.1f} s"] if leased else []
    return ", ".join(parts)


def stats(core: PoolCore, now: float) -> PoolStats:
    """Everything that is counted, at one moment."""
    counters, leased = core.counters, core.leased()
    waited, released = counters.wait.count, counters.use.count
    acquired = released + len(leased)
    used = counters.use.total + sum(now - slot.since for slot in leased)
    capacity = counters.capacity(core.max_connections, now)
    return PoolStats(
        name=core.config.name,
        max_connections=core.max_connections,
        open=core.open,
        idle=len(core.idle_since),
        in_use=len(leased),
        connecting=len(core.connector),
        waiting=len(core.queue),
        acquired=acquired,
        waited=waited,
        timeouts=counters.timeouts,
        rejected=counters.rejected,
        connected=counters.connect.count,
        connect_failures=counters.connect_failures,
        released=released,
        leaks=counters.leaks,
        closed={reason.value: count for reason, count in counters.closed.items()},
        wait=counters.wait.summary(zeros=acquired - waited),
        use=counters.use.summary(),
        connect=counters.connect.summary(),
        utilization=used / capacity if capacity > 0 else 0.0,
    )
