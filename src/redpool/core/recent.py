"""How long calls take: by the median of the latest uses of connections, or by the commands in flight over shared ones.

A mean of uses would follow a few slow ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from .histogram import LATEST, Histogram, median

ENOUGH = LATEST
"""From so many uses a median is known well enough."""

LOOK_EVERY = 0.1
"""Seconds in which answers are counted."""


class Usual(Protocol):
    """What knows how long calls take."""

    @property
    def usual(self) -> float:
        """Seconds that most calls take; 0 as long as nothing is known."""


class RecentUses:
    """The latest uses of a pool's connections, which its histogram has anyway."""

    __slots__ = ("_uses",)

    def __init__(self, uses: Histogram) -> None:
        self._uses = uses

    @property
    def usual(self) -> float:
        """Seconds that a caller keeps a connection, most often; 0 as long as nothing is known."""
        latest = sorted(self._uses.latest)
        return latest[len(latest) // 2] if latest else 0.0

    @property
    def count(self) -> int:
        """How many uses there were."""
        return self._uses.count

    def buckets(self) -> dict[int, int]:
        """Return all uses so far, for `median_since`."""
        return self._uses.buckets()

    def median_since(self, before: Mapping[int, int]) -> float:
        """Return the median of all uses since `buckets` has returned `before`, within 1/32; 0 where there was none."""
        return median(self._uses.since(before))


class TimeInFlight:
    """How long commands over shared connections are in flight of late, by Little's law: those there are, by their rate.

    No command is timed for it. It holds while as many are in flight all the time, as where callers wait for room. So it
    is told only then, and what was told long before doesn't count.
    """

    __slots__ = ("_answered", "_since", "usual")

    def __init__(self) -> None:
        self.usual = 0.0
        """Seconds that a command is in flight; 0 as long as nothing is known."""
        self._answered, self._since = 0, -math.inf

    def look(self, in_flight: int, answered: int, now: float) -> None:
        """Take note of how many commands are in flight, and how many were answered by now."""
        elapsed = now - self._since
        if elapsed < LOOK_EVERY:
            return
        answers = answered - self._answered
        if elapsed < 2 * LOOK_EVERY and answers > 0:
            self.usual = in_flight * elapsed / answers
        self._answered, self._since = answered, now
