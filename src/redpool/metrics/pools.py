"""The pools that an exporter watches."""

from __future__ import annotations

import weakref
from typing import Protocol

from ..core.stats import PoolStats


class HasStats(Protocol):
    """A pool, for threads or for event loops."""

    def stats(self) -> PoolStats:
        """Return the pool's state at this moment, and its counters since it was created."""


class Pools:
    """Weak references to pools, in the order in which they came: one that is gone vanishes. No two share a name."""

    def __init__(self, *pools: HasStats) -> None:
        self._held: list[weakref.ref[HasStats]] = []
        self.add(*pools)

    def add(self, *pools: HasStats) -> None:
        """Watch these pools, too; one that is watched already is no error.

        Raises `ValueError` where another pool has the same name: their series would mix.
        """
        for pool in pools:
            others = self._alive()
            if any(other is pool for other in others):
                continue
            name = pool.stats().name
            if any(other.stats().name == name for other in others):
                raise ValueError(f"two pools are named {name!r}: give one of them another name=")
            self._held = [*map(weakref.ref, others), weakref.ref(pool)]

    def stats(self) -> list[PoolStats]:
        """Return the present stats of each pool."""
        return [pool.stats() for pool in self._alive()]

    def _alive(self) -> list[HasStats]:
        return [pool for held in self._held if (pool := held()) is not None]
