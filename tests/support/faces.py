"""One face for both shells, so that a rule is written once.

A test speaks to a pool as a thread does. `Threads` gives it the real thing; `Asyncio` runs each call as a task on an
event loop of its own, in a thread of its own, and waits for it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import redis
import redis.asyncio as redis_asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ConstantBackoff
from redis.retry import Retry as SyncRetry

import redpool
import redpool.asyncio as redpool_asyncio
from redpool.redispy.internals import has

PATIENCE = 20.0
"""Seconds after which a test stops waiting for what should have happened long ago."""


def eventually(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Return whether `condition` comes true; asked again and again, ever more seldom, for so long at most."""
    end, pause = time.monotonic() + seconds, 0.0005
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.005)
    return True


class Doing:
    """Something done in a thread of its own."""

    def __init__(self, work: Callable[[], Any], name: str | None = None) -> None:
        self._work = work
        self._value: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:
            self.error = error

    @property
    def done(self) -> bool:
        """Whether it has ended, either way."""
        return not self._thread.is_alive()

    def ended(self) -> BaseException | None:
        """Wait for the end; what was raised, if anything."""
        self._thread.join(PATIENCE)
        assert self.done, "still at it"
        return self.error

    def result(self) -> Any:
        """Wait for the end; what was returned."""
        if self.ended() is not None:
            assert self.error is not None
            raise self.error
        return self._value


def together(count: int, work: Callable[[int], Any]) -> list[Doing]:
    """Do `work(0)`, `work(1)`, ... at the same time; returns when all have ended."""
    barrier = threading.Barrier(count)

    def at_once(number: int) -> Any:
        barrier.wait(PATIENCE)
        return work(number)

    doings = [Doing(lambda number=number: at_once(number)) for number in range(count)]  # type: ignore[misc]
    for doing in doings:
        doing.ended()
    return doings


class Bridge:
    """An object of an event loop, for use by threads: every call runs on the loop, and is over when it returns."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        # redis-py's asyncio classes close with `aclose`, and warn about `close`.
        if name == "close" and hasattr(self._target, "aclose"):
            name = "aclose"
        value = self._await(lambda: getattr(self._target, name))
        if callable(value) and not isinstance(value, type):
            return lambda *args, **kwargs: self._call(value, args, kwargs)
        return self._wrapped(value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(self._target, args, kwargs)

    def __enter__(self) -> Any:
        return self._call(self._target.__aenter__, (), {})

    def __exit__(self, *exc_info: object) -> Any:
        return self._call(self._target.__aexit__, exc_info, {})

    def __iter__(self) -> Iterator[Any]:
        iterator = self._target.__aiter__()
        while True:
            try:
                yield self._call(iterator.__anext__, (), {})
            except StopAsyncIteration:
                return

    def __len__(self) -> int:
        return len(self._target)

    def __eq__(self, other: object) -> bool:
        return bool(self._target == (other._target if isinstance(other, Bridge) else other))

    def __hash__(self) -> int:
        return hash(self._target)

    def __repr__(self) -> str:
        return repr(self._target)

    def _call(self, method: Any, args: Any, kwargs: Any) -> Any:
        plain = [_unwrapped(each) for each in args]
        named = {name: _unwrapped(each) for name, each in kwargs.items()}
        return self._wrapped(self._await(lambda: method(*plain, **named)))

    def _await(self, call: Callable[[], Any]) -> Any:
        return on_loop(self._loop, call)

    def _wrapped(self, value: Any) -> Any:
        if value is self._target:
            return self
        ours = type(value).__module__.partition(".")[0] in ("redis", "valkey", "redpool")
        plain = isinstance(value, BaseException) or dataclasses.is_dataclass(value)
        if (ours and not plain) or hasattr(value, "__anext__") or hasattr(value, "__aenter__"):
            return Bridge(value, self._loop)
        return value


def _unwrapped(value: Any) -> Any:
    return value._target if isinstance(value, Bridge) else value


def on_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], Any]) -> Any:
    """What `call()` returns on the loop, awaited there if need be; called from another thread."""

    async def run() -> Any:
        value = call()
        return await value if asyncio.iscoroutine(value) or asyncio.isfuture(value) else value

    # An iterator's end can't pass through a future.
    async def guarded() -> tuple[Any, BaseException | None]:
        try:
            return await run(), None
        except StopAsyncIteration as end:
            return None, end

    value, end = asyncio.run_coroutine_threadsafe(guarded(), loop).result(3 * PATIENCE)
    if end is not None:
        raise end
    return value


class Face(ABC):
    """One of the shells, with a kind of pool and of client."""

    name: ClassVar[str]
    asynchronous: ClassVar[bool]
    redpool: ClassVar[Any]
    """`redpool` or its twin for event loops"""
    redis: ClassVar[Any]
    """`redis` or its twin for event loops"""
    pool_class: ClassVar[Any]
    retry_class: ClassVar[Any]
    own_client: ClassVar[bool] = False
    """whether its clients are redpool's"""

    def __init__(self) -> None:
        self._made: list[Any] = []

    def pool(self, *args: Any, **options: Any) -> Any:
        """A pool, which is closed after the test."""
        if not has("retries by default") and options.get("retry") is not None:
            options.setdefault("retry_on_error", [redis.ConnectionError, redis.TimeoutError])
        return self._keep(self.pool_class(*args, **options))

    def pool_from_url(self, url: str, **options: Any) -> Any:
        """The same, from a URL."""
        return self._keep(self.pool_class.from_url(url, **options))

    def client(self, pool: Any, **options: Any) -> Any:
        """A client over `pool`: an unmodified one of redis-py's, or redpool's."""
        kind = self.redpool.Redis if self.own_client else self.redis.Redis
        return self._wrap(kind(connection_pool=_unwrapped(pool), **options))

    def own(self, *args: Any, **options: Any) -> Any:
        """A `redpool.Redis` with a pool of its own."""
        client = self._wrap(self.redpool.Redis(*args, **options))
        self._made.append(client.connection_pool)
        return client

    def theirs(self, **options: Any) -> Any:
        """A client of redis-py's with a pool of redis-py's."""
        return self._wrap(self.redis.Redis(**options))

    def client_from_pool(self, pool: Any) -> Any:
        """The same, which owns the pool."""
        return self._wrap(self.redis.Redis.from_pool(_unwrapped(pool)))

    def retry(self, retries: int, base: float = 0.0) -> Any:
        """A retry policy of this shell's flavour."""
        return self.retry_class(ConstantBackoff(base), retries)

    def open_connections(self, pool: Any, count: int) -> None:
        """Have `count` connections open and idle, by using so many at once."""
        taken = [pool.get_connection() for _ in range(count)]
        for connection in taken:
            pool.release(connection)

    def close(self) -> None:
        """Close what the test made."""
        for pool in self._made:
            pool.shutdown(timeout=0, force=True)
        self._made.clear()

    def _keep(self, pool: Any) -> Any:
        pool = self._wrap(pool)
        self._made.append(pool)
        return pool

    @abstractmethod
    def _wrap(self, value: Any) -> Any: ...

    @abstractmethod
    def borrower(self, pool: Any, name: str) -> Borrower:
        """A thread or task called `name` that takes a connection in a function called `takes_one`, and keeps it."""


class Borrower(ABC):
    """A thread or task that has a connection until a test has it release that."""

    @abstractmethod
    def release(self) -> None:
        """Have it released; return when that is done."""


class Threads(Face):
    """The pool for threads, as it is."""

    name = "threads"
    asynchronous = False
    pool_class = redpool.ConnectionPool
    redpool: ClassVar[Any] = redpool
    redis: ClassVar[Any] = redis
    retry_class = SyncRetry

    def _wrap(self, value: Any) -> Any:
        return value

    def close(self) -> None:
        super().close()
        ended = eventually(lambda: not _pool_threads(), 0.1) or eventually(_no_pool_threads, 10.0)
        assert ended, f"threads were left behind: {_pool_threads()}"

    def borrower(self, pool: Any, name: str) -> Borrower:
        return _BorrowingThread(pool, name)


def _pool_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("redpool ")]


def _no_pool_threads() -> bool:
    # Those of pools that were dropped, as a cluster's client does, go with the pool.
    gc.collect()
    return not _pool_threads()


class _BorrowingThread(Borrower):
    def __init__(self, pool: Any, name: str) -> None:
        self._pool = pool
        self._taken, self._end = threading.Event(), threading.Event()
        self._doing = Doing(self._borrow, name)
        assert self._taken.wait(PATIENCE)

    def _borrow(self) -> None:
        connection = self.takes_one()
        connection.send_command("ECHO", "it is mine")
        connection.read_response()
        self._taken.set()
        self._end.wait(3 * PATIENCE)
        self._pool.release(connection)

    def takes_one(self) -> Any:
        return self._pool.get_connection()

    def release(self) -> None:
        self._end.set()
        self._doing.result()


class Asyncio(Face):
    """The pool for event loops, behind a bridge."""

    name = "asyncio"
    asynchronous = True
    redpool: ClassVar[Any] = redpool_asyncio
    redis: ClassVar[Any] = redis_asyncio
    pool_class = redpool_asyncio.ConnectionPool
    retry_class = AsyncRetry

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="the tests' loop", daemon=True)
        self._thread.start()

    def _wrap(self, value: Any) -> Any:
        return Bridge(value, self.loop)

    def borrower(self, pool: Any, name: str) -> Borrower:
        return _BorrowingTask(pool._target, name, self.loop)

    def close(self) -> None:
        super().close()
        left = asyncio.run_coroutine_threadsafe(self._leftovers(), self.loop).result(PATIENCE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()
        assert not left, f"tasks were left behind: {left}"

    async def _leftovers(self) -> list[str]:
        others = asyncio.all_tasks() - {task for task in (asyncio.current_task(),) if task is not None}
        if others:
            await asyncio.wait(others, timeout=PATIENCE / 2)
        await self.loop.shutdown_asyncgens()
        return [repr(task) for task in others if not task.done()]


class _BorrowingTask(Borrower):
    def __init__(self, pool: Any, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._pool, self._loop = pool, loop
        self._taken = threading.Event()
        self._end = asyncio.Event()
        self._task: Any = on_loop(loop, lambda: self._start(name))
        assert self._taken.wait(PATIENCE)

    async def _start(self, name: str) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self._borrow(), name=name)]

    async def _borrow(self) -> None:
        connection = await self.takes_one()
        await connection.send_command("ECHO", "it is mine")
        await connection.read_response()
        self._taken.set()
        await self._end.wait()
        await self._pool.release(connection)

    async def takes_one(self) -> Any:
        return await self._pool.get_connection()

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)

        async def ended() -> None:
            await asyncio.wait_for(self._task[0], PATIENCE)

        on_loop(self._loop, ended)


class MultiplexedThreads(Threads):
    """redis-py's client over the pool for threads."""

    name = "threads"
    pool_class = redpool.MultiplexedConnectionPool


class MultiplexedAsyncio(Asyncio):
    """redis-py's client over the pool for event loops."""

    name = "asyncio"
    pool_class = redpool_asyncio.MultiplexedConnectionPool


class OwnThreads(MultiplexedThreads):
    """redpool.Redis."""

    name = "threads, own client"
    own_client = True


class OwnAsyncio(MultiplexedAsyncio):
    """redpool.asyncio.Redis."""

    name = "asyncio, own client"
    own_client = True


# Each kind of pool in each shell, under redis-py's client; and redpool's client.
OF_THREADS: dict[str, type[Face]] = {
    "threads": Threads,
    "threads, multiplexed": MultiplexedThreads,
    "threads, client": OwnThreads,
}
OF_TASKS: dict[str, type[Face]] = {
    "asyncio": Asyncio,
    "asyncio, multiplexed": MultiplexedAsyncio,
    "asyncio, client": OwnAsyncio,
}
MULTIPLEXED: list[type[Face]] = [MultiplexedThreads, MultiplexedAsyncio, OwnThreads, OwnAsyncio]


def say(connection: Any, *command: Any) -> Any:
    """One command and its reply, over a connection taken from a pool."""
    connection.send_command(*command)
    return connection.read_response(push_request=command[0].endswith("SUBSCRIBE"))


def reconnects(connection: Any) -> bool:
    """Whether a connection on lease can be opened anew: right after a failed connect it can't."""
    try:
        connection.connect()
    except (redis.RedisError, OSError):
        return False
    return True


class Recorder:
    """An instrument that records every call: (hook, its arguments after the pool's name)."""

    def __init__(self) -> None:
        self.raised: list[tuple[str, tuple[Any, ...]]] = []
        self.pools: set[str] = set()

    def _tell(self, hook: str, pool: str, *args: Any) -> None:
        self.pools.add(pool)
        self.raised.append((hook, args))

    def named(self, hook: str) -> list[tuple[Any, ...]]:
        """The arguments of each call of one hook."""
        return [args for each, args in list(self.raised) if each == hook]

    @property
    def hooks(self) -> list[str]:
        """The hooks that were called, in order."""
        return [hook for hook, _ in list(self.raised)]

    def connected(self, pool: str, seconds: float) -> None:
        self._tell("connected", pool, seconds)

    def connect_failed(self, pool: str, error: BaseException) -> None:
        self._tell("connect_failed", pool, error)

    def closed(self, pool: str, reason: str, age: float) -> None:
        self._tell("closed", pool, reason, age)

    def acquired(self, pool: str, wait: float) -> None:
        self._tell("acquired", pool, wait)

    def released(self, pool: str, use: float) -> None:
        self._tell("released", pool, use)

    def timed_out(self, pool: str, wait: float) -> None:
        self._tell("timed_out", pool, wait)

    def leaked(self, pool: str, age: float, borrower: str, stack: str) -> None:
        self._tell("leaked", pool, age, borrower, stack)


class Watch:
    """What the server itself says about its clients, asked over a connection that no pool knows."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, decode_responses=True)

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    @property
    def client(self) -> Any:
        """A plain client of redis-py."""
        return self._client

    def ids(self, name: str) -> list[int]:
        """The connections whose `client_name` is `name`, by the server's number for each."""
        return sorted(int(each["id"]) for each in self._client.client_list() if each["name"] == name)

    def connected(self) -> int:
        """Connections that the server has accepted since it started."""
        return int(self._client.info("stats")["total_connections_received"])

    def calls(self, command: str) -> int:
        """How often `command` was called since the server started."""
        return self.all_calls()[command]

    def all_calls(self) -> Counter[str]:
        """Return how often each command was called since the server started."""
        stats = self._client.info("commandstats")
        return Counter({name.removeprefix("cmdstat_"): int(each["calls"]) for name, each in stats.items()})

    def kill(self, *ids: int) -> None:
        """Close connections from the server's end, and see that it is done."""
        for number in ids:
            self._client.client_kill_filter(_id=str(number))
        assert eventually(lambda: not set(ids) & {int(each["id"]) for each in self._client.client_list()})


class Listener:
    """A port that is not a Redis server's: it accepts in the backlog and says nothing, or refuses."""

    def __init__(self, answering: bool) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        if answering:
            self._socket.listen(128)

    @property
    def port(self) -> int:
        """Where it listens, or would."""
        return int(self._socket.getsockname()[1])

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()
