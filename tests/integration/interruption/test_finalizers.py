"""What a finalizer releases while the garbage collector is about to close its socket is never lent again."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio

from support.faces import Asyncio, Face, eventually, on_loop, say

SOON = 5.0
"""Seconds within which a slot is free again."""

# redis-py and asyncio say so of everything that is dropped open on an event loop.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def pool(face: Face, at: dict[str, Any]) -> Iterator[Any]:
    """A pool of one connection, and no collection but the test's own."""
    gc.collect()
    gc.disable()
    yield face.pool(**at, protocol=3, max_connections=1, timeout=10.0)
    gc.enable()


class Holder:
    """A user's own class, which releases in its finalizer what it holds."""

    def __init__(self, pool: Any) -> None:
        self.pool, self.me = pool, self
        self.connection: Any = None

    def __del__(self) -> None:
        self.pool.release(self.connection)


class AsyncHolder(Holder):
    """The same on an event loop."""

    def __del__(self) -> None:
        engine = self.pool._here
        engine.loop.create_task(self.pool.release(self.connection))


# Each makes a cycle of garbage with a connection in it. What holds the connection is older than its socket, so that its
# finalizer runs first: then the connection looks as good as ever.


def own_class(pool: Any) -> None:
    borrower = Holder(pool)
    borrower.connection = pool.get_connection()


async def own_class_on_a_loop(pool: Any) -> None:
    borrower = AsyncHolder(pool)
    borrower.connection = await pool.get_connection()


def subscriber(pool: Any) -> None:
    subscription: Any = redis.Redis(connection_pool=pool).pubsub()
    subscription.me = subscription
    subscription.subscribe("news")


def subscriber_closed_by_its_owner(pool: Any) -> None:
    class Owner:
        me: Any
        subscription: Any

        def __del__(self) -> None:
            self.subscription.close()

    owner: Any = Owner()
    owner.me, owner.subscription = owner, redis.Redis(connection_pool=pool).pubsub()
    owner.subscription.subscribe("news")


async def subscriber_on_a_loop(pool: Any) -> None:
    subscription: Any = redis.asyncio.Redis(connection_pool=pool).pubsub()
    subscription.me = subscription
    await subscription.subscribe("news")


def watch(pool: Any) -> None:
    pipeline: Any = redis.Redis(connection_pool=pool).pipeline()
    pipeline.me = pipeline
    pipeline.watch("key")


async def watch_on_a_loop(pool: Any) -> None:
    pipeline: Any = redis.asyncio.Redis(connection_pool=pool).pipeline()
    pipeline.me = pipeline
    await pipeline.watch("key")


def generator(pool: Any) -> None:
    def held() -> Iterator[list[Any]]:
        cycle: list[Any] = []
        with pool.connection() as connection:
            say(connection, "PING")
            yield cycle
            yield []

    holding = held()
    next(holding).append(holding)


async def generator_on_a_loop(pool: Any) -> None:
    async def held() -> AsyncIterator[list[Any]]:
        cycle: list[Any] = []
        async with pool.connection() as connection:
            await connection.send_command("PING")
            await connection.read_response()
            yield cycle
            yield []

    holding = held()
    (await anext(holding)).append(holding)


KINDS = {
    "own class": (own_class, own_class_on_a_loop),
    "subscriber": (subscriber, subscriber_on_a_loop),
    "subscriber closed by its owner": (subscriber_closed_by_its_owner, subscriber_on_a_loop),
    "watch": (watch, watch_on_a_loop),
    "generator": (generator, generator_on_a_loop),
}


def leave_garbage(face: Face, pool: Any, kind: str) -> None:
    """Make the cycle, and have it collected: as a whole, where an earlier pass might find but what is young in it."""
    by_threads, on_loops = KINDS[kind]
    gc.disable()
    try:
        if isinstance(face, Asyncio):
            on_loop(face.loop, lambda: on_loops(pool._target))
            on_loop(face.loop, gc.collect)
        else:
            by_threads(pool)
            gc.collect()
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_borrower_gets_a_connection_that_stays_open(face: Face, pool: Any, kind: str) -> None:
    """The collector closes the socket of what it has found in the same pass in which a finalizer gives it back."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        leave_garbage(face, pool, kind)
        connection = pool.get_connection()
    assert say(connection, "ECHO", "mine") == b"mine"
    pool.release(connection)
    assert eventually(lambda: (pool.stats().in_use, pool.stats().idle) == (0, 1), SOON)
    assert pool.stats().closed == {"leaked": 1}
    assert pool.stats().leaks == 1


def test_what_a_finalizer_releases_outside_a_collection_is_lent_again(threads: Face, at: dict[str, Any]) -> None:
    """A holder that is not part of a cycle goes at once, and the collector has nothing to do with its connection."""
    pool = threads.pool(**at, max_connections=1, timeout=10.0)
    borrower = Holder(pool)
    borrower.me = None  # type: ignore[assignment]
    borrower.connection = pool.get_connection()
    del borrower
    connection = pool.get_connection()
    assert say(connection, "ECHO", "mine") == b"mine"
    assert (pool.stats().connected, pool.stats().closed) == (1, {})
    pool.release(connection)


def test_a_connection_outside_the_garbage_is_lent_again(threads: Face, at: dict[str, Any]) -> None:
    """Its holder was found by the collector, but something else still has it: nothing closes its socket."""
    pool = threads.pool(**at, max_connections=1, timeout=10.0)
    borrower = Holder(pool)
    kept = borrower.connection = pool.get_connection()
    del borrower
    gc.collect()
    assert pool.get_connection() is kept
    assert say(kept, "ECHO", "mine") == b"mine"
    pool.release(kept)
