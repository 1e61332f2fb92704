"""Whatever interrupts a caller, a connect or a close, no slot is lost and no reply reaches another caller."""

from __future__ import annotations

import asyncio
import functools
import os
import select
import threading
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.cache import CacheConfig
from redis.connection import AbstractConnection, CacheProxyConnection
from redis.retry import Retry

import redpool
import redpool.asyncio
from redpool.core.actions import Validate
from redpool.core.pool import PoolCore
from redpool.embedded import Server
from redpool.redispy import packing


class Interrupted(Exception):
    """What a signal handler raises."""


def once(interrupt: Any, then: Any) -> Any:
    """`then`, but the first call is interrupted."""
    interruptions = [interrupt]

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if interruptions:
            raise interruptions.pop()
        return then(*args, **kwargs)

    return interrupted


@pytest.mark.parametrize("name", ["SET", "CONFIG SET"])
def test_a_caller_interrupted_while_a_number_is_packed(name: str) -> None:
    """It is raised; where hiredis itself makes text of the number, the process crashes."""

    class Number(float):
        def __repr__(self) -> str:
            raise Interrupted

    for pack in (packing.pack, lambda args: packing.pack_all([args])):
        with pytest.raises(Interrupted):
            pack((name, "key", Number()))


def test_a_caller_interrupted_before_it_waits_leaves_the_queue(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection that was connected for it is there for the next."""
    with redpool.ConnectionPool.from_url(redis_url, max_connections=1, timeout=2.0) as pool:
        monkeypatch.setattr(pool._engine, "flush", once(Interrupted(), pool._engine.flush))
        with pytest.raises(Interrupted):
            pool.get_connection()
        pool.release(pool.get_connection())
        assert (pool.stats().in_use, pool.stats().waiting) == (0, 0)


def test_an_interrupted_release_is_taken_in_by_the_next_call(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection isn't trusted any more, but its slot is free again."""
    with redpool.ConnectionPool.from_url(redis_url, max_connections=1, timeout=2.0) as pool:
        connection = pool.get_connection()
        monkeypatch.setattr(PoolCore, "release", once(Interrupted(), PoolCore.release))
        with pytest.raises(Interrupted):
            pool.release(connection)
        pool.release(pool.get_connection())
        assert pool.stats().closed == {"error": 1}


def test_orders_that_an_interruption_left_are_carried_out_later(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drain that is interrupted while it closes connections loses no slot."""
    with redpool.ConnectionPool.from_url(redis_url, max_connections=3, timeout=2.0) as pool:
        pool.warm_up(3)
        monkeypatch.setattr("redpool.redispy.lifecycle.close", once(KeyboardInterrupt(), lambda connection: None))
        with pytest.raises(KeyboardInterrupt):
            pool.drain()
        monkeypatch.undo()
        pool.warm_up(3)
        assert pool.stats().idle == 3


def then(interrupt: Any, first: Any) -> Any:
    """`first`, but the first call is interrupted at its end."""
    interruptions = [interrupt]

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        done = first(*args, **kwargs)
        if interruptions:
            raise interruptions.pop()
        return done

    return interrupted


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("silenced", [False, True], ids=["it says so", "it can't say so"])
def test_a_connect_whose_thread_is_interrupted_as_it_begins_frees_its_slot(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, silenced: bool
) -> None:
    """The thread that was to connect ends without an outcome: the waiter gets a connection from another one."""
    with redpool.ConnectionPool.from_url(redis_url, max_connections=1, timeout=5.0) as pool:
        engine = pool._engine
        monkeypatch.setattr(PoolCore, "begin_connect", then(Interrupted(), PoolCore.begin_connect))
        if silenced:
            monkeypatch.setattr(engine._workers, "_lost", once(Interrupted(), engine._workers._lost))
        pool.release(pool.get_connection())
        assert (pool.stats().connecting, pool.stats().in_use, pool.stats().connect_failures) == (0, 0, 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_validation_whose_thread_is_interrupted_as_it_begins_frees_its_slot(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the connection is good is not known: it is closed."""
    with redpool.ConnectionPool.from_url(redis_url, max_connections=1, timeout=5.0) as pool:
        engine, connection = pool._engine, pool.get_connection()
        slot = connection._redpool.slot
        monkeypatch.setattr(PoolCore, "begin_validation", then(Interrupted(), PoolCore.begin_validation))
        pool.release(connection)
        engine.decide(lambda now: engine.core.set_aside(slot, begun=False))
        engine.carry_out([Validate(slot)])
        pool.release(pool.get_connection())
        assert pool.stats().closed == {"invalid": 1}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_connect_whose_task_is_interrupted_as_it_begins_frees_its_slot(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The waiter is told that the connect was ended; the next caller has one of its own."""

    async def main() -> None:
        async with redpool.asyncio.ConnectionPool.from_url(redis_url, max_connections=1, timeout=2.0) as pool:
            monkeypatch.setattr(PoolCore, "begin_connect", then(Interrupted(), PoolCore.begin_connect))
            with pytest.raises(redis.TimeoutError, match="ended"):
                await pool.get_connection()
            await pool.release(await pool.get_connection())
            assert (pool.stats().connecting, pool.stats().in_use) == (0, 0)

    asyncio.run(main())


def test_an_interrupted_disconnect_leaves_no_reply_behind(own_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a disconnect is through, what was sent counts as unanswered."""
    with redpool.ConnectionPool.from_url(own_server.url, max_connections=1, socket_timeout=0.5) as pool:
        client = redis.Redis(connection_pool=pool)
        client.mset({"alice": "alice's", "bob": "bob's"})
        own_server.pause()
        monkeypatch.setattr(AbstractConnection, "disconnect", once(Interrupted(), AbstractConnection.disconnect))
        with pytest.raises(Interrupted):
            client.get("alice")
        own_server.resume()
        assert client.get("bob") == b"bob's"


@pytest.mark.parametrize("face", ["threads", "asyncio"])
def test_the_connections_of_a_factory_are_counted_too(redis_url: str, face: str) -> None:
    """A connection that comes back with a reply outstanding is closed, whatever has created it."""
    at = redis.connection.parse_url(redis_url)
    with redpool.ConnectionPool(functools.partial(redis.Connection), max_connections=1, **at) as pool:
        if face == "threads":
            connection = pool.get_connection()
            connection.send_command("PING")
            pool.release(connection)
            assert pool.stats().closed == {"error": 1}

    async def main() -> None:
        async with redpool.asyncio.ConnectionPool(functools.partial(redis.asyncio.Connection), **at) as pool:
            connection = await pool.get_connection()
            await connection.send_command("PING")
            await pool.release(connection)
            assert pool.stats().closed == {"error": 1}

    if face == "asyncio":
        asyncio.run(main())


def test_a_caller_cancelled_while_a_connection_is_asked_gives_its_place_back(own_server: Server) -> None:
    """The connection that didn't answer in time is closed; another is opened for the next caller."""

    async def main() -> None:
        pool = redpool.asyncio.ConnectionPool.from_url(own_server.url, max_connections=1, ping_after_idle=0)
        async with pool:
            await pool.release(await pool.get_connection())
            own_server.pause()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(pool.get_connection(), 0.05)
            own_server.resume()
            await pool.release(await pool.get_connection())
            assert pool.stats().in_use == 0

    asyncio.run(main())


def test_a_connect_cancelled_before_its_first_step_is_answered_for(redis_url: str) -> None:
    """The program cancels all tasks that it finds: the caller gets an error, and the slot is free."""

    async def main() -> None:
        async with redpool.asyncio.ConnectionPool.from_url(redis_url, max_connections=1, timeout=2.0) as pool:
            before = asyncio.all_tasks()
            caller = asyncio.create_task(pool.get_connection())
            await asyncio.sleep(0)
            found = asyncio.all_tasks() - before
            assert len(found) == 2
            for task in found - {caller}:
                task.cancel()
            with pytest.raises(redis.TimeoutError):
                await caller
            await pool.release(await pool.get_connection())
            assert (pool.stats().connecting, pool.stats().in_use) == (0, 0)

    asyncio.run(main())


def test_a_size_lasts(redis_url: str) -> None:
    """What resize() has set outlives a reset and a fork; one that was shut down is so in the child, too."""
    with redpool.ConnectionPool.from_url(redis_url, max_connections=2) as pool:
        pool.resize(20)
        pool.reset()
        assert pool.max_connections == 20
        pool.shutdown()
        child = os.fork()
        if not child:
            try:
                pool.get_connection()
            except redpool.PoolClosed:
                os._exit(0 if pool.max_connections == 20 else 1)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.needs("retries by default")
def test_a_forced_shutdown_holds_against_a_retry_policy(redis_url: str) -> None:
    """A connection that was cut is not opened again for a pool that was shut down."""
    pool = redpool.ConnectionPool.from_url(redis_url, retry=Retry(NoBackoff(), 3))
    client = redis.Redis(connection_pool=pool)
    seen: list[BaseException] = []

    def wait() -> None:
        try:
            client.xread({"nothing": "$"}, block=60_000)
        except BaseException as error:
            seen.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    while not any("xread" in str(lease.last_command).lower() for lease in pool.dump().leases):
        waiter.join(0.001)
    pool.shutdown(timeout=3.0, force=True)
    waiter.join(20.0)
    assert not waiter.is_alive()
    assert [type(error) for error in seen] == [redpool.PoolClosed]


def test_a_shutdown_waits_for_others_though_the_caller_holds_one(redis_url: str) -> None:
    """Only the caller's own connections aren't waited for."""
    pool = redpool.ConnectionPool.from_url(redis_url)
    pool.get_connection()
    taken, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with pool.connection():
            taken.set()
            may_end.wait(5.0)

    borrower = threading.Thread(target=hold)
    borrower.start()
    taken.wait(5.0)
    threading.Timer(0.1, may_end.set).start()
    pool.shutdown(timeout=5.0)
    waited = may_end.is_set()
    borrower.join(5.0)
    assert waited


@pytest.mark.needs("client-side caching")
def test_a_cached_value_whose_connection_died_is_a_miss(
    redis_server: Server, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can tell any more whether it is true; and it is no caller's error."""
    monkeypatch.setattr(CacheProxyConnection, "MIN_ALLOWED_VERSION", "6.0.0")
    watch = redis.Redis.from_url(redis_url)
    watch.set("key", "value")
    with redpool.ConnectionPool.from_url(redis_url, protocol=3, cache_config=CacheConfig()) as pool:
        first, second = pool.get_connection(), pool.get_connection()
        first.send_command("GET", "key", keys=["key"])
        assert first.read_response() == b"value"
        name = first._conn._sock.getsockname()
        pool.release(first)
        watch.client_kill(f"{name[0]}:{name[1]}")
        assert select.select([first._conn._sock], [], [], 5.0)[0]
        second.send_command("GET", "key", keys=["key"])
        assert second.read_response() == b"value"
        pool.release(second)
    watch.close()
