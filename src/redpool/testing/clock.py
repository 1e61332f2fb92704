"""A clock that a test turns by hand."""

from __future__ import annotations


class Clock:
    """A clock that stands still until `advance`: `clock()` is the time, in seconds.

        clock = Clock()
        clock.advance(1.5)
        assert clock() == clock.now == 1.5

    May be read from any thread; only one should turn it.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def __call__(self) -> float:
        """Return the time that the clock shows."""
        return self._now

    def __repr__(self) -> str:
        return f"<Clock {self._now} s>"

    @property
    def now(self) -> float:
        """Return the time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Go on by so many seconds, and return the time then. Raises `ValueError` for a step back."""
        if seconds < 0:
            raise ValueError(f"seconds={seconds!r} is negative")
        self._now += seconds
        return self._now
