"""Reads a source again and again in a thread of its own, so that a source that hangs never stops the screen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from redpool.fleet.source import Source

from .headline import Look


class Looks:
    """A daemon thread that opens a source, reads it every `interval` seconds and hands each look to `tell`.

    The thread alone writes `_look`. `tell` is called in that thread.
    """

    def __init__(self, open_source: Callable[[], Source], interval: float, tell: Callable[[Look], None]) -> None:
        self._open, self._interval, self._tell = open_source, interval, tell
        self._look = Look()
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin. A program that ends doesn't wait for the thread, which may hang in a read."""
        threading.Thread(target=self._run, name="redpool top", daemon=True).start()

    def end(self) -> None:
        """Have the thread close the source and end, after the read that is under way."""
        self._ended.set()

    def _run(self) -> None:
        source: Source | None = None
        while not self._ended.is_set():
            began = time.monotonic()
            source = self._read(source)
            if not self._ended.is_set():
                self._tell(self._look)
            self._ended.wait(max(0.0, self._interval - (time.monotonic() - began)))
        if source is not None:
            source.close()

    def _read(self, source: Source | None) -> Source:
        """Read the source, which is opened first where there is none, and return it."""
        source = source or self._open()
        view = source.read()
        if view.error is None:
            self._look = Look(view, None, time.monotonic())
        else:  # what was known before is still shown; the very first view knows nothing
            self._look = Look(self._look.view, view.error, self._look.at)
        return source
