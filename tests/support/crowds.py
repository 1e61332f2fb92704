"""Many callers over one pool, in each of the shells, and of each kind of pool and client."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, ClassVar

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ConstantBackoff
from redis.retry import Retry as SyncRetry

import redpool
import redpool.asyncio

from . import faces
from .interrupting import Interrupted, interrupt
from .questions import Counters, Question

PATIENCE = 20.0  # seconds: how long a run may go on without any progress
CALLERS = 6
CONNECTIONS = 3
NAME = "storm"
# The kinds: redis-py's client over connections of each caller's own, the same over shared ones, and ours over those.
DEDICATED, SHARED, OURS = KINDS = ("dedicated", "shared", "redpool.Redis")
_RETRIES = 3
_COLLECTS_EVERY = 1.0  # seconds
_PAUSE = 0.002  # seconds between two tries

# What `dump` names as the borrower of a multiplexed connection. At rest there is one for all, and one for bulk.
_HELD_FOR_ALL = "all who share it"
_MOST_HELD_FOR_ALL = 2


def eventually(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Return whether it comes true; what was dropped is collected, again and again: a thread may just have had it."""
    end = time.monotonic() + seconds
    while True:
        gc.collect()
        left = end - time.monotonic()
        if faces.eventually(condition, min(left, _COLLECTS_EVERY)):
            return True
        if left <= _COLLECTS_EVERY:
            return False


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


def pool_threads() -> list[str]:
    """The threads of pools."""
    return [each.name for each in threading.enumerate() if each.name.startswith("redpool ")]


class Crowd(ABC):
    """Callers that take questions from one supply, and ask them over one pool."""

    name: ClassVar[str]
    pool_classes: ClassVar[dict[str, Any]]
    client_classes: ClassVar[dict[str, Any]]
    pool: Any

    def __init__(
        self, url: str, random: Random, *, kind: str = DEDICATED, callers: int = CALLERS, hasty: bool = False,
        interrupted: float = 0.0, forgets: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        self.url = url
        self.pool_class, self.client_class = self.pool_classes[kind], self.client_classes[kind]
        self.random = random
        self.callers = callers
        self.hasty = hasty  # each call has a deadline, too close for many
        self.interrupted = interrupted  # the share of questions whose task is cancelled
        self.counters = Counters(forgets)
        self.options: dict[str, Any] = {
            "max_connections": CONNECTIONS, "timeout": PATIENCE, "client_name": NAME, "socket_timeout": PATIENCE,
            **options,
        }  # fmt: skip

    @staticmethod
    def new_loop() -> asyncio.AbstractEventLoop:
        """What tasks run on."""
        return asyncio.new_event_loop()

    @abstractmethod
    def run(self, questions: Iterator[Question]) -> None:
        """Ask them all."""

    @abstractmethod
    def leave(self) -> None:
        """When there is no trouble any more: see that the pool is whole, and close it."""

    def interrupt(self) -> None:  # noqa: B027  not abstract: there may be nothing to do
        """Interrupt a caller. Tasks see to that themselves."""

    def limit(self) -> contextlib.AbstractContextManager[object]:
        """The deadline of one call."""
        return redpool.deadline(self.random.random() * 0.004) if self.hasty else contextlib.nullcontext()

    def at_rest(self) -> bool:
        """Return whether no caller has a connection or a request any more."""
        stats = self.pool.stats()
        if (stats.waiting, stats.connecting, getattr(stats, "in_flight", 0)) != (0, 0, 0):
            return False
        return bool(stats.in_use == 0 or self._held_for_all() == stats.in_use)

    def _held_for_all(self) -> int:
        """Return how many connections the pool itself holds, for all callers. A slot may not be lost behind them."""
        held = sum(lease.borrower == _HELD_FOR_ALL for lease in self.pool.dump().leases)
        return held if held <= _MOST_HELD_FOR_ALL else 0

    def known_to_server(self) -> int:
        """How many of the pool's connections the server knows."""
        with redis.Redis.from_url(self.url) as client:
            return sum(each["name"] == self.options["client_name"] for each in client.client_list())


class Threads(Crowd):
    """The shell for threads."""

    name = "threads"
    pool_classes: ClassVar[dict[str, Any]] = {
        DEDICATED: redpool.ConnectionPool,
        SHARED: redpool.MultiplexedConnectionPool,
        OURS: redpool.MultiplexedConnectionPool,
    }
    client_classes: ClassVar[dict[str, Any]] = {DEDICATED: redis.Redis, SHARED: redis.Redis, OURS: redpool.Redis}

    def __init__(self, url: str, random: Random, **how: Any) -> None:
        super().__init__(url, random, **how)
        retry = SyncRetry(ConstantBackoff(_PAUSE), _RETRIES)
        self.pool = self.pool_class.from_url(url, retry=retry, **self.options)
        self.client = self.client_class(connection_pool=self.pool)
        self._next = threading.Lock()
        self._over = threading.Event()
        self._done: set[int] = set()
        self._callers: list[threading.Thread] = []
        self._may_be_interrupted: set[int] = set()

    def run(self, questions: Iterator[Question]) -> None:
        callers = [threading.Thread(target=self._call, args=(questions,), daemon=True) for _ in range(self.callers)]
        for caller in callers:
            caller.start()
        self._callers = callers
        before = -1
        while not eventually(lambda: len(self._done) == self.callers):
            # However long it takes, as long as it goes on.
            assert self.counters.progress != before, f"no progress: {self.pool.stats()}\n{self._where()}"
            before = self.counters.progress

    def leave(self) -> None:
        self._over.set()
        for caller in self._callers:
            caller.join(PATIENCE)
            assert not caller.is_alive()
        self._check()

    def interrupt(self) -> None:
        # No caller is interrupted again before it has recovered.
        if self._may_be_interrupted:
            caller = self.random.choice(sorted(self._may_be_interrupted))
            self._may_be_interrupted.discard(caller)
            interrupt(caller)

    def _where(self) -> str:
        """Return where the callers are that hang."""
        frames = sys._current_frames()
        stacks = [traceback.format_stack(frames[each.ident]) for each in self._callers if each.ident in frames]
        return "\n".join("".join(stack[-6:]) for stack in stacks)

    def _call(self, questions: Iterator[Question]) -> None:
        while not self._over.is_set():
            try:
                self._ask_all(questions)
            except Interrupted:
                self.counters.interruptions += 1

    def _ask_all(self, questions: Iterator[Question]) -> None:
        # A function of its own: from CPython 3.12 on no handler covers a loop's jump back (see `test_loops.py`).
        me = threading.get_ident()
        self._may_be_interrupted.add(me)
        while (question := self.take(questions)) is not None:
            self.ask(question)
        self._done.add(me)
        time.sleep(0.01)  # no lock of `threading` may be interrupted
        self._may_be_interrupted.discard(me)

    def take(self, questions: Iterator[Question]) -> Question | None:
        """The next question, which is asked once only."""
        with self._next:
            question = next(questions, None)
            if question is not None:
                self.counters.asked.append(question)
            return question

    def ask(self, question: Question) -> None:
        """Ask, and note what comes of it."""
        try:
            with self.limit():
                replies = self._answer(question)
        except Exception as error:
            self.counters.error(question, error)
        else:
            self.counters.answer(question, replies)

    def _answer(self, question: Question) -> list[Any]:
        if not question.together:
            return [self.client.execute_command(*command) for command in question.commands]
        with self.client.pipeline(transaction=question.atomic) as pipeline:
            for command in question.commands:
                pipeline.execute_command(*command)
            replies: list[Any] = pipeline.execute()
            return replies

    def _check(self) -> None:
        assert eventually(self.at_rest), f"{self.pool!r}, {self.pool.stats()}"
        taken = [self.pool.get_connection() for _ in range(self.pool.max_connections)]
        for number, connection in enumerate(taken):
            with contextlib.suppress(redis.ConnectionError):  # the server has hung up on it just now
                connection.connect()  # one of its own, though others be shared
                connection.send_command("ECHO", number)
                assert connection.read_response() == str(number).encode()
        for connection in taken:
            self.pool.release(connection)
        assert self.client.execute_command("ECHO", "last") == b"last"
        assert eventually(lambda: self.known_to_server() == self.pool.stats().open), "the server knows others"
        self.pool.close()
        assert eventually(lambda: self.known_to_server() == 0)
        assert eventually(lambda: not pool_threads()), pool_threads()


def ask_all(crowd: Threads, supply: Iterator[Question]) -> None:
    """Ask until there are no more questions, whatever a handler raises meanwhile."""
    while True:
        try:
            while (question := crowd.take(supply)) is not None:
                crowd.ask(question)
            return
        except Interrupted:
            crowd.counters.interruptions += 1


class Tasks(Crowd):
    """The shell for event loops."""

    name = "asyncio"
    pool_classes: ClassVar[dict[str, Any]] = {
        DEDICATED: redpool.asyncio.ConnectionPool,
        SHARED: redpool.asyncio.MultiplexedConnectionPool,
        OURS: redpool.asyncio.MultiplexedConnectionPool,
    }
    client_classes: ClassVar[dict[str, Any]] = {
        DEDICATED: redis.asyncio.Redis,
        SHARED: redis.asyncio.Redis,
        OURS: redpool.asyncio.Redis,
    }

    def run(self, questions: Iterator[Question]) -> None:
        self._runner = asyncio.Runner(loop_factory=self.new_loop)
        self._runner.run(self._run(questions))

    def leave(self) -> None:
        with self._runner:
            self._runner.run(self._check())

    async def _run(self, questions: Iterator[Question]) -> None:
        retry = AsyncRetry(ConstantBackoff(_PAUSE), _RETRIES)
        self.pool = self.pool_class.from_url(self.url, retry=retry, **self.options)
        self.client = self.client_class(connection_pool=self.pool)
        pending = {asyncio.create_task(self._call(questions)) for _ in range(self.callers)}
        before = -1
        while pending:
            done, pending = await asyncio.wait(pending, timeout=PATIENCE, return_when=asyncio.FIRST_EXCEPTION)
            for each in done:
                each.result()
            # However long it takes, as long as it goes on.
            stuck = pending and self.counters.progress == before
            assert not stuck, f"no progress: {self.pool.stats()}\n{[each.get_stack() for each in pending]}"
            before = self.counters.progress

    async def _call(self, questions: Iterator[Question]) -> None:
        for question in questions:
            self.counters.asked.append(question)
            if self.random.random() < self.interrupted:
                await self._ask_and_cancel(question)
            else:
                await self.ask(question)

    async def _ask_and_cancel(self, question: Question) -> None:
        asking = asyncio.create_task(self.ask(question))
        for _ in range(self.random.randrange(12)):
            await asyncio.sleep(0)
        if self.random.random() < 0.5:
            await asyncio.sleep(self.random.random() * 0.003)
        asking.cancel()
        try:
            await asking
        except asyncio.CancelledError:
            self.counters.interruptions += 1
            self.counters.progress += 1

    async def ask(self, question: Question) -> None:
        """Ask, and note what comes of it."""
        try:
            with self.limit():
                replies = await self._answer(question)
        except Exception as error:
            self.counters.error(question, error)
        else:
            self.counters.answer(question, replies)

    async def _answer(self, question: Question) -> list[Any]:
        if not question.together:
            return [await self.client.execute_command(*command) for command in question.commands]
        async with self.client.pipeline(transaction=question.atomic) as pipeline:
            for command in question.commands:
                pipeline.execute_command(*command)
            replies: list[Any] = await pipeline.execute()
            return replies

    async def _check(self) -> None:
        assert await self._eventually(self.at_rest), f"{self.pool!r}, {self.pool.stats()}"
        taken = [await self.pool.get_connection() for _ in range(self.pool.max_connections)]
        for number, connection in enumerate(taken):
            with contextlib.suppress(redis.ConnectionError):  # the server has hung up on it just now
                await connection.connect()
                await connection.send_command("ECHO", number)
                assert await connection.read_response() == str(number).encode()
        for connection in taken:
            await self.pool.release(connection)
        assert await self.client.execute_command("ECHO", "last") == b"last"
        known = self.known_to_server
        assert await self._eventually(lambda: known() == self.pool.stats().open), "the server knows others"
        await self.pool.aclose()
        assert await self._eventually(lambda: known() == 0)
        assert await self._eventually(lambda: len(asyncio.all_tasks()) == 1), asyncio.all_tasks()

    async def _eventually(self, condition: Callable[[], object]) -> bool:
        end = time.monotonic() + PATIENCE
        gc.collect()
        while not condition():
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.01)
        return True


class TasksOnUvloop(Tasks):
    """The same, on the other loop."""

    name = "uvloop"

    @staticmethod
    def new_loop() -> asyncio.AbstractEventLoop:
        import uvloop

        return uvloop.new_event_loop()
