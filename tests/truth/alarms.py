"""Alarms that go off in the main thread at no regular times, and a caller who lives with them."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from random import Random

from .crowds import Threads
from .questions import Question
from .striking import Struck


@contextlib.contextmanager
def alarms(handler: Callable[[], None], longest: float = 0.003) -> Iterator[None]:
    """Call the handler again and again, at no regular times; what it raises at the end is of no interest.

    `longest` seconds after one call has ended the next one begins: how far the thread gets in between.
    """
    random = Random(4)

    def handle(*_: object) -> None:
        try:
            handler()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0002 + random.random() * longest)

    previous = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        yield
    finally:
        quiet = False
        while not quiet:
            with contextlib.suppress(Struck):
                signal.signal(signal.SIGALRM, signal.SIG_IGN)
                quiet = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def ask_all(crowd: Threads, supply: Iterator[Question]) -> None:
    """Ask until there are no more questions, whatever a handler raises meanwhile."""
    while True:
        try:
            while (question := crowd.take(supply)) is not None:
                crowd.ask(question)
            return
        except Struck:
            crowd.ledger.strikes += 1
