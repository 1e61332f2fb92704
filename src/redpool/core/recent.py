"""How long callers keep a connection, by the median of the latest uses: a mean would follow a few slow ones."""

from __future__ import annotations

from .histogram import Histogram


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
