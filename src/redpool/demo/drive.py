"""A mixed load on two pools at once, and what can be seen of it while it runs."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Protocol

import redis
import redis.asyncio

import redpool
import redpool.asyncio
from redpool.bench.load import Figures, TaskLoad, ThreadLoad
from redpool.core.stats import PoolStats
from redpool.embedded import Server

KEY = "redpool:demo"
COUNTER = "redpool:demo:count"

_LOOK_EVERY = 0.05
_SHOW_EVERY = 0.25
_LONGEST_START = 10.0
_NOT_BEGUN = "the demo's tasks have not begun"


@dataclass(frozen=True)
class Moment:
    """One pool and its callers at one moment: `turns`, the calls finished so far, and `errors` by class name."""

    stats: PoolStats
    turns: int
    errors: Counter[str]


@dataclass(frozen=True)
class Outcome:
    """The load as it ended, by pool; `served` is true where every pool served its callers, also after a restart."""

    seconds: float
    restarted_at: float | None
    served: bool
    figures: dict[str, Figures]
    moments: dict[str, Moment]


class Watcher(Protocol):
    """Shows the load while it runs."""

    def __enter__(self) -> "Watcher": ...

    def __exit__(self, *_: object) -> None: ...

    def now(self, elapsed: float, note: str, moments: dict[str, Moment]) -> None:
        """Show the pools as they are after `elapsed` seconds, with a note."""


class Stage(Protocol):
    """Gives the load a watcher."""

    def watcher(self, seconds: float) -> Watcher:
        """Return a watcher for a load of `seconds`."""


class _Threads:
    """32 threads on 4 connections."""

    name = "32 threads, 4 connections"

    def __init__(self, url: str) -> None:
        pool: Any = redpool.ConnectionPool.from_url(url, max_connections=4, name="threads")
        client: Any = redis.Redis(connection_pool=pool)
        self._pool = pool
        self._load = ThreadLoad([mixed(client) for _ in range(32)])

    def start(self, seconds: float) -> None:
        self._load.start(seconds)

    def moment(self) -> Moment:
        return Moment(self._pool.stats(), self._load.turns(), self._load.errors())

    def stop(self) -> None:
        self._load.stop()

    def join(self) -> tuple[Figures, Moment]:
        figures = self._load.join()
        moment = self.moment()
        self._pool.close()
        return figures, moment


class _Tasks:
    """200 tasks on 8 connections, on an event loop in a thread of its own."""

    name = "200 tasks, 8 connections"

    def __init__(self, url: str) -> None:
        self._url = url
        self._load: TaskLoad | None = None
        self._stats: PoolStats | None = None
        self._figures: Figures = {}
        self._failure: BaseException | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._seconds = 0.0

    def start(self, seconds: float) -> None:
        self._seconds = seconds
        self._thread.start()
        self._begun.wait(_LONGEST_START)

    def moment(self) -> Moment:
        if self._load is None or self._stats is None:
            raise RuntimeError(_NOT_BEGUN) from self._failure
        return Moment(self._stats, self._load.turns(), self._load.errors())

    def stop(self) -> None:
        if self._load is not None:
            self._load.stop()

    def join(self) -> tuple[Figures, Moment]:
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._figures, self.moment()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as failure:
            self._failure = failure
        finally:
            self._begun.set()

    async def _main(self) -> None:
        pool: Any = redpool.asyncio.ConnectionPool.from_url(self._url, max_connections=8, name="tasks")
        async with aclosing(pool):
            client: Any = redis.asyncio.Redis(connection_pool=pool)
            self._load = TaskLoad([mixed(client) for _ in range(200)])
            self._stats = pool.stats()
            look = asyncio.create_task(self._look(pool))
            self._begun.set()
            self._figures = await self._load.run(self._seconds)
            look.cancel()
            self._stats = pool.stats()

    async def _look(self, pool: Any) -> None:
        # The pool belongs to its event loop: other threads read the copy that this task takes.
        while True:
            self._stats = pool.stats()
            await asyncio.sleep(_LOOK_EVERY)


def mixed(client: Any) -> Callable[[], Awaitable[Any]]:
    """Return a call that does a GET seven times of ten, else a SET, an INCR or a transaction; awaitable on asyncio."""

    def transaction() -> Any:
        return client.pipeline().incr(COUNTER).expire(COUNTER, 60).execute()

    steps = cycle(
        (
            *[lambda: client.get(KEY)] * 4,
            lambda: client.set(KEY, "a short value", ex=60),
            *[lambda: client.get(KEY)] * 3,
            lambda: client.incr(COUNTER),
            transaction,
        )
    )
    return lambda: next(steps)()


def drive(url: str, server: Server | None, seconds: float, stage: Stage) -> Outcome:
    """Run the load for `seconds`, and return how it ended; a server of the demo's own is restarted halfway."""
    sides = (_Threads(url), _Tasks(url))
    try:
        with stage.watcher(seconds) as watcher:
            for side in sides:
                side.start(seconds)
            restarted_at, turns = _look_on(sides, server, seconds, watcher)
        ended = {side.name: side.join() for side in sides}
    finally:
        for side in sides:
            side.stop()
    moments = {name: moment for name, (_, moment) in ended.items()}
    served = all(moment.turns > before for moment, before in zip(moments.values(), turns, strict=True))
    return Outcome(seconds, restarted_at, served, {name: figures for name, (figures, _) in ended.items()}, moments)


def _look_on(
    sides: "tuple[_Threads, _Tasks]", server: Server | None, seconds: float, watcher: Watcher
) -> tuple[float | None, list[int]]:
    """Show the sides until time is up; return when the server was restarted, and each side's turns by then."""
    began = time.monotonic()
    restarted_at: float | None = None
    turns = [0 for _ in sides]
    note = ""
    while (elapsed := time.monotonic() - began) < seconds:
        if server is not None and restarted_at is None and elapsed > seconds / 2:
            server.restart()
            restarted_at = elapsed = time.monotonic() - began
            turns = [side.moment().turns for side in sides]
            note = f"server restarted at {restarted_at:.1f} s"
        watcher.now(elapsed, note, {side.name: side.moment() for side in sides})
        time.sleep(min(_SHOW_EVERY, seconds / 10))
    return restarted_at, turns
