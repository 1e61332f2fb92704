"""How close redpool comes to what no client in Python can beat, and whose part of the CPU time is what.

A row is a case with three sides. `bare` is the same work by a bare socket or protocol. `redis-py` is that under what
the row uses of redis-py: its whole client over a pool that costs nothing, or its commands alone. `redpool` is what
users have. The first side of a row is its *floor*. CPU time, since other work on the machine harms it least.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    aclosing,
    asynccontextmanager,
    closing,
    contextmanager,
)
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio

import redpool
import redpool.asyncio

from .bare import BareProtocol, BareSocket, FreeAsyncClient, FreeAsyncPool, FreeClient, FreePool
from .cases import Case, Measure, faster
from .contenders import PATIENT
from .load import Figures
from .place import APART, FREE, why_not_apart
from .report import FloorReport, Result, Share
from .runner import Tell
from .runner import run as measured
from .setting import KEY, Setting

BARE = "bare"
CLIENT = "redis-py"
OURS = "redpool"

ASYNCIO = "asyncio"
UVLOOP = "uvloop"

MAIN = "cpu_us"

# Calls between two looks at the clock. Tasks that begin and end cost something, too, so each makes several calls.
_BATCH = 8000
_FEWEST_EACH = 4
_THREAD_BATCH = 500

# On a busy machine ten thousand callers wait longer than a pool's defaults let them.
_PATIENT: dict[str, Any] = {**PATIENT, "socket_timeout": PATIENT["timeout"]}

_clock = time.perf_counter
_cpu = time.process_time

Get = Callable[[], Any]
"""Gets the key. On an event loop it returns an awaitable."""

Sides = Mapping[str, Measure]


class _Meter:
    """The CPU time that this process and the server use from now on."""

    def __init__(self, setting: Setting) -> None:
        self._probe = setting.probe
        self._server = self._probe.server_cpu()
        self._own = _cpu()

    def each(self, calls: int) -> Figures:
        """Return the microseconds of each of `calls` calls."""
        own, server = _cpu() - self._own, self._probe.server_cpu() - self._server
        return {"cpu_us": 1e6 * own / calls, "server_us": 1e6 * server / calls}


# -- one thread --------------------------------------------------------------------------------------------------------


def _thread(opened: Callable[[str], AbstractContextManager[Get]], setting: Setting) -> Figures:
    with opened(setting.url) as get:
        _repeat(get)
        meter = _Meter(setting)
        calls, end = 0, _clock() + setting.seconds
        while not calls or _clock() < end:
            _repeat(get)
            calls += _THREAD_BATCH
        return meter.each(calls)


def _repeat(get: Get) -> None:
    for _ in range(_THREAD_BATCH):
        get()


@contextmanager
def _over_socket(gets: Callable[[BareSocket], Get], url: str) -> Iterator[Get]:
    with closing(BareSocket(*_address(url))) as bare:
        yield gets(bare)


@contextmanager
def _own_client(url: str) -> Iterator[Get]:
    with closing(redpool.Redis.from_url(url, **_PATIENT)) as client:
        yield partial(client.get, KEY)


@contextmanager
def _over_pool(pool_class: Any, url: str) -> Iterator[Get]:
    with closing(pool_class.from_url(url, **_PATIENT)) as pool:
        yield partial(redis.Redis(connection_pool=pool).get, KEY)


def _thread_sides(client: Callable[[BareSocket], Any], ours: Callable[[str], AbstractContextManager[Get]]) -> Sides:
    return {
        BARE: partial(_thread, partial(_over_socket, lambda bare: bare.get)),
        CLIENT: partial(_thread, partial(_over_socket, lambda bare: partial(client(bare).get, KEY))),
        OURS: partial(_thread, ours),
    }


# -- tasks -------------------------------------------------------------------------------------------------------------


def _tasks(
    loop: str, callers: int, opened: Callable[[str], AbstractAsyncContextManager[Get]], setting: Setting
) -> Figures:
    async def measure() -> Figures:
        async with opened(setting.url) as get:
            await get()  # which connects, before there is a crowd
            await _at_once(get, callers, 1)
            each = max(_FEWEST_EACH, _BATCH // callers)
            meter = _Meter(setting)
            calls, end = 0, _clock() + setting.seconds
            while not calls or _clock() < end:
                await _at_once(get, callers, each)
                calls += callers * each
            return meter.each(calls)

    with asyncio.Runner(loop_factory=_new_loop(loop)) as event_loop:
        return event_loop.run(measure())


async def _at_once(get: Get, callers: int, each: int) -> None:
    async def caller() -> None:
        for _ in range(each):
            await get()

    await asyncio.gather(*(caller() for _ in range(callers)))


def _new_loop(loop: str) -> Callable[[], asyncio.AbstractEventLoop]:
    new_loop: Callable[[], asyncio.AbstractEventLoop] = import_module(loop).new_event_loop
    return new_loop


@asynccontextmanager
async def _over_protocol(gets: Callable[[BareProtocol], Get], url: str) -> AsyncIterator[Get]:
    loop = asyncio.get_running_loop()
    _, bare = await loop.create_connection(partial(BareProtocol, loop), *_address(url))
    with closing(bare):
        yield gets(bare)


@asynccontextmanager
async def _own_client_async(url: str) -> AsyncIterator[Get]:
    async with aclosing(redpool.asyncio.Redis.from_url(url, **_PATIENT)) as client:
        yield partial(client.get, KEY)


@asynccontextmanager
async def _over_pool_async(pool_class: Any, url: str) -> AsyncIterator[Get]:
    async with aclosing(pool_class.from_url(url, **_PATIENT)) as pool:
        yield partial(redis.asyncio.Redis(connection_pool=pool).get, KEY)


def _task_sides(
    loop: str,
    callers: int,
    client: Callable[[BareProtocol], Any],
    ours: Callable[[str], AbstractAsyncContextManager[Get]],
) -> Sides:
    measure = partial(_tasks, loop, callers)
    return {
        BARE: partial(measure, partial(_over_protocol, lambda bare: bare.get)),
        CLIENT: partial(measure, partial(_over_protocol, lambda bare: partial(client(bare).get, KEY))),
        OURS: partial(measure, ours),
    }


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


# -- the rows ----------------------------------------------------------------------------------------------------------


def _row(name: str, about: str, floor: str, sides: Sides) -> Case:
    return Case(name, about, MAIN, {floor: sides[floor], **sides}, faster, ())


def own_client_tasks(loop: str, callers: int) -> Case:
    """Return the row of `redpool.asyncio.Redis` with so many tasks, on the event loop of a module."""
    sides = _task_sides(loop, callers, FreeAsyncClient, _own_client_async)
    return _row(f"{loop}-{callers}", f"redpool.asyncio.Redis, {callers} tasks on {loop}", BARE, sides)


def _shared_tasks(loop: str, callers: int) -> Case:
    ours = partial(_over_pool_async, redpool.asyncio.MultiplexedConnectionPool)
    sides = _task_sides(loop, callers, _client_over_free_pool_async, ours)
    about = f"redis-py's client over MultiplexedConnectionPool, {callers} tasks on {loop}"
    return _row(f"{loop}-{callers}-shared", about, CLIENT, sides)


def _one_thread(name: str, pool_class: Any) -> Case:
    sides = _thread_sides(_client_over_free_pool, partial(_over_pool, pool_class))
    return _row(f"thread-{name}", f"redis-py's client over {pool_class.__name__}, one thread", CLIENT, sides)


def _client_over_free_pool(bare: BareSocket) -> Any:
    return redis.Redis(connection_pool=FreePool(bare))


def _client_over_free_pool_async(bare: BareProtocol) -> Any:
    return redis.asyncio.Redis(connection_pool=FreeAsyncPool(bare))


_ALL = (
    *(own_client_tasks(ASYNCIO, callers) for callers in (100, 1000, 10_000)),
    *(own_client_tasks(UVLOOP, callers) for callers in (100, 1000)),
    *(_shared_tasks(loop, callers) for loop in (ASYNCIO, UVLOOP) for callers in (100, 1000)),
    _row("thread", "redpool.Redis, one thread", BARE, _thread_sides(FreeClient, _own_client)),
    _one_thread("shared", redpool.MultiplexedConnectionPool),
    _one_thread("dedicated", redpool.ConnectionPool),
)

ROWS: dict[str, Case] = {row.name: row for row in _ALL}


def run(rows: Sequence[Case], rounds: int, setting: Setting, server_pid: int, tell: Tell) -> FloorReport:
    """Measure `rows` and return the report; it notes what can't be done on this machine."""
    notes = []
    if find_spec(UVLOOP) is None:
        there = [row for row in rows if not row.name.startswith(UVLOOP)]
        notes += [f"{row.name}: not measured, uvloop is not installed" for row in rows if row not in there]
        rows = there
    why_not = why_not_apart(server_pid)
    if why_not:
        notes.append(f"client and server are not kept on cores of their own: {why_not}")
    report = measured(rows, [FREE if why_not else APART], rounds, setting, server_pid, tell)
    shares = tuple(_share(result) for result in report.results)
    return FloorReport(report.server, rounds, setting.seconds, shares, (*notes, *report.notes))


def _share(result: Result) -> Share:
    floor, *_ = (figures[MAIN] for figures in result.sides.values())
    bare, client, ours = (result.sides[side][MAIN] for side in (BARE, CLIENT, OURS))
    parts = {"bare_us": bare, "redis_py_us": client - bare, "redpool_us": ours - client}
    server = result.sides[OURS]["server_us"]
    return Share(result.case, result.about, result.mode, floor, ours, floor / ours, parts, server, result.rounds)
