"""The right to write to a multiplexed connection, or to read from it: one thread has it at a time."""

from __future__ import annotations

import threading
from typing import Any

_RLock: Any = type(threading.RLock())


class Role(_RLock):  # type: ignore[misc]  # a class that `threading` hides behind a function
    """A right that a thread enters and leaves. A thread that is interrupted in it can be known by it.

    It is a lock, which itself knows its owner: a thread id kept beside it would be wrong for the moment between the
    two. What must stay true: a thread that has entered looks at the connection's state and at `dirty` before it does
    anything; it is `dirty` for as long as its work is half done. One that finds a role dirty as it enters knows that
    the last owner was interrupted in the midst, and that the connection is of no use any more.
    """

    __slots__ = ("beat", "dirty")

    mine = _RLock._is_owned  # RLock's only way to tell; `Condition` uses it, too
    """Return whether the calling thread has it."""
    enter = _RLock.acquire
    """Take it without waiting, `enter(False)`, where the thread is known not to have it. Return whether it was free."""
    leave = _RLock.release

    def __init__(self) -> None:
        super().__init__()
        self.dirty = False
        self.beat = 0  # how often its owner came by: an owner that is alive comes by again and again

    def try_enter(self) -> bool:
        """Take the role if it is free, without waiting. A thread doesn't get it twice."""
        return not self.mine() and bool(self.enter(False))

    def taken(self) -> bool:
        """Return whether another thread has it at this moment."""
        if self.mine():
            return False
        if self.enter(False):
            self.leave()
            return False
        return True
