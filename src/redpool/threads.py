"""Threads of redpool's own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import BuiltinFunctionType
from typing import Any

STARTS_WITHIN = 0.25
"""A new thread that hasn't taken its first step within so many seconds is given up, and another one is started."""

_TRIES = 3
# What CPython says of it, from 3.11 to 3.14.
_NONE_TO_BE_HAD = ("can't start new thread", "can't create new thread")


class NoThread(RuntimeError):
    """No thread is to be had, as when the interpreter is going down."""


def start(work: Callable[..., object], name: str, *args: Any, within: float = STARTS_WITHIN) -> threading.Thread:
    """Have a daemon thread do the work, and return it. Raises `NoThread` where none is to be had.

    What interrupts the caller meanwhile is raised as it is; the work is then done once, or not at all.
    """
    if sys.is_finalizing():
        # CPython up to 3.11 would wait here for ever.
        raise NoThread("can't start a thread: the interpreter is going down")
    for _ in range(_TRIES):
        thread = _Thread(target=work, args=args, name=name, daemon=True)
        thread.starts_within = within
        thread.start()
        if not thread.given_up():
            return thread
    raise NoThread("threads were interrupted before their first step")


class _Thread(threading.Thread):
    """One that survives what interrupts its starter.

    In CPython 3.11 an asynchronous exception for the starter may hit the new thread before its first step, so its
    starter doesn't wait for ever. One that is only slow may come later: `_claim` says which thread has the work. And
    what interrupts the starter just after the thread was made has `Thread.start` take it off the list of those to
    come, as if there were none; so does the thread itself, and whichever is second finds nothing there.
    """

    starts_within = STARTS_WITHIN
    begun = False
    """it has claimed the work: what is raised from then on ends it"""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._claim = threading.RLock()  # so that the thread itself may claim the work twice

    def start(self) -> None:
        if _greenlets():  # which nothing interrupts there
            super().start()
            return
        started: Any = self._started  # type: ignore[attr-defined]  # CPython's own
        wait, within = started.wait, self.starts_within  # without `self`, which would go round in a circle
        started.wait = lambda timeout=None: wait(within)  # noqa: ARG005  CPython's name for it
        interrupted: BaseException
        try:
            super().start()
        except RuntimeError as error:
            if str(error).startswith(_NONE_TO_BE_HAD):
                raise NoThread(str(error)) from error
            raise
        except KeyError as error:
            interrupted = error.__context__ or error
        else:
            return
        raise interrupted

    def given_up(self) -> bool:
        """Take the work away from a thread that has not begun. Return whether it was taken."""
        if self._started.is_set() or not self._claim.acquire(blocking=False):  # type: ignore[attr-defined]  # CPython's
            return False
        with threading._active_limbo_lock:  # type: ignore[attr-defined]  # CPython's own
            threading._limbo.pop(self, None)  # type: ignore[attr-defined]  # else `enumerate` lists it for ever
        return True

    def run(self) -> None:
        if self._claim.acquire(blocking=False):
            self.begun = True
            super().run()

    def _bootstrap_inner(self) -> None:
        try:
            super()._bootstrap_inner()  # type: ignore[misc]  # CPython's own
        except BaseException:
            if self.begun and not _greenlets():  # those that were forked aren't on CPython's list any more
                raise
        if not self.begun:  # what was raised in its first steps was meant for its starter
            self._begin_after_all()
        _detach(self)

    def _begin_after_all(self) -> None:
        """Take the first steps again, of which some may have been taken: `enumerate` lists it while it runs, only."""
        self._set_ident()  # type: ignore[attr-defined]  # CPython's own
        with threading._active_limbo_lock:  # type: ignore[attr-defined]  # CPython's own
            threading._active[threading.get_ident()] = self  # type: ignore[attr-defined]  # CPython's own
            threading._limbo.pop(self, None)  # type: ignore[attr-defined]  # CPython's own
        self._started.set()  # type: ignore[attr-defined]  # CPython's own
        try:
            self.run()
        finally:
            self._delete()  # type: ignore[attr-defined]  # CPython's own


def _detach(thread: threading.Thread) -> None:
    """Have CPython 3.13 or later detach the calling thread, which is about to end: what joins it goes on.

    Else that happens when its object goes, which the frames of an error may keep. In a child that was forked without
    Python's hooks there is no such thread any more, and the process would crash.
    """
    # CPython 3.14 names it so, and 3.13 the other way.
    handle: Any = getattr(thread, "_os_thread_handle", None) or getattr(thread, "_handle", None)
    if handle is not None and not _greenlets():
        handle._set_done()


def own() -> bool:
    """Return whether the calling thread is one of redpool's: what is raised in it is meant for no caller."""
    return isinstance(threading.current_thread(), _Thread)


def _greenlets() -> bool:
    """Return whether gevent has put greenlets in the place of threads."""
    return not isinstance(threading.get_ident, BuiltinFunctionType)


def borrower_name(borrower: int | str | None) -> str:
    """Return `thread 'worker-3' (140...)`, or that it has ended; what isn't a thread's names its borrowers itself."""
    if isinstance(borrower, str):
        return borrower
    for each in threading.enumerate():
        if each.ident == borrower:
            return f"thread {each.name!r} ({borrower})"
    return f"a thread that has ended ({borrower})"
