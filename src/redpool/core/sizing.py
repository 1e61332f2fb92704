"""A pool that sizes itself: `max_connections="auto"`. When it allows one connection more, and when fewer.

It grows on an event, as a pool that decides once a second lets a jump of the load wait for a second: when the oldest
waiter has waited longer than a call usually takes, and fewer than two connects are under way. Waiting alone would have
it grow to its limit just when the server is the slow part, where each connect is more work for it. So it looks at how
long calls take: the median of the last 31 against the least median of a second (`_Base`).

Where calls take longer, the server is slow, or callers ask for more than before. It tries which: it grows to about
twice the size and no further, unless that brings more replies a second. This is what Uber's Cinnamon asks of its
samples, too (the covariance of the throughput and of the calls in flight), with a step that stands out from the noise.

It shrinks by a tenth a second, towards what was in use at the busiest moment of the last ten seconds and one more, and
never while a caller waits. What was simulated: `docs/sizing.md`.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from .recent import ENOUGH, RecentUses

TARGET = 0.002
"""Seconds that callers may wait; the median use where that is more."""

AT_ONCE = 2
"""Connects under way beyond which it doesn't grow."""

SLOWER = 1.5
"""Uses that take so many times longer than the base are slow."""

BASE_OVER = 1.0
"""Seconds, at least, over which a median of the base is taken."""

FORGETS = 1.01
"""By so much the base rises each second."""

LOOKS_BACK = 10.0
"""Seconds in which the busiest moment is looked for; after so many without a waiter, what was tried is forgotten."""

SHRINKS_EVERY = 1.0
SHRINKS_BY = 0.1

SAMPLE = 0.1
"""Seconds, at least, in which replies are counted while callers wait."""

SAMPLE_AGAIN = 1.0
"""The same, once a sample has shown no more replies: many of them would let chance decide."""

REPLIES = 100
"""Replies, at least, in a sample: their number is known to a tenth then."""

STEP = 4
"""Connections that a trial adds at least: what two more of four would bring, chance can hide in so many replies."""

KEPT = 20


class Sizing:
    """What a pool knows of its load in order to size itself. The owner holds its lock."""

    __slots__ = (
        "_base",
        "_looked_at",
        "_paid",
        "_sample",
        "_seconds",
        "_size_before",
        "_trial",
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
        self._base = _Base(uses, now)
        self._looked_at = -math.inf
        self._size_before = self.low  # when callers began to wait, after a while without; or when growth has paid
        self._sample = _Sample(0, 0, 0.0, now, slow=False)
        self._seconds = SAMPLE  # that the sample takes
        self._trial: _Trial | None = None  # `None` while uses are as quick as the base, as far as samples say
        self._paid = False  # whether the last sample has shown more replies: a second one has to say so, too

    def share(self, granted: int, size: int) -> int:
        """Return the size that is allowed from now on, of a share that bounds the limits."""
        self.low, self.high = (min(limit, granted) for limit in self.limits)
        return min(max(size, self.low), self.high)

    # -- growing -----------------------------------------------------------------------------------------------------

    @property
    def target(self) -> float:
        """Seconds that a caller may wait before the pool grows."""
        return max(TARGET, self.uses.usual)

    @property
    def _slow(self) -> bool:
        return self.uses.usual > SLOWER * self._base.seconds

    def why_grow(self, size: int, oldest_wait: float, connecting: int) -> str | None:
        """Return why one connection more is to be allowed; `None` where none is."""
        target, trial = self.target, self._trial
        if size >= self.high or connecting >= AT_ONCE or oldest_wait < target:
            return None
        if self._slow if trial is None else size >= trial.most:
            return None
        return f"a caller waits for {oldest_wait * 1000:.1f} ms, above {target * 1000:.1f}"

    def look(self, size: int, connecting: int, oldest_wait: float, now: float) -> str | None:
        """Look at uses and replies, while callers wait. Return what is to be said of it, if anything is."""
        self._base.look(now)
        unseen, self._looked_at = now - self._looked_at, now
        waited = unseen <= max(SAMPLE, 2 * self.target)  # all the time since
        if unseen > LOOKS_BACK:
            self._end_trial()
            self._size_before = size
        sample, slow = self._sample, self._slow
        # Of uses that were quicker before, there were more replies than there will be again.
        becomes_slow = slow and not sample.slow and self._trial is None
        if not waited or connecting or size != sample.size or becomes_slow:
            self._sample = _Sample(size, self.uses.count, oldest_wait, now, slow)
            return None
        replies, seconds = self.uses.count - sample.answered, now - sample.since
        if replies < REPLIES or seconds < self._seconds:
            return None
        self._sample = _Sample(size, self.uses.count, oldest_wait, now, slow)
        return self._judge(size, replies / seconds, oldest_wait > sample.oldest_wait)

    def _judge(self, size: int, rate: float, worse: bool) -> str | None:
        """Decide by a sample whether uses are slow, and if so whether more connections have brought more replies.

        Nothing is tried unless callers wait for longer than when the sample began: else the queue comes down as it is.
        """
        trial = self._trial
        if not self._slow:
            self._end_trial()
            return None
        if trial is None or rate < trial.rate / 2:  # far fewer: what was known holds no more
            return self._begin_trial(size, rate) if worse and size < self.high else None  # else there is none to try
        if size < min(trial.most, self.high):
            return None
        paid, self._paid = self._paid, trial.pays(size, rate)
        if not self._paid:
            first, self._seconds = self._seconds < SAMPLE_AGAIN, SAMPLE_AGAIN
            return f"{self._compared(trial, size, rate)}: it doesn't grow" if first else None
        if not paid:
            return None
        self._base.rebase()
        self._end_trial()
        self._size_before = size
        return f"{self._compared(trial, size, rate)}: it grows"

    def _begin_trial(self, size: int, rate: float) -> str:
        # By the time that uses are known to be slow, it may have grown: a step from there that shows, at least.
        most = max(2 * self._size_before, size + max(STEP, size // 2))
        self._trial, self._paid, self._seconds = _Trial(size, rate, most), False, SAMPLE
        usual, base = self.uses.usual * 1000, self._base.seconds * 1000
        return f"uses take {usual:.1f} ms in place of {base:.1f}: it grows to {min(most, self.high)} at most"

    def _end_trial(self) -> None:
        self._trial, self._seconds = None, SAMPLE

    @staticmethod
    def _compared(trial: _Trial, size: int, rate: float) -> str:
        return f"{rate:.0f} replies a second with {size} connections, {trial.rate:.0f} with {trial.size}"

    # -- shrinking ---------------------------------------------------------------------------------------------------

    def smaller(self, size: int, busiest: int, now: float) -> int:
        """Return the size that is allowed from now on, where no caller waits."""
        self.due_at = now + SHRINKS_EVERY
        wanted = max(self.low, busiest + 1)
        size = size if wanted >= size else max(wanted, size - max(1, int(size * SHRINKS_BY)))
        self._size_before = min(self._size_before, size)
        return size

    def decide(self, what: str, now: float) -> str:
        """Note a decision, and return it."""
        self.decisions.append((now, what))
        return what


class _Base:
    """What uses take at best: the least median of a second, which rises by 1 % a second so that it is forgotten.

    The least of shorter medians would be one that chance has made: a half of what uses take, or less, where they differ
    as exponential ones do. While no caller waits, the pool doesn't look; then a median is that of a longer time. The
    first one is that of the first uses.
    """

    __slots__ = ("_before", "_count", "_since", "_uses", "seconds")

    def __init__(self, uses: RecentUses, now: float) -> None:
        self._uses = uses
        self._before: dict[int, int] = {}
        self._count, self._since = 0, now
        self.seconds = math.inf

    def look(self, now: float) -> None:
        """Take a median where it is time."""
        uses, elapsed = self._uses.count - self._count, now - self._since
        if uses < ENOUGH:
            return
        if elapsed >= BASE_OVER:
            median = self._uses.median_since(self._before)
            risen = self.seconds * FORGETS ** min(elapsed, 1000.0)
            self.seconds = min(risen, median)
            self._before, self._count, self._since = self._uses.buckets(), self._uses.count, now
        elif self.seconds == math.inf:
            self.seconds = self._uses.usual

    def rebase(self) -> None:
        """Take what uses take now for what they take at best: the server is not why they take longer."""
        self.seconds = self._uses.usual


class _Sample(NamedTuple):
    """Where a sample has begun."""

    size: int
    answered: int
    oldest_wait: float
    since: float
    slow: bool


class _Trial(NamedTuple):
    """What slow uses brought in replies a second, with so many connections; and how many are tried at most."""

    size: int
    rate: float
    most: int

    def pays(self, size: int, rate: float) -> bool:
        """Return whether further connections have brought replies: about as many more as there are more of them.

        Where there are far more, it is the server that has become quicker.
        """
        more = size / self.size - 1
        return more / 2 < rate / self.rate - 1 < 1.5 * more
