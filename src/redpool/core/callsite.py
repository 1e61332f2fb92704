"""The stack that took a connection: recorded where `leak_after` is set, shown when the lease has lasted too long."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from itertools import islice
from types import CodeType, FrameType

from .actions import ReportLeak
from .slot import Borrower
from .stats import Lease, PoolDump, Waiter

_DEEPEST = 30


_PLUMBING = ("redis.", "valkey.", "redpool.", "contextlib")

# The packages that take connections for users: redpool's demo, for one, is a user itself.
_TAKING = ("redis", "valkey", "redpool.asyncio", "redpool.redispy", "redpool.sync")
_FRAME = re.compile(r'File "([^"\n]*)", line (\d+), in (.*)')

Stack = traceback.StackSummary | tuple[CodeType, int]
"""A whole stack; or one place in it, as a piece of code and the offset of an instruction there."""


def take_stack(frame: FrameType) -> traceback.StackSummary:
    """Return the stack up to `frame`, outermost first. Source lines are read when shown."""
    frames = traceback.walk_stack(frame)
    stack = traceback.StackSummary.extract(frames, limit=_DEEPEST, lookup_lines=False)
    stack.reverse()
    return stack


def take_site(frame: FrameType) -> tuple[CodeType, int]:
    """Return where the user's own code, up the stack from `frame`, made the call; cheap enough for every lease."""
    while frame.f_globals.get("__name__", "").startswith(_PLUMBING) and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


def is_plumbing(frame: FrameType) -> bool:
    """Return whether a frame is redis-py's or redpool's, and says nothing of who calls."""
    return str(frame.f_globals.get("__name__", "")).startswith(_PLUMBING)


def shown(stack: Stack | None) -> str:
    """Return a stack as text; nothing where none was recorded."""
    if isinstance(stack, tuple):
        code, offset = stack
        line = next(islice(code.co_positions(), offset // 2, None))[0]
        return f'  File "{code.co_filename}", line {line}, in {code.co_qualname}\n'
    return "".join(stack.format()) if stack else ""


def users_line(stack: str | None) -> str | None:
    """Return the innermost line of the user's in a stack that is shown: `path:line in function`."""
    lines = _FRAME.findall(stack or "")
    if len(lines) > 1:  # a whole stack; else it is a line of the user's
        plumbing = _paths_of_plumbing()
        lines = [line for line in lines if not line[0].startswith(plumbing)] or lines
    return "{}:{} in {}".format(*lines[-1]) if lines else None


def _paths_of_plumbing() -> tuple[str, ...]:
    """Return where the code is that takes connections for users, and the module that opens blocks for it."""
    found = (sys.modules.get(name) for name in _TAKING)
    packages = [os.path.join(os.path.dirname(each.__file__), "") for each in found if each and each.__file__]
    return (*packages, contextlib.__file__)


def leak_message(pool: str, leak: ReportLeak, borrower: str) -> str:
    """Return what the log says of a leak."""
    if leak.dropped:
        where = f", which took it here:\n{shown(leak.stack)}" if leak.stack else ""
        return (
            f"{pool}: a connection was dropped without being given back, after {leak.age:.1f} s, by {borrower}{where}"
        )
    return f"{pool}: a connection has been held for {leak.age:.1f} s by {borrower}, taken here:\n{shown(leak.stack)}"


def describe(
    pool: str,
    leases: Iterable[tuple[float, Borrower, str | None, str | None]],
    waiters: Iterable[tuple[float, Borrower]],
    borrower_name: Callable[[Borrower], str],
) -> PoolDump:
    """Return a dump of (age, borrower, where it was taken, last command) of leases and (age, borrower) of waiters."""
    return PoolDump(
        pool,
        tuple(Lease(age, borrower_name(borrower), where, command) for age, borrower, where, command in leases),
        tuple(Waiter(age, borrower_name(borrower)) for age, borrower in waiters),
    )
