"""One call on its way through the gates of a real pool, and what must be true afterwards, in each shell."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry as SyncRetry

import redpool
import redpool.asyncio
from redpool.testing import Script

from .ways import CUT_OFF, NEVER, SLOW, Way

PATIENCE = 20.0  # seconds
_OPTIONS: dict[str, Any] = {
    "timeout": PATIENCE, "socket_timeout": NEVER, "socket_connect_timeout": NEVER, "ping_after_idle": 0.0,
    "client_name": "me", "driver_info": None, "protocol": 2,
}  # fmt: skip


def by_threads(way: Way, size: int) -> None:
    """The call in a thread, with another caller beside it."""
    with Script() as script:
        retry = SyncRetry(NoBackoff(), 0)
        pool = redpool.ConnectionPool(connection_class=script.connection, max_connections=size, retry=retry, **_OPTIONS)
        client = redis.Redis(connection_pool=pool)
        if way.warm:
            assert client.echo("warm") == b"warm"
        way.play(script)
        beside = threading.Thread(target=_ask, args=(client, "beside"))
        beside.start()
        limit = redpool.deadline(CUT_OFF) if way.cut_off else contextlib.nullcontext()
        with limit, contextlib.suppress(redis.RedisError):
            _use(pool, way.release)
        beside.join(PATIENCE)
        assert not beside.is_alive()
        _heal(script)
        assert _eventually(pool, lambda stats: (stats.in_use, stats.waiting, stats.connecting) == (0, 0, 0))
        taken = [pool.get_connection() for _ in range(size)]
        for number, connection in enumerate(taken):
            connection.send_command("ECHO", str(number))
        for number, connection in enumerate(taken):
            assert connection.read_response() == str(number).encode()
            pool.release(connection)
        assert (pool.stats().open, pool.stats().idle) == (size, size)
        pool.close()
        assert pool.stats().open == 0


def _ask(client: Any, token: str) -> None:
    # Whatever befalls a call may befall this one in its place.
    with contextlib.suppress(redis.RedisError):
        assert client.echo(token) == token.encode()


def _use(pool: redpool.ConnectionPool, release: str) -> None:
    connection = pool.get_connection()
    try:
        connection.send_command("ECHO", "mine")
        assert connection.read_response() == b"mine"
        if release in ("error", "cancelled"):
            connection.send_command("ECHO", "never read")
        elif release == "slow":
            time.sleep(SLOW)
    finally:
        if release != "never":
            pool.release(connection)


def _eventually(pool: redpool.ConnectionPool, condition: Any) -> bool:
    end = time.monotonic() + PATIENCE
    while not condition(pool.stats()):
        if time.monotonic() > end:
            return False
        gc.collect()
        time.sleep(0.01)
    return True


def _heal(script: Script) -> None:
    script.dial = script.handshake = script.check = script.send = script.reply = ["ok"]


async def by_tasks(way: Way, size: int) -> None:
    """The call in a task, with another caller beside it."""
    with _closing() as script:
        retry, kind = AsyncRetry(NoBackoff(), 0), script.async_connection
        pool = redpool.asyncio.ConnectionPool(connection_class=kind, max_connections=size, retry=retry, **_OPTIONS)
        client = redis.asyncio.Redis(connection_pool=pool)
        if way.warm:
            assert await client.echo("warm") == b"warm"
        way.play(script)
        beside = asyncio.create_task(_ask_async(client, "beside"))
        struck = asyncio.create_task(_use_async(pool, way.release))
        if way.cut_off:
            await asyncio.sleep(CUT_OFF)
            struck.cancel()
        with contextlib.suppress(asyncio.CancelledError, redis.RedisError):
            await struck
        del struck  # with what it may have dropped
        await asyncio.wait_for(beside, PATIENCE)
        _heal(script)
        assert await _eventually_async(pool, lambda stats: (stats.in_use, stats.waiting, stats.connecting) == (0, 0, 0))
        taken = [await pool.get_connection() for _ in range(size)]
        for number, connection in enumerate(taken):
            await connection.send_command("ECHO", str(number))
        for number, connection in enumerate(taken):
            assert await connection.read_response() == str(number).encode()
            await pool.release(connection)
        assert (pool.stats().open, pool.stats().idle) == (size, size)
        await pool.aclose()
        assert pool.stats().open == 0


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


async def _eventually_async(pool: redpool.asyncio.ConnectionPool, condition: Any) -> bool:
    end = time.monotonic() + PATIENCE
    while not condition(pool.stats()):
        if time.monotonic() > end:
            return False
        gc.collect()
        await asyncio.sleep(0.01)
    return True
