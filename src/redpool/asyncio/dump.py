"""Who holds what, and where each connection was taken; what was not noted is read from the tasks themselves.

A task's frames may be looked at only in the thread of its loop: there the task doesn't run meanwhile. To look at frames
that run in another thread crashes CPython 3.11.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterable
from typing import Any

from ..core.callsite import shown
from ..core.stats import Lease, PoolDump, Waiter
from ..redispy import lifecycle

_FRAMES = 5


def borrower_name(task: asyncio.Task[Any] | str | None) -> str:
    """`task 'Task-7'`, or that there is none; a shared connection names its holders itself."""
    if isinstance(task, str):
        return task
    if task is None:
        return "no task"
    return f"task {task.get_name()!r}" + (" (done)" if task.done() else "")


def describe(
    name: str,
    leases: Iterable[tuple[float, asyncio.Task[Any] | str | None, Any, Any]],
    waiters: Iterable[tuple[float, asyncio.Task[Any] | None]],
    on_loop: bool,
) -> PoolDump:
    """A dump from what the core knows: (age, task, stack, connection) of leases, (age, task) of waiters.

    Where the calling thread is not that of the loop, only what was noted is shown.
    """
    return PoolDump(
        name,
        tuple(
            Lease(
                age,
                borrower_name(task),
                shown(stack) or (_seen(task) if on_loop else None),
                lifecycle.last_command(connection),
            )
            for age, task, stack, connection in leases
        ),
        tuple(Waiter(age, borrower_name(task)) for age, task in waiters),
    )


def _seen(task: asyncio.Task[Any] | str | None) -> str | None:
    """Where the holder is now."""
    if task is None or isinstance(task, str) or task.done():
        return None
    frames = [(frame, frame.f_lineno) for frame in task.get_stack(limit=_FRAMES)]
    return "".join(traceback.StackSummary.extract(iter(frames)).format()) or None
