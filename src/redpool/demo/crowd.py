"""The callers: 32 threads, or 200 tasks, each of which does GET and INCR in turn."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import redis

import redpool
from redpool.bench.load import TaskLoad, ThreadLoad

from .ways import FOR_TASKS, FOR_THREADS, Way

KEY = "redpool:demo"

_UNTIL_STOPPED = 3600.0
_LONGEST_START = 10.0
_NOT_BEGUN = "the demo's tasks have not begun"


class Caller:
    """A thread or a task: what it did, and what it got. Each INCR has a key of its own."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name
        self._begun = 0
        self.calls = 0
        self.failed: Counter[str] = Counter()
        """errors by command and class"""
        self.lost: Counter[str] = Counter()
        """of commands whose reply was lost: errors that say so, by command and class"""

    def call(self) -> None:
        """Send the next command, as a thread does."""
        name, send = self._next()
        try:
            send()
        except redis.RedisError as error:
            self._note(name, error)
            raise
        self.calls += 1

    async def acall(self) -> None:
        """Send the next command, as a task does."""
        name, send = self._next()
        try:
            await send()
        except redis.RedisError as error:
            self._note(name, error)
            raise
        self.calls += 1

    def counters(self) -> Iterator[str]:
        """Yield the key of each INCR so far."""
        return (self._counter(number) for number in range(2, self._begun + 1, 2))

    def _next(self) -> tuple[str, Callable[[], Any]]:
        self._begun += 1
        if self._begun % 2:
            return "GET", lambda: self._client.get(KEY)
        key = self._counter(self._begun)
        return "INCR", lambda: self._client.incr(key)

    def _counter(self, number: int) -> str:
        return f"{KEY}:{self._name}:{number}"

    def _note(self, command: str, error: Exception) -> None:
        counts = self.lost if isinstance(error, redpool.ReplyLost) else self.failed
        counts[f"{command} {type(error).__name__}"] += 1


class Threads:
    """32 threads."""

    name = "threads"
    size = 32

    def __init__(self, way: Way, url: str) -> None:
        self._client = way.make(FOR_THREADS, url)
        self.callers = [Caller(self._client, f"thread {number}") for number in range(self.size)]
        self._load = ThreadLoad([caller.call for caller in self.callers])

    def start(self) -> None:
        """Have the callers begin."""
        self._load.start(_UNTIL_STOPPED)

    def stop(self) -> None:
        """Have each caller finish its present call, and begin no other."""
        self._load.stop()

    def join(self) -> None:
        """Wait until each caller is done, and close their pool."""
        try:
            self._load.join()
        finally:
            self._client.close()


class Tasks:
    """200 tasks, on an event loop in a thread of its own."""

    name = "tasks"
    size = 200

    def __init__(self, way: Way, url: str) -> None:
        self._way = way
        self._url = url
        self.callers: list[Caller] = []
        self._load: TaskLoad | None = None
        self._failure: BaseException | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Have the callers begin."""
        self._thread.start()
        self._begun.wait(_LONGEST_START)
        if self._load is None:
            raise RuntimeError(_NOT_BEGUN) from self._failure

    def stop(self) -> None:
        """Have each caller finish its present call, and begin no other."""
        if self._load is not None:
            self._load.stop()

    def join(self) -> None:
        """Wait until each caller is done and their pool closed."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as failure:
            self._failure = failure
        finally:
            self._begun.set()

    async def _main(self) -> None:
        async with aclosing(self._way.make(FOR_TASKS, self._url)) as client:
            self.callers = [Caller(client, f"task {number}") for number in range(self.size)]
            self._load = TaskLoad([caller.acall for caller in self.callers])
            self._begun.set()
            await self._load.run(_UNTIL_STOPPED)


Crowd = Threads | Tasks
CROWDS: tuple[type[Threads] | type[Tasks], ...] = (Threads, Tasks)
