"""Reads a source again and again in a thread of its own, so that a source that hangs never stops the screen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from redpool.fleet.model import FleetView
from redpool.fleet.source import Source

from .headline import Look


class OfService:
    """Shows only those processes of another source that are of one service."""

    def __init__(self, source: Source, service: str) -> None:
        self._source, self._service = source, service
        self.close = source.close

    def read(self) -> FleetView:
        """Return what the other source sees of the service."""
        view = self._source.read()
        return replace(view, processes=tuple(each for each in view.processes if each.service == self._service))


class Looks:
    """A daemon thread that reads a source every `interval` seconds and hands each look to `tell`.

    The thread alone writes `_look`. `tell` is called in that thread.
    """

    def __init__(self, source: Source, interval: float, tell: Callable[[Look], None]) -> None:
        self._source, self._interval, self._tell = source, interval, tell
        self._look = Look()
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin. A program that ends doesn't wait for the thread, which may hang in a read."""
        threading.Thread(target=self._run, name="redpool top", daemon=True).start()

    def end(self) -> None:
        """Have the thread close the source and end, after the read that is under way."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            self._read()
            if not self._ended.is_set():
                self._tell(self._look)
            self._ended.wait(max(0.0, self._interval - (time.monotonic() - began)))
        self._source.close()

    def _read(self) -> None:
        """Look once. What was known before is still shown where there is an error."""
        try:
            view = self._source.read()
            error = view.error
        except Exception as unexpected:  # a thread that ended would leave the screen as it is, and say nothing
            error = f"{type(unexpected).__name__}: {unexpected}"
        self._look = Look(view, None, time.monotonic()) if error is None else replace(self._look, error=error)
