"""One limit for everything that a call does: the wait, the connect, the handshake, the reply, the retries."""

from __future__ import annotations

import math
import time
from contextvars import ContextVar
from numbers import Real

_monotonic = time.monotonic
_current: ContextVar[deadline | None] = ContextVar("redpool_deadline", default=None)

current = _current.get
"""The deadline in whose scope the caller is, `None` outside of any."""


class deadline:  # noqa: N801  a context manager, spelled as the call that it is
    """`with redpool.deadline(0.25):` every call to Redis in the block has ended 0.25 seconds after its beginning.

    It holds for the thread or the task that opens the block, and for the tasks started in it. A call that isn't done
    by then raises `DeadlineExceeded`, whose `sent` says whether the command may have run. Of nested blocks the one that
    ends first counts.

    A time below 0 or not a number raises `ValueError`, what isn't a number at all `TypeError`.
    """

    __slots__ = ("_before", "at", "over", "seconds")

    seconds: float
    at: float
    over: bool

    def __init__(self, seconds: float) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, Real | float):
            raise TypeError(f"seconds={seconds!r}: a deadline is a number of seconds")
        if math.isnan(seconds) or seconds < 0:
            raise ValueError(f"seconds={seconds!r}: a deadline is 0 or more seconds away")
        self.seconds = float(seconds)
        self.at = math.inf
        self.over = True  # its block has been left, or not been entered
        self._before: deadline | None = None

    def __enter__(self) -> deadline:
        if not self.over:
            raise RuntimeError("a deadline opens one block at a time: make another for the inner one")
        self._before = before = _current.get()
        self.at = _monotonic() + self.seconds
        if before is not None:
            self.at = min(self.at, before.at)
        self.over = False
        _current.set(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.over = True
        _current.set(self._before)

    def left(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.at - _monotonic())

    def reached(self) -> bool:
        """Whether its time is up."""
        return _monotonic() >= self.at

    def __repr__(self) -> str:
        return f"<deadline of {self.seconds:g} s, {self.left():.3f} s left>"
