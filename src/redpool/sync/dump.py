"""Who holds what, read from the threads themselves: it costs nothing until someone asks."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterable
from types import FrameType
from typing import Any

from ..core.stacks import shown
from ..core.stats import Lease, PoolDump, Waiter
from ..redispy import connections

_PLUMBING = ("redis", "redpool", "threading", "contextlib")
_FRAMES = 5


def holder_name(thread: int | str | None) -> str:
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
    frames = sys._current_frames()
    return PoolDump(
        name,
        tuple(
            Lease(
                age,
                holder_name(thread),
                shown(stack) or _seen(None if isinstance(thread, str) else frames.get(thread or 0)),
                connections.last_command(connection),
            )
            for age, thread, stack, connection in leases
        ),
        tuple(Waiter(age, holder_name(thread)) for age, thread in waiters),
    )


def _seen(frame: FrameType | None) -> str | None:
    """Where the holder is now, in its own code."""
    found: list[tuple[FrameType, int]] = []
    while frame is not None and len(found) < _FRAMES:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _PLUMBING:
            found.append((frame, frame.f_lineno))
        frame = frame.f_back
    return "".join(traceback.StackSummary.extract(iter(reversed(found))).format()) or None
