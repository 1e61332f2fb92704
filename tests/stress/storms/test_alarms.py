"""Signals that come out of the blue, to a thread that works with a busy pool."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from random import Random

import pytest

from redpool import embedded
from support.crowds import KINDS, Threads, ask_all, descriptors, eventually
from support.interrupting import Interrupted, alarms, irregularly
from support.questions import Question, questions

ASKED = 6000 if "SOAK" in os.environ else 400

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals on this platform"),
    pytest.mark.usefixtures("interrupted_anywhere"),
    pytest.mark.filterwarnings("ignore:.*was released twice:RuntimeWarning"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_handlers_that_raise_lose_nothing(kind: str, own_server: embedded.Server) -> None:
    """Wherever the handler raises: each reply is its asker's, nothing runs twice, all slots are free in the end."""

    def raises() -> None:
        raise Interrupted

    crowd = Threads(own_server.url, Random(1), kind=kind)
    ask_under_alarms(crowd, own_server, questions(Random(2), ASKED), raises)
    assert crowd.counters.interruptions
    assert len(crowd.counters.asked) > 0.9 * ASKED


@pytest.mark.parametrize("kind", KINDS)
def test_handlers_that_use_the_pool_are_served(kind: str, own_server: embedded.Server) -> None:
    """The handler's own questions, asked wherever it comes, are answered like all others."""
    crowd = Threads(own_server.url, Random(1), kind=kind)
    supply = questions(Random(2), ASKED)
    handled: list[Question] = []

    def asks() -> None:
        # Not from the common supply: its lock may be what was interrupted.
        number = len(handled)
        question = Question((("INCR", f"handled {number}"),), (1,), counter=f"handled {number}")
        handled.append(question)
        crowd.counters.asked.append(question)
        crowd.ask(question)

    ask_under_alarms(crowd, own_server, supply, asks)
    assert handled
    assert set(handled) <= set(crowd.counters.answered)


def ask_under_alarms(
    crowd: Threads, server: embedded.Server, supply: Iterator[Question], handler: Callable[[], None]
) -> None:
    """This thread asks, as others do, while alarm after alarm goes off."""
    before = descriptors()
    others = threading.Thread(target=crowd.run, args=(supply,))
    others.start()
    with alarms(handler, irregularly(), ask_all):
        ask_all(crowd, supply)
    others.join()
    crowd.leave()
    crowd.counters.check(server.url)
    assert not crowd.counters.late, "with a server that answers, no caller waits in vain"
    assert eventually(lambda: descriptors() <= before), "a socket was left open"
