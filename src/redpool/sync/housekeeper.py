"""The housekeeper: the one thread of a pool that stays, and calls `tick` when it is due."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import Protocol

from . import threads


class Kept(Protocol):
    """What has a housekeeper."""

    def keep_house(self) -> float | None:
        """Do what is due. Returns the seconds until the next thing is, `None` when there will be none."""


class Housekeeper:
    """Wakes when it is time, or when it is poked because the time has changed.

    A poke is a put into a `SimpleQueue`, the one primitive that may be used from a finalizer.
    """

    def __init__(self, kept: Kept, name: str) -> None:
        self._kept = kept
        self._pokes: queue.SimpleQueue[None] = queue.SimpleQueue()
        threads.start(self._run, name)

    def poke(self) -> None:
        """Look at the time again."""
        self._pokes.put(None)

    def _run(self) -> None:
        while (wait := self._kept.keep_house()) is not None:
            with contextlib.suppress(queue.Empty):
                self._pokes.get(timeout=min(wait, threading.TIMEOUT_MAX))
