"""The stack that took a connection: recorded where `leak_after` is set, shown when the lease has lasted too long."""

from __future__ import annotations

import sys
import traceback

from .orders import ReportLeak

_DEEPEST = 30


def take_stack(skip: int) -> traceback.StackSummary:
    """The caller's stack, outermost first, without its `skip` innermost frames. Source lines are read when shown."""
    frames = traceback.walk_stack(sys._getframe(skip + 1))
    stack = traceback.StackSummary.extract(frames, limit=_DEEPEST, lookup_lines=False)
    stack.reverse()
    return stack


def shown(stack: traceback.StackSummary | None) -> str:
    """A stack as text; nothing where none was recorded."""
    return "".join(stack.format()) if stack else ""


def leak_message(pool: str, leak: ReportLeak, holder: str) -> str:
    """What the log says of a leak."""
    return (
        f"{pool}: a connection has been held for {leak.age:.1f} s by {holder}, which took it here:\n{shown(leak.stack)}"
    )
