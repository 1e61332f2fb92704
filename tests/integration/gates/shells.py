"""One call on its way through the gates of a real pool, and what must be true afterwards, in each shell."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry as SyncRetry

import redpool
import redpool.asyncio
from redpool.testing import Script
from support.made_up import UNNAMED

from .ways import CUT_OFF, NEVER, SLOW, Way

PATIENCE = 20.0  # seconds
_OPTIONS: dict[str, Any] = {
    "timeout": PATIENCE, "socket_timeout": NEVER, "socket_connect_timeout": NEVER, "ping_after_idle": 0.0,
    "client_name": "me", **UNNAMED, "protocol": 2,
}  # fmt: skip


def by_threads(way: Way, size: int) -> None:
    """The call in a thread, with another caller beside it."""
    with Script() as script:
        retry = SyncRetry(NoBackoff(), 0)
        pool = redpool.ConnectionPool(connection_class=script.connection, max_connections=size, retry=retry, **_OPTIONS)
        client = redis.Redis(connection_pool=pool)
        if way.warm:
            _ask(client, "warm")
        way.play(script)
        beside = threading.Thread(target=_ask, args=(client, "beside"))
        beside.start()
        limit = redpool.deadline(CUT_OFF) if way.cut_off else contextlib.nullcontext()
        with limit, contextlib.suppress(redis.RedisError):
            _use(pool, way.release)
        beside.join(PATIENCE)
        assert not beside.is_alive(), f"the other caller waits: {pool!r}\n{pool.dump()}"
        _heal(script)
        assert _eventually(lambda: _at_rest(pool)), pool
        assert _eventually(lambda: _is_whole(pool, size)), pool
        pool.close()
        # One that is being validated just now is closed once that is through.
        assert _eventually(lambda: pool.stats().open == 0), pool.stats()


def _is_whole(pool: redpool.ConnectionPool, size: int) -> bool:
    """Whether so many callers are answered at once. On a slow machine a healthy connection may seem to be late."""
    taken = []
    try:
        for _ in range(size):
            taken.append(pool.get_connection())  # noqa: PERF401  what was taken before an error goes back, too
        for number, connection in enumerate(taken):
            connection.send_command("ECHO", str(number))
        assert [connection.read_response() for connection in taken] == [str(each).encode() for each in range(size)]
    except redis.TimeoutError:
        return False
    finally:
        for connection in taken:
            pool.release(connection)
    return (pool.stats().open, pool.stats().idle) == (size, size)


def _at_rest(pool: Any) -> bool:
    stats = pool.stats()
    return (stats.in_use, stats.waiting, stats.connecting) == (0, 0, 0)


def _ask(client: Any, token: str) -> None:
    # Whatever befalls a call may befall this one in its place; and the machine may be slow.
    with contextlib.suppress(redis.RedisError):
        reply = client.echo(token)
        assert reply == token.encode(), reply


def _use(pool: redpool.ConnectionPool, release: str) -> None:
    connection = pool.get_connection()
    try:
        connection.send_command("ECHO", "mine")
        reply = connection.read_response()
        assert reply == b"mine", reply
        if release in ("error", "cancelled"):
            connection.send_command("ECHO", "never read")
        elif release == "slow":
            time.sleep(SLOW)
    finally:
        if release != "never":
            pool.release(connection)


def _eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        gc.collect()
        time.sleep(0.01)
    return True


def _heal(script: Script) -> None:
    script.connect = script.handshake = script.ping = script.send = script.reply = ["ok"]


async def by_tasks(way: Way, size: int) -> None:
    """The call in a task, with another caller beside it."""
    with _closing() as script:
        retry, kind = AsyncRetry(NoBackoff(), 0), script.async_connection
        pool = redpool.asyncio.ConnectionPool(connection_class=kind, max_connections=size, retry=retry, **_OPTIONS)
        client = redis.asyncio.Redis(connection_pool=pool)
        if way.warm:
            await _ask_async(client, "warm")
        way.play(script)
        beside = asyncio.create_task(_ask_async(client, "beside"))
        interrupted = asyncio.create_task(_use_async(pool, way.release))
        if way.cut_off:
            await asyncio.sleep(CUT_OFF)
            interrupted.cancel()
        with contextlib.suppress(asyncio.CancelledError, redis.RedisError):
            await interrupted
        del interrupted  # with what it may have dropped
        await asyncio.wait_for(beside, PATIENCE)
        _heal(script)
        assert await _eventually_async(lambda: _at_rest_async(pool)), pool
        assert await _eventually_async(lambda: _is_whole_async(pool, size)), pool
        await pool.aclose()
        assert await _eventually_async(lambda: _has_nothing_open(pool)), pool.stats()


async def _is_whole_async(pool: redpool.asyncio.ConnectionPool, size: int) -> bool:
    taken = []
    try:
        for _ in range(size):
            taken.append(await pool.get_connection())  # noqa: PERF401  known at once, should the next one fail
        for number, connection in enumerate(taken):
            await connection.send_command("ECHO", str(number))
        replies = [await connection.read_response() for connection in taken]
        assert replies == [str(each).encode() for each in range(size)]
    except redis.TimeoutError:
        return False
    finally:
        for connection in taken:
            await pool.release(connection)
    return (pool.stats().open, pool.stats().idle) == (size, size)


async def _at_rest_async(pool: redpool.asyncio.ConnectionPool) -> bool:
    return _at_rest(pool)


async def _has_nothing_open(pool: redpool.asyncio.ConnectionPool) -> bool:
    return pool.stats().open == 0


@contextlib.contextmanager
def _closing() -> Iterator[Script]:
    script = Script()
    try:
        yield script
    finally:
        script.close()


async def _ask_async(client: Any, token: str) -> None:
    with contextlib.suppress(redis.RedisError):
        assert await client.echo(token) == token.encode()


async def _use_async(pool: redpool.asyncio.ConnectionPool, release: str) -> None:
    connection = await pool.get_connection()
    try:
        await connection.send_command("ECHO", "mine")
        assert await connection.read_response() == b"mine"
        if release == "error":
            await connection.send_command("ECHO", "never read")
        elif release == "slow":
            await asyncio.sleep(SLOW)
        elif release == "cancelled":
            asyncio.current_task().cancel()  # type: ignore[union-attr]
    finally:
        if release != "never":
            await pool.release(connection)


async def _eventually_async(condition: Callable[[], Awaitable[bool]]) -> bool:
    end = time.monotonic() + PATIENCE
    while not await condition():
        if time.monotonic() > end:
            return False
        gc.collect()
        await asyncio.sleep(0.01)
    return True
