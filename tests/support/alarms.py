"""Alarms that go off in the main thread at no regular times, and a caller who lives with them."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from random import Random
from types import FrameType

from .crowds import Threads, start_undisturbed
from .interrupting import Interrupted
from .questions import Question

_starts = (threading.Thread.start.__code__, start_undisturbed.__code__)


@contextlib.contextmanager
def alarms(handler: Callable[[], None], longest: float = 0.003) -> Iterator[None]:
    """Call the handler again and again, wherever the main thread is at work within `ask_all`.

    `longest` seconds after one call has ended the next one begins: how far the thread gets in between.
    """
    random = Random(4)
    over = False

    def handle(signum: int, frame: FrameType | None) -> None:
        try:
            if _at_work(frame):
                handler()
        finally:
            if not over:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + random.random() * longest)

    previous = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        yield
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def ask_all(crowd: Threads, supply: Iterator[Question]) -> None:
    """Ask until there are no more questions, whatever a handler raises meanwhile."""
    while True:
        try:
            while (question := crowd.take(supply)) is not None:
                crowd.ask(question)
            return
        except Interrupted:
            crowd.counters.interruptions += 1


def _at_work(frame: FrameType | None) -> bool:
    """Return whether the frame is of something that `ask_all` called. In `ask_all` itself no one would catch it.

    Nor in the midst of a thread's start: CPython holds a lock there that each new thread needs, so that a handler which
    waits for one to connect waits in vain (docs/reliability.md).
    """
    if frame is not None and frame.f_code is ask_all.__code__:
        return False
    if starts_a_thread(frame):
        return False
    while frame is not None and frame.f_code is not ask_all.__code__:
        frame = frame.f_back
    return frame is not None


def starts_a_thread(frame: FrameType | None) -> bool:
    """Return whether a thread that is at this frame is just starting another one."""
    while frame is not None and frame.f_code not in _starts:
        frame = frame.f_back
    return frame is not None
