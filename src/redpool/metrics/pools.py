"""The pools that an exporter watches."""

from __future__ import annotations

import weakref
from typing import Protocol

from ..core.config import PoolConfig
from ..core.histogram import Distributions
from ..core.stats import PoolStats


class HasStats(Protocol):
    """A pool, for threads or for event loops."""

    @property
    def config(self) -> PoolConfig:
        """The pool's own options."""

    def stats(self) -> PoolStats:
        """Return the pool's state at this moment, and its counters since it was created."""

    def distributions(self) -> Distributions:
        """Return how long callers waited and used connections, and how long connects took, since it was created."""

    def watch(self, instrument: object) -> None:
        """Have an instrument hear of this pool from now on."""


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
            others = self.alive()
            if any(other is pool for other in others):
                continue
            name = pool.stats().name
            if any(other.stats().name == name for other in others):
                raise ValueError(f"two pools are named {name!r}: give one of them another name=")
            self._held = [*map(weakref.ref, others), weakref.ref(pool)]

    def stats(self) -> list[PoolStats]:
        """Return the present stats of each pool."""
        return [pool.stats() for pool in self.alive()]

    def alive(self) -> list[HasStats]:
        """Return the pools that are still there."""
        return [pool for held in self._held if (pool := held()) is not None]
