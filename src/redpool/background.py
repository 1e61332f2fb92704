"""Threads that look after something for the whole process, turn by turn.

Such a thread is its process's own: a forked child has none of its parent's. Greenlets are forked with their process;
they end there.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from abc import ABC, abstractmethod
from typing import Self

from . import threads
from .alarm import Alarm
from .forks import in_child

logger = logging.getLogger("redpool")

_AFTER_A_FAULT = 1.0  # seconds from a turn that failed to the next
_ENDS_WITHIN = 1.0  # seconds that `close()`, or an exit, waits for the last turn

_until_closed: weakref.WeakSet[UntilClosed] = weakref.WeakSet()

# From CPython 3.13 on, a child that was forked without Python's hooks crashes where it collects a parent's thread.
_parents_threads: list[threading.Thread | None] = []


class BackgroundThread(ABC):
    """Takes turns in a thread of its own, each when it is due or when it is woken, until one says that it was the last.

    It may begin again after that. Its turns never overlap.
    """

    _starts_within = threads.STARTS_WITHIN

    def __init__(self, name: str) -> None:
        self._thread_name = name
        self._be_of_this_process()

    def _be_of_this_process(self) -> None:
        """Forget the parent's thread, whose locks may be held for ever."""
        self._pid = os.getpid()
        self._alarm = Alarm()
        self._thread: threading.Thread | None = None
        # Which run of the thread goes on; a caller writes it that begins one. Should two begin at once, or one be
        # interrupted, a further thread waits until it is alone, and ends: only threads of its own take the lock.
        self._run_now: object = None
        self._alone = threading.Lock()

    def is_of_this_process(self) -> bool:
        """Return whether it has begun in this process, not in the parent."""
        return self._pid == os.getpid()

    @abstractmethod
    def _turn(self) -> float | None:
        """Do what is due; return the seconds until the next turn, `None` where this was the last."""

    def _over(self) -> None:  # noqa: B027  most have nothing to do
        """Begin again after the last turn, if something has come meanwhile that did not wake the thread."""

    def _goes_on(self) -> bool:
        return self._run_now is not None

    def _begin(self, pause: float = 0.0) -> None:
        """Have a thread take the first turn after so many seconds. Raises `NoThread` where none is to be had."""
        self._run_now = run = object()
        try:
            self._thread = threads.start(self._run, self._thread_name, run, pause, within=self._starts_within)
        except BaseException:
            self._run_now = None
            raise

    def _wake(self) -> None:
        """Have the next turn come now; safe in finalizers and signal handlers."""
        self._alarm.ring()

    def _run(self, run: object, pause: float) -> None:
        with self._alone:
            try:
                self._take_turns(run, pause)
            finally:
                if self._run_now is run:  # it was interrupted: the next caller that needs it begins again
                    self._run_now = None

    def _take_turns(self, run: object, pause: float | None) -> None:
        while pause is not None:
            self._alarm.sleep(pause)
            if self._run_now is not run or not self.is_of_this_process():  # greenlets are forked, too
                return
            try:
                pause = self._turn()
            except Exception:
                logger.exception("%s: went wrong", self._thread_name)
                pause = _AFTER_A_FAULT
        if self._run_now is run:
            self._run_now = None
            self._over()


class UntilClosed(BackgroundThread):
    """Goes on until it is closed, or used up as a context manager, or the process ends; in forked children, too."""

    closing = False
    """the next turn is the last, if it has not been already; any thread sets it, and none resets it"""

    _starts_within = 20.0  # no caller waits for it, and it isn't tried again

    def __init__(self, name: str) -> None:
        super().__init__(name)
        _until_closed.add(self)

    def close(self) -> None:
        """End it, and wait a second at most until it has ended; without effect where that is done."""
        _until_closed.discard(self)
        self.end()
        thread = self._thread
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(_ENDS_WITHIN)

    def end(self) -> None:
        """Have the thread end, without waiting for that."""
        self.closing = True
        self._wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @abstractmethod
    def begin_in_child(self) -> None:
        """After a fork, in the child: go on there."""
        _parents_threads.append(self._thread)
        self._be_of_this_process()

    def _begin(self, pause: float = 0.0) -> None:
        """Begin, or log why it can't: the process goes on without it."""
        try:
            super()._begin(pause)
        except threads.NoThread as error:
            logger.warning("%r: does nothing: %s", self, error)


def _end_all() -> None:
    # A child that has not begun anew has nothing to end.
    ending = [each for each in _until_closed if each.is_of_this_process()]
    for each in ending:
        each.end()
    for each in ending:
        each.close()


def _begin_in_child() -> None:
    for each in list(_until_closed):
        if not each.closing:
            each.begin_in_child()


in_child(_begin_in_child)
atexit.register(_end_all)
