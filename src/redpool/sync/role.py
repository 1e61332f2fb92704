"""The right to write to a multiplexed connection, or to read from it: one thread has it at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Role:
    """A right that a thread enters and leaves. A thread that is interrupted in it can be known by it.

    The lock itself knows its owner: a thread id kept beside it would be wrong for the moment between the two. What
    must stay true: a thread that has entered looks at the connection's state and at `dirty` before it does anything;
    it is `dirty` for as long as its work is half done. One that finds a role dirty as it enters knows that the last
    owner was interrupted in the midst, and that the connection is of no use any more.
    """

    __slots__ = ("beat", "dirty", "enter", "leave", "mine")

    mine: Callable[[], bool]
    """whether the calling thread has it"""
    enter: Callable[[bool], bool]
    """take it without waiting, `enter(False)`, for a thread that is known not to have it"""
    leave: Callable[[], None]

    def __init__(self) -> None:
        lock = threading.RLock()
        self.mine = lock._is_owned  # type: ignore[attr-defined]  # RLock's only way to tell; `Condition` uses it, too
        self.enter = lock.acquire
        self.leave = lock.release
        self.dirty = False
        self.beat = 0  # how often its owner came by: an owner that is alive comes by again and again

    def try_enter(self) -> bool:
        """Take the role if it is free, without waiting. A thread doesn't get it twice."""
        return not self.mine() and self.enter(False)

    def taken(self) -> bool:
        """Return whether another thread has it at this moment."""
        if self.mine():
            return False
        if self.enter(False):
            self.leave()
            return False
        return True
