"""Closing: what is idle goes at once, listeners end, nothing waits, and the pool serves again when it is asked."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
import redis

import redpool
import redpool.asyncio
from support.faces import (
    Bridge,
    Doing,
    Face,
    MultiplexedThreads,
    OwnAsyncio,
    OwnThreads,
    Watch,
    _pool_threads,
    eventually,
)

NAME = "closing"


@pytest.fixture
def face(any_face: Face) -> Face:
    """Each kind of pool and client."""
    return any_face


@pytest.fixture(params=[False, True], ids=["", "retries"])
def retries(request: pytest.FixtureRequest) -> bool:
    """Whether there is a retry policy."""
    return bool(request.param)


def listens(client: Any) -> Any:
    """As a subscriber, for ever."""
    pubsub = client.pubsub()
    pubsub.subscribe(NAME)
    for _ in pubsub.listen():
        pass


def polls(client: Any) -> Any:
    """The same, with a patience that no test has."""
    pubsub = client.pubsub()
    pubsub.subscribe(NAME)
    while True:
        pubsub.get_message(timeout=60)


def monitors(client: Any) -> Any:
    """As a monitor, for ever."""
    with client.monitor() as monitor:
        while True:
            monitor.next_command()


def is_listening(watch: Watch) -> bool:
    """Whether the server has a listener."""
    return any(each["name"] == NAME and each["cmd"] in ("subscribe", "monitor") for each in watch.client.client_list())


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # redis-py's, of a subscriber that is dropped on a loop
@pytest.mark.parametrize("act", ["close", "shutdown"])
@pytest.mark.parametrize("listener", [listens, polls, monitors])
def test_listeners_end_at_once(
    face: Face, at: dict[str, Any], watch: Watch, listener: Callable[[Any], Any], act: str, retries: bool
) -> None:
    """They get a `redis.ConnectionError`, as with redis-py's pools, and no retry policy brings them back."""
    options = {"retry": face.retry(3)} if retries else {}
    pool = face.pool(**at, client_name=NAME, socket_timeout=60, **options)
    client = face.client(pool)
    listening = Doing(lambda: listener(client))
    assert eventually(lambda: is_listening(watch))
    getattr(pool, act)()
    assert type(listening.ended()) is redis.ConnectionError
    assert eventually(lambda: not watch.ids(NAME))


def test_a_listener_that_asks_again_is_served(face: Face, at: dict[str, Any], watch: Watch, retries: bool) -> None:
    """It gets the error once; then it is connected and subscribed again."""
    options = {"retry": face.retry(3)} if retries else {}
    pool = face.pool(**at, client_name=NAME, **options)
    pubsub = face.client(pool).pubsub()
    pubsub.subscribe(NAME)
    assert pubsub.get_message(timeout=20)["type"] == "subscribe"
    pool.close()
    with pytest.raises(redis.ConnectionError):
        pubsub.get_message(timeout=20)
    assert pubsub.get_message(timeout=20)["type"] == "subscribe"
    watch.client.publish(NAME, "again")
    assert pubsub.get_message(timeout=20)["data"] == b"again"
    pubsub.close()


def test_what_rests_goes_at_once(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """With its threads; nothing is connected again before a caller asks, and then all is as it was."""
    pool = face.pool(**at, client_name=NAME, min_idle=2, max_connections=3)
    client = face.client(pool)
    pool.warm_up(2)
    client.set("key", "value")
    for _ in range(2):
        pool.close()
        assert eventually(lambda: pool.stats().open == 0)  # the maintenance thread may be looking at a shared one
        assert eventually(lambda: pool.stats().connecting == 0)  # what was under way is closed when it is through
        assert eventually(lambda: not watch.ids(NAME))
    assert face.asynchronous or eventually(lambda: not _pool_threads())
    assert client.get("key") == b"value"
    assert eventually(lambda: pool.stats().idle >= 2)


def test_what_is_in_use_goes_on(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """Closing doesn't wait for it; it is closed when it is released."""
    pool = face.pool(**at, client_name=NAME)
    client = face.client(pool)
    popping = Doing(lambda: client.blpop(["jobs"], timeout=60))
    assert eventually(lambda: watch.client.info("clients")["blocked_clients"] == 1)
    pool.close()
    assert not popping.done
    assert pool.stats().in_use == 1
    watch.client.rpush("jobs", "job")
    assert popping.result() == (b"jobs", b"job")
    assert eventually(lambda: not watch.ids(NAME))
    assert pool.stats().open == 0


def test_those_who_wait_are_served(face: Face, at: dict[str, Any]) -> None:
    """They have asked."""
    pool = face.pool(**at, max_connections=1, timeout=60)
    client = face.client(pool)
    borrower = face.borrower(pool, "user") if not isinstance(face, MultiplexedThreads) else None
    if borrower is None:
        pytest.skip("what is taken from it holds no connection")
    waiting = Doing(lambda: client.blpop(["nothing"], timeout=0.01))
    assert eventually(lambda: pool.stats().waiting == 1)
    pool.close()
    borrower.release()
    assert waiting.result() is None


def test_a_block_over_a_client_closes(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """`with client:` is a close of its own pool; the next command connects again."""
    client = face.client_from_pool(face.pool(**at, client_name=NAME))
    for _ in range(2):
        with client:
            client.set("key", "value")
        assert eventually(lambda: not watch.ids(NAME))


def test_the_pool_of_a_client_that_is_gone(face: Face, redis_url: str, watch: Watch) -> None:
    """As kombu and Celery keep it. What is idle is closed, what listens goes on, and the pool serves."""
    pool = face.pool_from_url(redis_url, client_name=NAME)
    client = face.client_from_pool(pool)
    client.set("key", "value")
    pubsub = client.pubsub()
    pubsub.subscribe(NAME)
    assert pubsub.get_message(timeout=20)["type"] == "subscribe"
    del client
    gc.collect()
    if not face.asynchronous:  # redis-py's client for event loops leaves its pool alone then
        assert eventually(lambda: len(watch.ids(NAME)) == 1)
    watch.client.publish(NAME, "still there")
    assert pubsub.get_message(timeout=20)["data"] == b"still there"
    assert face.client(pool).get("key") == b"value"
    pubsub.close()


@pytest.mark.parametrize("of", ["from_url", "constructor"])
def test_the_pool_of_our_client_that_is_gone(face: Face, at: dict[str, Any], redis_url: str, of: str) -> None:
    """The same with `redpool.Redis(...).connection_pool`."""
    if not isinstance(face, OwnThreads | OwnAsyncio):
        pytest.skip("not our client")
    client = face.redpool.Redis.from_url(redis_url) if of == "from_url" else face.redpool.Redis(**at)
    face._wrap(client).set("key", "value")
    pool = face._keep(client.connection_pool)
    del client
    gc.collect()
    assert face.client(pool).get("key") == b"value"


def test_a_finalizer_leaves_a_note(threads: Face, redis_url: str, watch: Watch) -> None:
    """It may run while its thread is in the midst of a change: so maintenance closes."""
    pool = threads.pool_from_url(redis_url, client_name=NAME)
    client = threads.client_from_pool(pool)
    client.set("key", "value")
    with pool._engine.guard:
        del client
        assert len(pool._engine.core.idle) == 1
    assert eventually(lambda: not watch.ids(NAME))
    assert eventually(lambda: not _pool_threads())


def test_a_note_of_a_pool_without_connections_closes_nothing_later(threads: Face, redis_url: str) -> None:
    """The client is gone before anything was open: what is connected then stays."""
    pool = redpool.Redis.from_url(redis_url).connection_pool
    threads._keep(pool)
    gc.collect()
    client = threads.client(pool)
    client.set("key", "value")
    pool._engine.run_maintenance()
    assert client.get("key") == b"value"
    assert pool.stats().connected == 1


def test_an_application_closes_while_a_task_listens(redis_url: str) -> None:
    """As in a FastAPI lifespan, and channels' flush(): nothing waits, and the listener's task ends."""

    async def main(client: Any, **how: Any) -> None:
        async def listen() -> None:
            async with client.pubsub() as pubsub:
                await pubsub.subscribe(NAME)
                subscribed.set()
                async for _ in pubsub.listen():
                    pass

        subscribed = asyncio.Event()
        listening = asyncio.create_task(listen())
        await subscribed.wait()
        await client.aclose(**how)
        with pytest.raises(redis.ConnectionError):
            await listening
        await client.set("key", "value")
        await client.aclose(**how)

    pool = redpool.asyncio.ConnectionPool.from_url(redis_url)
    asyncio.run(main(redis.asyncio.Redis(connection_pool=pool), close_connection_pool=True))
    asyncio.run(main(redis.asyncio.Redis.from_pool(pool)))
    asyncio.run(main(redpool.asyncio.Redis.from_url(redis_url)))


def test_an_application_closes_while_a_thread_listens(redis_url: str) -> None:
    """As `run_in_thread` has it, with redis-py's default retries: the handler gets the error, and the thread ends."""
    client = redpool.Redis.from_url(redis_url, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 3))
    raised: list[BaseException] = []

    def tell(error: BaseException, pubsub: Any, thread: Any) -> None:
        raised.append(error)
        thread.stop()

    pubsub: Any = client.pubsub()
    pubsub.subscribe(**{NAME: lambda message: None})
    thread = pubsub.run_in_thread(sleep_time=60, daemon=True, exception_handler=tell)
    client.close()
    thread.join(20)
    assert not thread.is_alive()
    assert [type(each) for each in raised] == [redis.ConnectionError]
    client.connection_pool.shutdown()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_listener_that_was_ended_is_no_leak(face: Face, at: dict[str, Any]) -> None:
    """Its holder may drop it: the pool knows why it is over."""
    pool = face.pool(**at)
    client = face.client(pool)
    pubsub = client.pubsub()
    pubsub.subscribe(NAME)
    pool.close()
    if isinstance(pubsub, Bridge):
        pubsub._target.connection = None  # redis-py's, which would speak to it from its finalizer
    else:
        pubsub.connection = None
    del pubsub
    gc.collect()
    assert eventually(lambda: pool.stats().in_use == 0)
    assert pool.stats().leaks == 0
