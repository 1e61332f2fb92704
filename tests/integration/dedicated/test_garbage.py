"""Errors leave no reference cycle that would keep a dropped connection, and its place, until a garbage collection."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

import redpool
import redpool.asyncio
from redpool import embedded
from redpool.testing import FaultProxy
from support.faces import PATIENCE, Asyncio, Face, Listener, Watch, _pool_threads, eventually, on_loop


@pytest.fixture(autouse=True)
def collector_off() -> Iterator[None]:
    """Garbage collection is late."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_handshake_with_refusals_keeps_nothing(redis_url: str) -> None:
    """The server refuses parts of redis-py's handshake: the connection goes when its holder drops it."""
    with redpool.ConnectionPool.from_url(redis_url) as pool:
        connection = pool.get_connection()
        gone = weakref.ref(connection)
        del connection
        assert eventually(lambda: gone() is None)  # the thread that has connected may still be at it


def test_a_refused_command_keeps_nothing(redis_url: str) -> None:
    """The server refuses a command: the connection goes when its holder drops it."""
    with redpool.ConnectionPool.from_url(redis_url) as pool:
        connection = pool.get_connection()
        gone = weakref.ref(connection)
        connection.send_command("LPUSH", "key")
        with pytest.raises(redis.ResponseError):
            connection.read_response()
        del connection
        assert eventually(lambda: gone() is None)  # the thread that has connected may still be at it


def test_a_lost_reply_keeps_nothing(redis_server: embedded.Server) -> None:
    """The reply is lost: the connection goes when its holder drops it."""
    with (
        FaultProxy(redis_server.host, redis_server.port) as proxy,
        redpool.ConnectionPool(host=proxy.host, port=proxy.port) as pool,
    ):
        connection = pool.get_connection()
        gone = weakref.ref(connection)
        proxy.black_hole()
        connection.send_command("INCR", "key")
        proxy.hang_up()
        with pytest.raises(redpool.ReplyLost):
            connection.read_response()
        del connection
        assert eventually(lambda: gone() is None)  # the thread that has connected may still be at it


def test_a_failed_connect_keeps_no_pool(refusing: Listener) -> None:
    """A pool that is dropped after a connect has failed goes, though the error is remembered."""
    pool = redpool.ConnectionPool(host="127.0.0.1", port=refusing.port)
    with pytest.raises(redis.ConnectionError):
        pool.get_connection()
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert eventually(lambda: gone() is None)  # the thread that has connected may still be at it


# -- a pool that is dropped --------------------------------------------------------------------------------------------


def answered(client: Any, proxy: FaultProxy) -> Any:
    """A call that all is well with."""
    return client.get("key")


def rejected(client: Any, proxy: FaultProxy) -> Any:
    """The server replies with an error."""
    return client.execute_command("SET", "key")


def too_late(client: Any, proxy: FaultProxy) -> Any:
    """The deadline comes first."""
    with redpool.deadline(0.0):
        return client.get("key")


def lost(client: Any, proxy: FaultProxy) -> Any:
    """The reply is lost."""
    client.ping()
    proxy.hang_up()
    return client.incr("n")


def unanswered(client: Any, proxy: FaultProxy) -> Any:
    """The reply doesn't come in time."""
    client.ping()
    proxy.black_hole()
    return client.incr("n")


def not_connected(client: Any, proxy: FaultProxy) -> Any:
    """The server can't be reached."""
    proxy.refuse()
    return client.get("key")


MAKERS: dict[str, Callable[[Any, str], Any]] = {
    "dedicated": lambda options, url: redis.Redis(connection_pool=redpool.ConnectionPool.from_url(url, **options)),
    "multiplexed": lambda options, url: redis.Redis(
        connection_pool=redpool.MultiplexedConnectionPool.from_url(url, **options)
    ),
    "client": lambda options, url: redpool.Redis.from_url(url, **options),
}


@pytest.fixture
def proxy(redis_server: embedded.Server) -> Iterator[FaultProxy]:
    """The way to the server."""
    with FaultProxy(redis_server.host, redis_server.port) as made:
        yield made


@pytest.mark.parametrize("call", [answered, rejected, too_late, lost, unanswered, not_connected])
@pytest.mark.parametrize("kind", MAKERS)
def test_a_pool_that_is_dropped_is_gone(
    proxy: FaultProxy, watch: Watch, kind: str, call: Callable[[Any, FaultProxy], Any]
) -> None:
    """However its last call has ended, and without the collector: its threads go with it, and its connections."""
    client = MAKERS[kind]({"socket_timeout": 0.3, "client_name": "dropped"}, proxy.url)
    gone = weakref.ref(client.connection_pool)
    with contextlib.suppress(redis.RedisError, OSError):
        call(client, proxy)
    del client
    proxy.heal()
    proxy.hang_up()
    assert eventually(lambda: gone() is None, 5.0)
    assert eventually(lambda: not _pool_threads() and not watch.ids("dropped"))


@pytest.mark.parametrize("kind", MAKERS)
def test_a_pool_that_is_dropped_while_it_connects(proxy: FaultProxy, kind: str) -> None:
    """It is gone at once, and its threads with it, however long the connect would take: they don't keep it.

    In a cycle it would stay until the next collection, and that may be long in coming.
    """
    proxy.black_hole()
    client = MAKERS[kind]({"socket_timeout": 3 * PATIENCE, "socket_connect_timeout": 3 * PATIENCE}, proxy.url)
    with contextlib.suppress(redpool.DeadlineExceeded), redpool.deadline(0.05):
        client.get("key")
    pool = client.connection_pool
    pool.itself, gone = pool, weakref.ref(pool)
    assert _pool_threads()
    del client, pool
    assert eventually(lambda: _is_collected(gone), PATIENCE)
    assert eventually(lambda: not _pool_threads(), PATIENCE)


def _is_collected(gone: weakref.ref[Any]) -> bool:
    gc.collect()
    return gone() is None


def test_a_pool_of_a_loop_that_is_dropped_while_it_connects(proxy: FaultProxy) -> None:
    """The same: no task is left of it."""

    async def dropped() -> None:
        options: Any = {"socket_timeout": 3 * PATIENCE, "socket_connect_timeout": 3 * PATIENCE}
        client = redpool.asyncio.Redis.from_url(proxy.url, **options)
        with contextlib.suppress(redpool.DeadlineExceeded), redpool.deadline(0.05):
            await client.get("key")
        pool: Any = client.connection_pool
        pool.itself, gone = pool, weakref.ref(pool)
        del client, pool
        assert _is_collected(gone)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait({task}, timeout=PATIENCE)
        assert len(asyncio.all_tasks()) == 1

    proxy.black_hole()
    asyncio.run(dropped())


@pytest.mark.needs("client-side caching")
@pytest.mark.parametrize("kind", ["dedicated", "multiplexed"])
def test_connections_that_cache_do_not_keep_the_pool(
    redis_url: str, watch: Watch, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are idle are known to a thread, which would keep it for ever; here the collector has to help."""
    monkeypatch.setattr(CacheProxyConnection, "MIN_ALLOWED_VERSION", "6.0.0")
    client = MAKERS[kind]({"protocol": 3, "cache_config": CacheConfig(), "client_name": "caching"}, redis_url)
    client.set("key", "value")
    assert client.get("key") == client.get("key") == b"value"
    gone = weakref.ref(client.connection_pool)
    del client
    gc.collect()
    assert eventually(lambda: gone() is None, 5.0)
    assert eventually(lambda: not _pool_threads() and not watch.ids("caching"))


def test_a_pool_for_each_request_leaves_nothing(redis_url: str, watch: Watch) -> None:
    """300 of them, in four threads, each with a reply and an error reply; nothing is ever closed."""

    def requests() -> None:
        for number in range(25):
            for make in MAKERS.values():
                client = make({"client_name": "request", "min_idle": number % 2}, redis_url)
                client.set("key", "value")
                with pytest.raises(redis.ResponseError):
                    client.execute_command("SET", "key")

    threads = [threading.Thread(target=requests) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert eventually(lambda: not _pool_threads() and not watch.ids("request"))


@pytest.mark.parametrize("shut_down", [False, True])
def test_a_pool_that_is_gone_leaves_nothing_on_its_loop(
    at: dict[str, Any], shut_down: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No timer keeps what it had there: such as that of a connect, which may still take long when it is through."""
    monkeypatch.setattr("redpool.asyncio.connections._LOOK_EVERY", 0.05)

    async def used() -> weakref.ref[Any]:
        pool = redpool.asyncio.MultiplexedConnectionPool(**at)
        client = redpool.asyncio.Redis(connection_pool=pool)
        assert await client.get("key") is None
        assert await client.blpop("key", 0.01) is None
        if shut_down:
            await pool.shutdown()
        return weakref.ref(pool._by_loop[asyncio.get_running_loop()])

    async def gone() -> bool:
        engine = await used()
        for _ in range(20):
            gc.collect()
            if engine() is None:
                return True
            await asyncio.sleep(0.05)
        return False

    assert asyncio.run(gone())


def test_a_task_that_could_not_connect_keeps_no_pool(refusing: Listener) -> None:
    """The loop may know of it for long."""
    face = Asyncio()
    try:
        on_loop(face.loop, lambda: _fails_to_connect(face, refusing.port))
        gc.collect()
        assert eventually(lambda: _gone[-1]() is None, 5.0)
    finally:
        face.close()


_gone: list[weakref.ref[Any]] = []


async def _fails_to_connect(face: Face, port: int) -> None:
    pool = redpool.asyncio.MultiplexedConnectionPool(host="127.0.0.1", port=port)
    _gone.append(weakref.ref(pool))
    with pytest.raises(redis.ConnectionError):
        await redpool.asyncio.Redis(connection_pool=pool).get("key")


def test_what_holds_a_connection_does_not_keep_the_threads_of_a_pool_that_is_gone(redis_url: str, watch: Watch) -> None:
    """A frame in a traceback may, for as long as it likes: what was shared is taken back, not waited for."""
    client = MAKERS["multiplexed"]({"client_name": "kept"}, redis_url)
    client.set("key", "value")
    kept = client.connection_pool._engine.multiplexed.in_use()[0].connection
    del client
    assert eventually(lambda: not _pool_threads() and not watch.ids("kept"))
    assert kept._redpool() is kept
