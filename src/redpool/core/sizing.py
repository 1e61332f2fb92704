"""A pool that sizes itself: `max_connections="auto"`. When it allows one connection more, and when fewer.

It grows on an event, as a pool that decides once a second lets a jump of the load wait for a second: when the oldest
waiter has waited longer than a call usually takes, and fewer than two connects are under way. Waiting alone would have
it grow to its limit just when the server is the slow part, where each connect is more work for it. So it doesn't grow
while calls take longer than they did (the median of the last 31 is above 1.5 times the least that it was, a base that
rises by 1 % a second so that it is forgotten), nor while further connections bring no further replies. The latter is
the test by which Uber's Cinnamon tells more work from a slower server: the covariance of the replies in a time and of
the calls in flight meanwhile.

It shrinks by a tenth a second, towards what was in use at the busiest moment of the last ten seconds and one more, and
never while a caller waits. What was simulated: `docs/sizing.md`.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from .recent import RecentUses

TARGET = 0.002
"""Seconds that callers may wait; the median use where that is more."""

AT_ONCE = 2
"""Connects under way beyond which it doesn't grow."""

SLOWER = 1.5
"""Uses that take so many times longer than the base show that the server is the slow part."""

FORGETS = 1.01
"""By so much the base rises each second."""

LOOKS_BACK = 10.0
"""Seconds in which the busiest moment is looked for."""

SHRINKS_EVERY = 1.0
SHRINKS_BY = 0.1

SAMPLES = 20
SAMPLE_EVERY = 0.05
"""Seconds between two samples of what is in flight and what is answered, while callers wait."""

KEPT = 20


class Sizing:
    """What a pool knows of its load in order to size itself. The owner holds its lock."""

    __slots__ = (
        "_answered",
        "_base",
        "_base_at",
        "_sampled_at",
        "_samples",
        "decisions",
        "due_at",
        "high",
        "limits",
        "low",
        "uses",
    )

    def __init__(self, limits: tuple[int, int], uses: RecentUses, now: float) -> None:
        self.limits = self.low, self.high = limits
        self.uses = uses
        self.due_at = math.inf
        """when to look whether it is too large"""
        self.decisions: deque[tuple[float, str]] = deque(maxlen=KEPT)
        """the latest, each with its time"""
        self._base, self._base_at = math.inf, now
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES)
        self._answered, self._sampled_at = 0, -math.inf

    def share(self, granted: int, size: int) -> int:
        """Return the size that is allowed from now on, of a share that bounds the limits."""
        self.low, self.high = (min(limit, granted) for limit in self.limits)
        return min(max(size, self.low), self.high)

    # -- growing -----------------------------------------------------------------------------------------------------

    @property
    def target(self) -> float:
        """Seconds that a caller may wait before the pool grows."""
        return max(TARGET, self.uses.usual)

    def why_grow(self, size: int, oldest_wait: float, connecting: int, now: float) -> str | None:
        """Return why one connection more is to be allowed; `None` where none is."""
        target, usual = self.target, self.uses.usual
        if size >= self.high or connecting >= AT_ONCE or oldest_wait < target:
            return None
        if usual > SLOWER * self._base_now(usual, now) or self._brings_nothing():
            return None
        return f"a caller waits for {oldest_wait * 1000:.1f} ms, above {target * 1000:.1f}"

    def _base_now(self, usual: float, now: float) -> float:
        if usual:
            forgotten = self._base * FORGETS ** min(now - self._base_at, 1000.0)
            self._base, self._base_at = min(forgotten, usual), now
        return self._base

    def sample(self, in_use: int, answered: int, now: float) -> None:
        """Note what is in flight, and that so many were answered by now; while callers wait."""
        since, elapsed = answered - self._answered, now - self._sampled_at
        if elapsed < SAMPLE_EVERY:
            return
        if elapsed < 4 * SAMPLE_EVERY:
            self._samples.append(_Sample(in_use, since / elapsed))
        else:  # no caller has waited meanwhile
            self._samples.clear()
        self._answered, self._sampled_at = answered, now

    def _brings_nothing(self) -> bool:
        """Return whether more in flight has brought no more replies, as far as the samples go."""
        samples = self._samples
        if len(samples) < SAMPLES:
            return False
        mean_flight = sum(sample.in_use for sample in samples) / SAMPLES
        mean_rate = sum(sample.rate for sample in samples) / SAMPLES
        spread = sum((sample.in_use - mean_flight) ** 2 for sample in samples)
        together = sum((sample.in_use - mean_flight) * (sample.rate - mean_rate) for sample in samples)
        # Each further connection would bring its part of the rate, if it were the connections that lack.
        return spread > 0 and together / spread < 0.25 * mean_rate / mean_flight

    # -- shrinking ---------------------------------------------------------------------------------------------------

    def smaller(self, size: int, busiest: int, now: float) -> int:
        """Return the size that is allowed from now on, where no caller waits."""
        self.due_at = now + SHRINKS_EVERY
        wanted = max(self.low, busiest + 1)
        return size if wanted >= size else max(wanted, size - max(1, int(size * SHRINKS_BY)))

    def decide(self, what: str, now: float) -> str:
        """Note a decision, and return it."""
        self.decisions.append((now, what))
        return what


class _Sample(NamedTuple):
    in_use: int
    rate: float
