"""One kind of pool, in a process of its own, which prints what it found as JSON.

`python -m stress.switching.child SHELL KIND SECONDS`

The interpreter switches threads whenever it may and collects garbage at every other allocation. At first nothing else
goes on, so that no caller may get any error; then callers are interrupted, by alarms and by asynchronous exceptions.
Meanwhile pipelines and subscribers are dropped in cycles.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import itertools
import json
import logging
import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from redpool import embedded
from support.crowds import PATIENCE, Crowd, Tasks, Threads, ask_all, descriptors, eventually
from support.faces import Doing
from support.interrupting import Interrupted, alarms, irregularly, start_undisturbed
from support.questions import EXPECTED, Counters, Question, questions

SERVER = ("--maxmemory", "128mb", "--maxmemory-policy", "allkeys-lru")
CANCELED = 0.5  # the share of the tasks' questions that are given up
LONGEST = 0.05  # seconds between two alarms: everything is slow here, and the main thread shall get somewhere
_SHELLS: dict[str, type[Crowd]] = {"threads": Threads, "asyncio": Tasks}


@dataclass
class Found:
    """What a run of one kind found."""

    answered: int = 0
    interruptions: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    """the errors of interrupted callers, and of those beside them"""
    wrong: list[str] = field(default_factory=list)
    """what must never be: a wrong reply, a bare error, one with no cause, a caller that hangs, a slot that is lost"""


_collecting_in: list[int] = []
"""the thread in which the collector is at work"""


def _note_collection(phase: str, _info: object) -> None:
    # No alarm comes in here: as the collector begins, it couldn't know yet that this thread is at it.
    _collecting_in[:] = [threading.get_ident()] if phase == "start" else []


class Stress:
    """One crowd after the other, each for a share of the time."""

    def __init__(self, server: embedded.Server, shell: str, kind: str) -> None:
        self.server, self.kind = server, kind
        self.crowd_class = _SHELLS[shell]
        self.found = Found()
        sys.unraisablehook = self._unraisable
        gc.callbacks.append(_note_collection)
        threading.excepthook = self._in_a_thread

    def run(self, seconds: float) -> Found:
        """Run both halves."""
        for phase, interrupted in (("calm", False), ("interrupted", True)):
            crowd = self._crowd(phase, interrupted)
            try:
                self._run(crowd, time.monotonic() + seconds / 2, interrupted)
            except Exception as error:
                self._wrong(phase, "".join(traceback.format_exception(error))[-3000:])
            counters = crowd.counters
            self.found.answered += len(counters.answered)
            self.found.interruptions += counters.interruptions
            for fault in counters.faults:
                self._wrong(phase, fault)
            if counters.late:
                self._wrong(phase, f"callers who waited in vain: {counters.late}")
            if interrupted:
                self.found.errors = dict(counters.errors)
            elif counters.errors:
                self._wrong(phase, f"errors with no cause: {dict(counters.errors)}")
        return self.found

    def _crowd(self, phase: str, interrupted: bool) -> Crowd:
        # A database of its own, since no other caller may use its counters.
        url = f"{self.server.url.removesuffix('/0')}/{1 + interrupted}"
        share = CANCELED if interrupted else 0.0
        crowd = self.crowd_class(url, Random(1), kind=self.kind, interrupted=share, client_name=f"stress-{phase}")
        crowd.counters = Counters()
        return crowd

    def _run(self, crowd: Crowd, end: float, interrupted: bool) -> None:
        """Have the crowd ask until then; see that all is at rest, and that nothing ran twice."""
        over = threading.Event()
        supply = itertools.takewhile(
            lambda _: time.monotonic() < end and not over.is_set(), questions(Random(interrupted), sys.maxsize)
        )
        before = descriptors()
        asking = Doing(lambda: crowd.run(supply))
        beside = []
        nothing_dropped = threading.Event()
        collecting = Doing(lambda: self._collect(nothing_dropped))
        if isinstance(crowd, Threads):
            beside.append(Doing(lambda: self._litter(crowd, over)))
        try:
            if interrupted:
                beside.append(Doing(lambda: self._interrupt(crowd, over)))
            with (
                alarms(self._handler(crowd), irregularly(LONGEST), ask_all, _note_collection)
                if interrupted
                else contextlib.nullcontext()
            ):
                if isinstance(crowd, Threads):
                    ask_all(crowd, supply)
            while not asking.done:
                time.sleep(0.1)
        finally:
            over.set()
        try:
            for each in (asking, *beside):
                each.result()
        finally:
            nothing_dropped.set()
        collecting.result()
        crowd.leave()
        crowd.counters.check(crowd.url)
        assert eventually(lambda: descriptors() <= before), "a socket was left open"

    @staticmethod
    def _handler(crowd: Crowd) -> Callable[[], None]:
        """What an alarm does to a thread that asks, in turn: raise, or use the pool."""
        turn = itertools.count()

        def handler() -> None:
            assert isinstance(crowd, Threads)
            number = next(turn)
            # What interrupts the collector waits in vain for what only the collector returns.
            if number % 3 or _collecting_in == [threading.get_ident()]:
                raise Interrupted
            # Not from the common supply: its lock may be what was interrupted.
            counter = f"handled {number}"
            question = Question((("INCR", counter),), (1,), counter=counter)
            crowd.counters.asked.append(question)
            crowd.ask(question)

        return handler

    @staticmethod
    def _interrupt(crowd: Crowd, over: threading.Event) -> None:
        """Interrupt callers in other threads. Tasks are canceled by their crowd."""
        random = Random(5)
        while not over.wait(random.random() * 0.01):
            crowd.interrupt()

    @staticmethod
    def _litter(crowd: Threads, over: threading.Event) -> None:
        """Drop what holds a connection, in a cycle, so that the collector returns it from anywhere."""
        for number in itertools.count():
            if over.wait(0.005):
                return
            dropped: Any = crowd.client.pipeline() if number % 2 else crowd.client.pubsub()
            with contextlib.suppress(*EXPECTED):
                if number % 2:
                    dropped.watch("dropped")
                else:
                    dropped.subscribe("dropped")
            dropped.itself = dropped

    @staticmethod
    def _collect(nothing_dropped: threading.Event) -> None:
        """Collect what was dropped where it has all slots, so that no other thread gets to do anything any more."""
        while not nothing_dropped.wait(0.1):
            gc.collect()

    # -- what is raised where no caller gets it ----------------------------------------------------------------------

    def _wrong(self, phase: str, what: str) -> None:
        self.found.wrong.append(f"{phase}: {what}")

    def _unraisable(self, raised: Any) -> None:
        if raised.exc_type is not Interrupted:  # which this test raises
            self._wrong("in a finalizer", f"{raised.exc_type.__name__}: {raised.exc_value} in {raised.object!r}"[:500])

    def _in_a_thread(self, raised: Any) -> None:
        if raised.exc_type is not Interrupted:
            name = getattr(raised.thread, "name", None)
            self._wrong("in a thread", f"{name}: {raised.exc_type.__name__}: {raised.exc_value}"[:500])


def main(shell: str, kind: str, seconds: float) -> None:
    """Find and print. A process that hangs ends by itself, and says where its threads are."""
    faulthandler.enable()
    faulthandler.dump_traceback_later(3 * seconds + 6 * PATIENCE, exit=True)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)  # an interruption would leave its lock locked
    threading.Thread.start = start_undisturbed  # type: ignore[assignment, method-assign]
    with asyncio.Runner() as runner:
        runner.run(asyncio.sleep(0))  # what a loop opens once and for all is no leak
    with embedded.start(args=SERVER) as server:
        stress = Stress(server, shell, kind)
        gc.collect()
        gc.freeze()
        gc.set_threshold(1)
        sys.setswitchinterval(1e-6)
        found = stress.run(seconds)
    sys.stdout.write(json.dumps(asdict(found)))
    sys.stdout.flush()
    if any("no progress" in each or "still at it" in each for each in found.wrong):
        faulthandler.dump_traceback(all_threads=True)
    os._exit(0)  # a thread that hangs shall not keep the process


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
