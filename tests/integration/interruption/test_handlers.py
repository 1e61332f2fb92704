"""A signal handler or a finalizer may come while its thread is inside the pool (field notes 42 and 43)."""

from __future__ import annotations

import gc
import os
import signal
import time
from typing import Any

import pytest
import redis

import redpool
from redpool import threads
from support.faces import eventually
from support.interrupting import alarms


def test_a_handler_that_comes_before_a_connect_has_begun_is_served(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connect that was to serve its caller waits for the handler, which stands above it on the same stack."""
    start, taken = threads.start, []

    def interrupted(*args: Any) -> Any:
        monkeypatch.setattr(threads, "start", start)
        taken.append(pool.get_connection())  # the next connect's connection goes to the caller, which came first
        return start(*args)

    with redpool.ConnectionPool.from_url(redis_url, max_connections=2, timeout=5.0) as pool:
        monkeypatch.setattr(threads, "start", interrupted)
        taken.append(pool.get_connection())
        assert pool.stats().in_use == 2
        for connection in taken:
            pool.release(connection)


def test_a_command_from_within_the_pool_is_served(redis_url: str) -> None:
    """A caller that interrupts a thread that holds the pool's lock gets an overflow connection, closed afterwards."""
    with redpool.ConnectionPool.from_url(redis_url) as pool:
        client = redis.Redis(connection_pool=pool)
        client.set("key", "value")
        before = pool.stats()
        with pool._engine.guard:
            assert client.get("key") == b"value"
        after = pool.stats()
        assert (after.open, after.acquired, after.connected) == (before.open, before.acquired, before.connected)
        assert eventually(lambda: len(client.client_list()) == 1)


def test_a_release_from_within_the_pool_is_taken_in_later(redis_url: str) -> None:
    """What is released while its thread is inside the pool comes back with the next call, and not before."""
    with redpool.ConnectionPool.from_url(redis_url) as pool:
        first, second = pool.get_connection(), pool.get_connection()
        with pool._engine.guard:
            pool.release(first)
            assert pool._engine.core.in_use == 2
        pool.release(second)
        assert (pool.stats().in_use, pool.stats().idle) == (0, 2)


def test_an_abandoned_subscription_comes_back_from_within_the_pool(redis_url: str) -> None:
    """A PubSub that is collected while its thread holds the lock neither hangs nor loses its slot."""
    with redpool.ConnectionPool.from_url(redis_url) as pool:
        gc.collect()  # so that no collection comes by itself, which would order what is garbage in another way
        subscription = redis.Redis(connection_pool=pool).pubsub()
        subscription.subscribe("channel")
        cycle = [subscription]
        cycle.append(cycle)
        del subscription, cycle
        with pool._engine.guard:
            gc.collect()
        pool.release(pool.get_connection())
        assert pool.stats().in_use == 0


def test_a_subscriber_from_within_the_pool_leaves_as_ever(redis_url: str) -> None:
    """Its connection, beside the pool, goes on to no caller, and is closed."""
    with redpool.ConnectionPool.from_url(redis_url, protocol=3) as pool:
        client = redis.Redis(connection_pool=pool)
        client.ping()
        with pool._engine.guard:
            subscription = client.pubsub()
            subscription.subscribe("channel")
            assert subscription.get_message(timeout=5.0)
            subscription.close()
        assert eventually(lambda: len(client.client_list()) == 1)


def test_a_disconnect_from_within_the_pool_is_one_change(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread makes it as soon as the pool's lock is free, and no other caller sees half of it."""
    started, start = list[str](), threads.start

    def note(work: Any, name: str, *args: Any) -> None:
        started.append(name)
        start(work, name, *args)

    with redpool.ConnectionPool.from_url(redis_url) as pool:
        pool.release(pool.get_connection())
        monkeypatch.setattr(threads, "start", note)
        with pool._engine.guard:
            pool.disconnect()
            assert len(started) == 1
        assert eventually(lambda: pool.stats().open == 0)


@pytest.mark.parametrize("kind", [redis.Redis, redpool.Redis])
@pytest.mark.parametrize("forked", [False, True])
def test_a_multiplexed_call_from_within_the_pool_waits_for_no_connection(
    redis_url: str, kind: type[redis.Redis], forked: bool
) -> None:
    """None is open, and what would connect one waits for the interrupted thread: the call has one beside the pool."""
    with redpool.MultiplexedConnectionPool.from_url(redis_url, timeout=1.0) as pool:
        if forked:
            child = os.fork()
            if child:
                assert os.waitpid(child, 0)[1] == 0
                return
        try:
            client = kind(connection_pool=pool)
            pool.stats()  # which begins anew in a child
            with pool._engine.guard:
                assert client.echo("mine") == b"mine"
                pipeline = client.pipeline()
                pipeline.echo("first")
                pipeline.echo("second")
                assert pipeline.execute() == [b"first", b"second"]
            assert pool.stats().connected == 0
        except BaseException:
            if forked:
                os._exit(1)
            raise
        if forked:
            os._exit(0)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals on this platform")
def test_a_storm_of_signal_handlers_that_use_the_pool(redis_url: str) -> None:
    """Handlers that send a command interrupt a busy pool anywhere: each is served once, and nothing is lost."""
    handled = 0
    with redpool.ConnectionPool.from_url(redis_url, max_connections=3) as pool:
        client = redis.Redis(connection_pool=pool)

        def handler() -> None:
            nonlocal handled
            client.incr("handled")
            handled += 1

        with alarms(handler, lambda: 0.0005):
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                pool.release(pool.get_connection())
        assert handled > 0
        assert client.get("handled") == str(handled).encode()
        assert pool.stats().in_use == 0
