"""What a pool on an event loop says of the tasks that use it.

A task's frames may be looked at only in the thread of its loop: there the task doesn't run meanwhile. To look at frames
that run in another thread crashes CPython 3.11.
"""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

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
