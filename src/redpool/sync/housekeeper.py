"""The housekeeper: the one thread of a pool that stays, and calls `tick` when it is due."""

from __future__ import annotations

import contextlib
import queue
import threading
import weakref
from typing import Protocol


class Kept(Protocol):
    """A pool with a housekeeper."""

    def _keep_house(self) -> float | None:
        """Do what is due. Returns the seconds until the next thing is, `None` when there will be none."""


class Housekeeper:
    """Wakes when it is time, or when it is poked because the time has changed.

    It holds its pool weakly: a pool that nobody else holds goes, and its housekeeper with it. A poke is a put into a
    `SimpleQueue`, the one primitive that may be used from a finalizer.
    """

    def __init__(self, pool: Kept, name: str) -> None:
        self._pokes: queue.SimpleQueue[None] = queue.SimpleQueue()
        pokes = self._pokes
        self._pool = weakref.ref(pool, lambda _: pokes.put(None))
        thread = threading.Thread(target=_run, args=(self._pool, pokes), name=name, daemon=True)
        thread.start()

    def poke(self) -> None:
        """Look at the time again."""
        self._pokes.put(None)


def _run(pool: weakref.ref[Kept], pokes: queue.SimpleQueue[None]) -> None:
    while True:
        here = pool()
        if here is None:
            return
        wait = here._keep_house()
        del here
        if wait is None:
            return
        with contextlib.suppress(queue.Empty):
            pokes.get(timeout=min(wait, threading.TIMEOUT_MAX))
