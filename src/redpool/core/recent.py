"""What a use of a connection usually takes: the median of the last 31."""

from __future__ import annotations

from collections.abc import Sequence

LOOK_BACK = 31
"""Of so many uses the median is taken: a mean would follow a few slow ones."""


class RecentUses:
    """The last uses of a pool's connections, read from the list in which the pool gathers them anyway."""

    __slots__ = ("_kept", "_uses")

    def __init__(self, uses: Sequence[float]) -> None:
        self._uses = uses  # newest last; it is emptied now and again
        self._kept: list[float] = []

    @property
    def usual(self) -> float:
        """Seconds that a caller keeps a connection, most often; 0 as long as nothing is known."""
        newest = self._uses[-LOOK_BACK:]
        if len(newest) < LOOK_BACK:
            newest = [*self._kept, *newest][-LOOK_BACK:]
        else:
            self._kept = list(newest)
        return sorted(newest)[len(newest) // 2] if newest else 0.0
