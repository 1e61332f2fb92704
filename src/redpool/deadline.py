"""One deadline for everything that a call does: the wait, the connect, the handshake, the reply, the retries."""

from __future__ import annotations

import functools
import math
import time
from contextvars import ContextVar
from numbers import Real

from .blocks import F, each_call

_monotonic = time.monotonic
_current: ContextVar[deadline | None] = ContextVar("redpool_deadline", default=None)

current = _current.get
"""Return the deadline whose block the caller is in; `None` outside of any."""


class deadline:  # noqa: N801  a context manager, spelled as the call that it is
    """End every call to Redis in a block: `with redpool.deadline(0.25):` gives all of them together 0.25 seconds.

    The deadline holds for the thread or task that enters the block, and for tasks started in it. A call that isn't done
    by then raises `DeadlineExceeded`, whose `sent` says whether the command may have run. Of nested blocks the one that
    ends first counts. `async with` is the same.

    As a decorator, `@redpool.deadline(0.25)`, it bounds each call of a function or coroutine function.

    Raises `TypeError` where `seconds` isn't a number, and `ValueError` where it is below 0 or NaN. Entering a deadline
    whose block is open raises `RuntimeError`.
    """

    __slots__ = ("_before", "at", "over", "seconds")

    seconds: float
    at: float
    over: bool

    def __init__(self, seconds: float) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, Real | float):
            raise TypeError(f"seconds={seconds!r}: must be a number of seconds")
        if math.isnan(seconds) or seconds < 0:
            raise ValueError(f"seconds={seconds!r}: must be 0 or more")
        self.seconds = float(seconds)
        self.at = math.inf
        self.over = True  # outside its block: not entered yet, or left
        self._before: deadline | None = None

    def __enter__(self) -> deadline:
        if not self.over:
            raise RuntimeError("a deadline opens one block at a time: create another for the inner block")
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

    async def __aenter__(self) -> deadline:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__()

    def __call__(self, function: F) -> F:
        """Return the function with a deadline of its own for each call.

        Raises `TypeError` for a generator function, whose body runs when its call is over.
        """
        return each_call(function, "deadline", functools.partial(deadline, self.seconds))

    def left(self) -> float:
        """Return the seconds left, never below 0."""
        return max(0.0, self.at - _monotonic())

    def reached(self) -> bool:
        """Return whether the deadline has come."""
        return _monotonic() >= self.at

    def __repr__(self) -> str:
        return f"<deadline of {self.seconds:g} s, {self.left():.3f} s left>"
