"""What wakes a thread that sleeps until something is due."""

from __future__ import annotations

import threading


class Alarm:
    """Have one thread sleep until the time comes, or until it is woken: from a finalizer or a signal handler, too.

    It is a lock that is held while the alarm is silent. To release a lock is one step, which nothing interrupts; an
    `Event` has a lock of its own, for which a finalizer may wait for ever. Nor does `SimpleQueue` do: in CPython up to
    3.12 its `get` blocks for ever where a signal reaches the thread and the time is up before it goes on.
    """

    def __init__(self) -> None:
        self._silent = threading.Lock()
        self._silent.acquire()

    def ring(self, *_: object) -> None:
        """Wake the thread; one that isn't asleep doesn't fall asleep the next time."""
        try:
            self._silent.release()
        except RuntimeError:  # it rings already
            return

    def sleep(self, seconds: float) -> bool:
        """Sleep for so many seconds at most, and return whether the alarm rang."""
        return self._silent.acquire(timeout=max(0.0, min(seconds, threading.TIMEOUT_MAX)))
