"""Who holds what, and where each connection was taken: from what was noted at the time.

Frames of other threads that run meanwhile are never looked at: that crashes CPython 3.11.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from ..core.callsite import shown
from ..core.stats import Lease, PoolDump, Waiter
from ..redispy import lifecycle


def borrower_name(thread: int | str | None) -> str:
    """`thread 'worker-3' (140...)`, or that it has ended; a shared connection names its holders itself."""
    if isinstance(thread, str):
        return thread
    for each in threading.enumerate():
        if each.ident == thread:
            return f"thread {each.name!r} ({thread})"
    return f"a thread that has ended ({thread})"


def describe(
    name: str, leases: Iterable[tuple[float, int | str | None, Any, Any]], waiters: Iterable[tuple[float, int | None]]
) -> PoolDump:
    """A dump from what the core knows: (age, thread, stack, connection) of leases, (age, thread) of waiters."""
    return PoolDump(
        name,
        tuple(
            Lease(age, borrower_name(thread), shown(stack) or None, lifecycle.last_command(connection))
            for age, thread, stack, connection in leases
        ),
        tuple(Waiter(age, borrower_name(thread)) for age, thread in waiters),
    )
