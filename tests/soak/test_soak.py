"""Both shells under load and faults, for 12 seconds, or for as many as `SOAK` says: nothing grows.

`make soak` runs it for longer, and shows what was measured.
"""

from __future__ import annotations

import gc
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from redpool import embedded
from redpool.testing import FaultProxy
from truth.crowds import Crowd, Tasks, Threads
from truth.questions import Ledger, Question, questions

from .meters import Reading, growth, read, table

SECONDS = int(os.environ.get("SOAK", "12"))
KEPT = 500
REPLY = 1.0  # seconds; faults are shorter, and when there are none even a slow machine is in time

FAULTS: list[Callable[[FaultProxy], None]] = [
    lambda proxy: proxy.delay(0.02),
    lambda proxy: proxy.byte_by_byte(0.0001),
    lambda proxy: proxy.black_hole(),
    lambda proxy: proxy.half_open(),
    lambda proxy: proxy.partial(30),
    lambda proxy: proxy.refuse(),
    lambda proxy: proxy.hang_up(),
    lambda proxy: proxy.reset(),
]


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc on this platform")
@pytest.mark.usefixtures("quiet_log")
def test_nothing_grows(own_server: embedded.Server, capsys: pytest.CaptureFixture[str]) -> None:
    """After the warm-up memory, threads, sockets and objects stay what they are; and all replies were right."""
    over = threading.Event()
    with FaultProxy(own_server.host, own_server.port) as proxy, ThreadPoolExecutor() as executor:
        at = proxy.url.removesuffix("/0")
        crowds = [
            Threads(f"{at}/1", Random(1), client_name="soak-threads", socket_timeout=REPLY),
            Tasks(f"{at}/2", Random(2), struck=True, client_name="soak-tasks", socket_timeout=REPLY),
        ]
        healed = threading.Event()
        working = [executor.submit(work, crowd, over, healed) for crowd in crowds]
        faults = executor.submit(break_things, proxy, over, healed)
        try:
            readings = measure(SECONDS)
        finally:
            over.set()
        for each in (faults, *working):
            each.result()
    if "SOAK" in os.environ:
        with capsys.disabled():
            sys.stdout.write(f"\n{table(readings)}\n")
    faults_seen = [fault for crowd in crowds for fault in crowd.ledger.faults]
    assert not faults_seen, "\n".join(faults_seen[:10])
    assert not growth(readings), f"{growth(readings)}\n{table(readings)}"


def work(crowd: Crowd, over: threading.Event, healed: threading.Event) -> None:
    """Ask until it is over; then all places must be free."""
    crowd.ledger = Ledger(keeps=KEPT)
    crowd.run(endless(over))
    healed.wait()
    crowd.leave()


def endless(over: threading.Event) -> Iterator[Question]:
    """Questions without end, until it is over."""
    for round in itertools.count():
        for question in questions(Random(round), 1000):
            if over.is_set():
                return
            yield question if not question.counter else anew(question, round)


def anew(question: Question, round: int) -> Question:
    """The same for a counter that nobody has used."""
    counter = f"{round} {question.counter}"
    commands = tuple(
        tuple(counter if word == question.counter else word for word in each) for each in question.commands
    )
    return Question(commands, question.replies, question.together, question.atomic, counter)


def break_things(proxy: FaultProxy, over: threading.Event, healed: threading.Event) -> None:
    """One fault after the other, with pauses; in the end all is well."""
    random = Random(3)
    for fault in itertools.cycle(FAULTS):
        fault(proxy)
        over.wait(0.05 + random.random() * 0.1)
        proxy.heal()
        if over.wait(0.1 + random.random() * 0.3):
            break
    healed.set()


def measure(seconds: int) -> list[Reading]:
    """Once a second."""
    begun = time.monotonic()
    readings = []
    for second in range(1, seconds + 1):
        time.sleep(max(0.0, begun + second - time.monotonic()))
        readings.append(read())
    return readings


def test_growth_is_seen() -> None:
    """What gets more all the time is told from what goes up and down."""
    gc.collect()
    steady = [Reading(50.0 + second % 3, 9.0, 20.0 + second % 5, 90_000.0) for second in range(60)]
    assert not growth(steady)
    assert growth([Reading(50.0 + second / 2, 9.0, 20.0, 90_000.0) for second in range(60)])
    assert growth([Reading(50.0, 9.0 + second // 4, 20.0, 90_000.0) for second in range(60)])
    assert growth([Reading(50.0, 9.0, 20.0 + second, 90_000.0) for second in range(60)])
    assert growth([Reading(50.0, 9.0, 20.0, 90_000.0 + 500 * second) for second in range(60)])
