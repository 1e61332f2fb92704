"""Report a pool at intervals, from a daemon thread that ends with the pool."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

from ..alarm import Alarm
from .pools import HasStats


def check(every: float) -> None:
    """Raise `ValueError` where this isn't a number of seconds above 0."""
    if not 0 < every <= threading.TIMEOUT_MAX:
        raise ValueError(f"every={every!r}: must be a number of seconds above 0")


def repeat(pool: HasStats, every: float, report: Callable[[HasStats], None], what: str) -> Callable[[], None]:
    """Call `report(pool)` every `every` seconds, and return what ends that.

    The thread has only a weak reference to the pool, and ends with it. Raises `ValueError` where `every` isn't a number
    of seconds above 0.
    """
    check(every)
    end = Alarm()
    held = weakref.ref(pool, end.ring)
    name = f"redpool {pool.config.name} {what}"
    threading.Thread(target=_repeat, args=(held, every, report, end), name=name, daemon=True).start()
    return end.ring


def _repeat(held: weakref.ref[HasStats], every: float, report: Callable[[HasStats], None], end: Alarm) -> None:
    while not end.sleep(every):
        pool = held()
        if pool is None:
            return
        report(pool)
        del pool  # else this thread would keep it alive through the next wait
