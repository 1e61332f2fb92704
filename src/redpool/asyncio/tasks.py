"""What a pool on an event loop says of the tasks that use it.

A task's frames may be looked at only in the thread of its loop: there the task doesn't run meanwhile. To look at frames
that run in another thread crashes CPython 3.11.
"""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

from ..core.callsite import is_plumbing, shown

_FRAMES = 5


def borrower_name(borrower: asyncio.Task[Any] | str | None) -> str:
    """Return `task 'Task-7'`, or that there is none; a multiplexed connection names its borrowers itself."""
    if isinstance(borrower, str):
        return borrower
    if borrower is None:
        return "no task"
    return f"task {borrower.get_name()!r}" + (" (done)" if borrower.done() else "")


def where(task: asyncio.Task[Any] | str | None) -> str | None:
    """Return where a task is now."""
    if task is None or isinstance(task, str) or task.done():
        return None
    frames = [(frame, frame.f_lineno) for frame in task.get_stack(limit=_FRAMES)]
    return "".join(traceback.StackSummary.extract(iter(frames)).format()) or None


def awaiting(future: asyncio.Future[Any] | None) -> asyncio.Task[Any] | None:
    """Return the task that awaits a future: what the future calls once it is done is a method of the task's."""
    for callback, _context in getattr(future, "_callbacks", None) or ():
        owner = getattr(callback, "__self__", None)
        if isinstance(owner, asyncio.Task):
            return owner
    return None


def own_line(task: asyncio.Task[Any]) -> str | None:
    """Return the innermost line of the user's own where a task waits; called by another task, or none, of its loop."""
    awaited: Any = task.get_coro()
    found = None
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        if not is_plumbing(frame):
            found = frame
        awaited = getattr(awaited, "cr_await", None)
    return shown((found.f_code, found.f_lasti)) if found is not None else None
