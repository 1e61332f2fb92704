"""The maintenance thread: the one thread of a pool that stays, and calls `tick` when it is due."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from .. import threads
from ..alarm import Alarm

T = TypeVar("T")

logger = logging.getLogger("redpool")
_monotonic = time.monotonic

# Seconds until it goes on after something was raised that nothing accounts for: it may be raised again and again.
_AFTER_A_FAULT = 1.0


class Maintained(Protocol):
    """What has a maintenance thread."""

    def takes_on(self, maintenance: MaintenanceThread) -> bool:
        """Return whether this is its maintenance thread: called by the thread of it before all else."""

    def run_maintenance(self) -> float | None:
        """Do what is due. Returns the seconds until the next thing is, `None` when there will be none."""

    def look_for_slow(self) -> float:
        """Do what is due more often, and costs little. Returns the seconds until it is again."""


class MaintenanceThread:
    """Wakes when it is time, or when it is woken because the time has changed."""

    def __init__(self, kept: Maintained, name: str) -> None:
        self._kept = kept
        self._alarm = Alarm()
        self._name = name

    def start(self) -> None:
        """Have a thread of its own begin. Raises `NoThread` where none is to be had."""
        threads.start(self._run, self._name)

    def wake_maintenance(self) -> None:
        """Look at the time again."""
        self._alarm.ring()

    def _run(self) -> None:
        if not self._kept.takes_on(self):
            return
        while (wait := self._without_fault(self._kept.run_maintenance)) is not None:
            self._sleep(wait)

    def _sleep(self, seconds: float) -> None:
        """Sleep for so many seconds, or until it is woken."""
        ends = _monotonic() + seconds
        while not self._alarm.sleep(min(seconds, self._without_fault(self._kept.look_for_slow))):
            seconds = ends - _monotonic()
            if seconds <= 0:
                return

    def _without_fault(self, do: Callable[[], T]) -> T:
        while True:
            try:
                return do()
            except Exception:
                # Were it to end, nothing would be looked after any more: the pool counts on it.
                logger.exception("%s: went wrong", self._name)
            time.sleep(_AFTER_A_FAULT)
