"""The soak: every kind of pool at once, in one process, under faults and interruptions, for as long as one likes.

All kinds run at the same time, not in turn: each is watched for the whole length, so that slow growth has the same time
to show in each of them, there is one warm-up instead of six, and a run of 12 seconds still says something.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import redis
import redis.asyncio

import redpool
import redpool.asyncio
from redpool import embedded
from redpool.testing import FaultProxy
from support.crowds import KINDS, PATIENCE, Crowd, Tasks, Threads, descriptors, eventually
from support.faces import Doing
from support.questions import Counters, Question, questions

from .meters import Reading, growth, read, table

KEPT = 50  # questions and answers that each crowd remembers
CANCELED = 0.2  # the share of the tasks' questions that are given up: the others shall get somewhere
REPLY = 1.0  # seconds; most faults are shorter, and when there are none even a slow machine is in time
DROPPED = "soak-dropped"  # the name of the connections of pools that are never closed
LINES = 60  # of progress, at most, and one a second at most
# What the crowds store would fill the server in the long run. What is evicted is old: no caller asks for it again.
SERVER = ("--maxmemory", "128mb", "--maxmemory-policy", "allkeys-lru")
_AT_FAULT = (redis.ConnectionError, redis.TimeoutError)


@dataclass(frozen=True)
class Fault:
    """What the path to the server does to the crowds for a while."""

    begin: Callable[[FaultProxy], None]
    lossy: bool = False
    """bytes are lost: the path must end then, since TCP never goes on after a gap"""
    shortest: float = 0.05
    """seconds"""


FAULTS = [
    Fault(lambda proxy: proxy.delay(0.02)),
    Fault(lambda proxy: proxy.byte_by_byte(0.0001)),
    Fault(lambda proxy: proxy.delay(2 * REPLY), shortest=1.2 * REPLY),
    Fault(lambda proxy: proxy.black_hole(), lossy=True),
    Fault(lambda proxy: proxy.half_open(), lossy=True),
    Fault(lambda proxy: proxy.partial(30), lossy=True),
    Fault(lambda proxy: proxy.refuse()),
    Fault(lambda proxy: proxy.hang_up()),
    Fault(lambda proxy: proxy.reset()),
]


_LONGER = 4
"""times the length for which it goes on where something seems to grow"""


class Soak:
    """Six crowds and what troubles them, until it is over; `wrong` says what must not be."""

    def __init__(self, server: embedded.Server, proxy: FaultProxy) -> None:
        self.server, self.proxy = server, proxy
        self.over, self.healed = threading.Event(), threading.Event()
        self.readings: list[Reading] = []
        self.wrong: list[str] = []
        at = proxy.url.removesuffix("/0")
        self.crowds: list[Crowd] = []
        kinds: list[tuple[type[Crowd], str]] = [(each, kind) for each in (Threads, Tasks) for kind in KINDS]
        for number, (crowd_class, kind) in enumerate(kinds, 1):
            self.crowds.append(
                crowd_class(
                    f"{at}/{number}",
                    Random(number),
                    kind=kind,
                    interrupted=CANCELED,
                    client_name=f"soak-{crowd_class.name}-{number}",
                    socket_timeout=REPLY,
                )
            )

    def run(self, seconds: int, say: Callable[[str], None]) -> None:
        """Run for so many seconds, and see then that all is at rest."""
        working = [Doing(lambda each=each: self._work(each)) for each in self.crowds]  # type: ignore[misc]
        troubles = [Doing(self._break_things), Doing(self._interrupt), Doing(self._drop), Doing(self._drop_on_a_loop)]
        try:
            self._measure(seconds, say, working)
        finally:
            self.over.set()
        faulthandler.dump_traceback_later(20 * PATIENCE, exit=True)
        self._end(troubles)
        self.healed.set()
        self._end(working)
        for crowd in self.crowds:
            self.wrong += [f"{crowd.options['client_name']}: {fault}" for fault in crowd.counters.faults[:3]]
        self.wrong += [f"growth: {each}" for each in growth(self.readings)]
        if not eventually(lambda: not self._dropped()):
            self.wrong.append(f"connections of pools that were dropped: {self._dropped()}")

    def _end(self, doings: list[Doing]) -> None:
        for doing in doings:
            eventually(lambda doing=doing: doing.done, 3 * PATIENCE)  # type: ignore[misc]
            if not doing.done:
                self.wrong.append("a crowd, or what troubles it, does not end")
            elif doing.error is not None:
                self.wrong.append(repr(doing.error))

    def _work(self, crowd: Crowd) -> None:
        """Ask until it is over; then all slots must be free."""
        crowd.counters = Counters(keeps=KEPT)
        crowd.run(self._supply(crowd.random))
        self.healed.wait()
        crowd.leave()

    def _supply(self, random: Random) -> Iterator[Question]:
        # Not a generator: that would end for good where a caller is interrupted while it takes a question.
        return itertools.takewhile(lambda _: not self.over.is_set(), questions(Random(random.random()), sys.maxsize))

    def _measure(self, seconds: int, say: Callable[[str], None], working: list[Doing]) -> None:
        """Read once a second; end early where a crowd ended, or gets no further."""
        begun = time.monotonic()
        moved = [(0, begun)] * len(self.crowds)
        every = -(-seconds // LINES)
        say("second  memory MB  threads  descriptors  objects  errors  interruptions  questions of each crowd")
        for second in itertools.count(1):
            # On a busy machine the warm-up takes longer. What leaks goes on growing; what warms up does not.
            if second > seconds and (second > _LONGER * seconds or not growth(self.readings)):
                return
            # Where the whole process stands still, only a thread without Python can say so, and end it.
            faulthandler.dump_traceback_later(3 * PATIENCE, exit=True)
            time.sleep(max(0.0, begun + second - time.monotonic()))
            self.readings.append(read())
            if second % every == 0 or second == seconds:
                say(self._line(second))
            now = time.monotonic()
            progress = [crowd.counters.progress for crowd in self.crowds]
            moved = [was if was[0] == count else (count, now) for was, count in zip(moved, progress, strict=True)]
            if any(doing.done for doing in working) or any(now - since > PATIENCE for _, since in moved):
                self.wrong.append(f"a crowd came to a stop in second {second}: questions of each {progress}")
                return

    def _line(self, second: int) -> str:
        reading = self.readings[-1]
        errors = sum(sum(crowd.counters.errors.values()) for crowd in self.crowds)
        interruptions = sum(crowd.counters.interruptions for crowd in self.crowds)
        counts = " ".join(str(crowd.counters.progress) for crowd in self.crowds)
        return (
            f"{second:6}  {reading.memory:9.1f}  {reading.threads:7g}  {reading.descriptors:11g}  "
            f"{reading.objects:7g}  {errors:6}  {interruptions:13}  {counts}"
        )

    # -- trouble -----------------------------------------------------------------------------------------------------

    def _break_things(self) -> None:
        """Bring about one fault after the other, with pauses; in the end all is well."""
        random = Random(3)
        for fault in itertools.cycle(FAULTS):
            fault.begin(self.proxy)
            self.over.wait(fault.shortest + random.random() * 0.1)
            if fault.lossy:
                self.proxy.hang_up()
            self.proxy.heal()
            if self.over.wait(0.1 + random.random() * 0.3):
                return

    def _interrupt(self) -> None:
        """Interrupt threads. Tasks are cancelled by their crowd."""
        random = Random(4)
        while not self.over.wait(random.random() * 0.05):
            random.choice(self.crowds).interrupt()

    def _drop(self) -> None:
        """Use a pool of each kind in turn, and drop it without closing it; every other one in a cycle."""
        for number in itertools.count():
            if self.over.wait(0.1):
                return
            client = self._to_be_dropped(redpool, redis.Redis, number)
            with contextlib.suppress(*_AT_FAULT):
                if client.echo(str(number)) != str(number).encode():
                    self.wrong.append("a pool that is dropped swapped a reply")
            with contextlib.suppress(redis.ResponseError, *_AT_FAULT):
                client.execute_command("SET", "without a value")
            if number % 2:
                client.connection_pool.itself = client.connection_pool
            del client

    def _drop_on_a_loop(self) -> None:
        asyncio.run(self._drop_by_tasks())

    async def _drop_by_tasks(self) -> None:
        for number in itertools.count():
            await asyncio.sleep(0.1)
            if self.over.is_set():
                return
            client = self._to_be_dropped(redpool.asyncio, redis.asyncio.Redis, number)
            with contextlib.suppress(*_AT_FAULT):
                if await client.echo(str(number)) != str(number).encode():
                    self.wrong.append("a pool that is dropped swapped a reply")
            with contextlib.suppress(redis.ResponseError, *_AT_FAULT):
                await client.execute_command("SET", "without a value")
            if number % 2:
                client.connection_pool.itself = client.connection_pool
            del client

    def _to_be_dropped(self, ours: Any, client_class: Any, number: int) -> Any:
        """A client of redis-py's over a dedicated or a multiplexed pool, or one of ours."""
        options = {
            "max_connections": 2, "min_idle": number // 2 % 2, "socket_timeout": REPLY, "client_name": DROPPED,
        }  # fmt: skip
        kind = number % 3
        if kind == 0:
            return ours.Redis.from_url(self.proxy.url, **options)
        pool_class = ours.ConnectionPool if kind == 1 else ours.MultiplexedConnectionPool
        return client_class(connection_pool=pool_class.from_url(self.proxy.url, **options))

    def _dropped(self) -> list[str]:
        with redis.Redis.from_url(self.server.url) as client:
            return [each["addr"] for each in client.client_list() if each["name"] == DROPPED]


def soak(seconds: int, say: Callable[[str], None]) -> list[str]:
    """Run the soak; what must not be, if anything."""
    with asyncio.Runner() as runner:
        runner.run(asyncio.sleep(0))  # what a loop opens once and for all is no leak
    gc.collect()
    gc.freeze()
    before = descriptors()
    with embedded.start(args=SERVER) as server, FaultProxy(server.host, server.port) as proxy:
        run = Soak(server, proxy)
        run.run(seconds, say)
    if not eventually(lambda: descriptors() <= before):
        run.wrong.append("a socket was left open")
    faulthandler.cancel_dump_traceback_later()
    if run.wrong:
        say(table(run.readings))
    return run.wrong
