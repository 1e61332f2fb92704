"""A process says what its pools say, those of threads and of event loops."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
import redis

import redpool
from redpool.fleet import decode, encode, of_process
from support.faces import Doing, Face, eventually


def test_a_report_says_what_the_pool_says(face: Face, at: dict[str, Any]) -> None:
    """Its state, its counters, who holds, where it was taken, who waits."""
    pool = face.pool(**at, name="cache", max_connections=1, timeout=20.0)
    held = pool.get_connection()
    waiting = Doing(pool.get_connection)
    assert eventually(lambda: pool.stats().waiting == 1)
    report = of_process([getattr(pool, "_target", pool)], service="checkout")
    (seen,) = report.pools
    stats, dump = pool.stats(), pool.dump()
    assert (seen.name, seen.kind, seen.shell) == ("cache", "dedicated", face.name)
    assert seen.address == f"{at['host']}:{at['port']}"
    assert (seen.max_connections, seen.open, seen.idle, seen.in_use, seen.waiting) == (1, 1, 0, 1, 1)
    assert seen.counters == {name: getattr(stats, name) for name in seen.counters}
    assert 0 < seen.oldest_wait <= stats.oldest_wait
    assert seen.wait == pool.distributions().wait
    assert [(lease.borrower, lease.command) for lease in seen.borrowed] == [
        (lease.borrower, lease.last_command) for lease in dump.leases
    ]
    assert [waiter.borrower for waiter in seen.waiters] == [waiter.borrower for waiter in dump.waiters]
    pool.release(held)
    pool.release(waiting.result())
    assert decode(encode(report)).key == report.key


def test_the_line_that_took_a_connection(threads: Face, at: dict[str, Any]) -> None:
    """It is said as `path:line in function`, without the code that stands there."""
    pool = threads.pool(**at)
    held = pool.get_connection()
    (lease,) = of_process([pool], service="checkout").pools[0].borrowed
    assert lease.taken_at is not None
    assert lease.taken_at.startswith(f"{__file__}:")
    assert lease.taken_at.endswith(" in test_the_line_that_took_a_connection")
    pool.release(held)


def test_the_line_behind_redis_pys_own(at: dict[str, Any]) -> None:
    """Where `leak_after` has the whole stack recorded, and redis-py's client took the connection."""
    with (
        redpool.ConnectionPool(**at, leak_after=60.0) as pool,
        redis.Redis(connection_pool=pool).pipeline() as transaction,
    ):
        transaction.watch("key")
        (lease,) = of_process([pool], service="checkout").pools[0].borrowed
        assert lease.taken_at is not None
        assert lease.taken_at.startswith(f"{__file__}:")


def test_the_line_that_opens_a_block(at: dict[str, Any]) -> None:
    """Not `contextlib`'s, which is as little the user's."""
    with redpool.ConnectionPool(**at, leak_after=60.0) as pool, pool.connection():
        (lease,) = of_process([pool], service="checkout").pools[0].borrowed
        assert lease.taken_at is not None
        assert lease.taken_at.startswith(f"{__file__}:")


def test_pools_with_one_name(at: dict[str, Any]) -> None:
    """They are told apart, and so are a pool's parts on two loops."""
    pool = redpool.asyncio.ConnectionPool(**at, name="cache")
    report = of_process([pool, redpool.ConnectionPool(**at, name="cache")], service="checkout")
    assert [each.name for each in report.pools] == ["cache", "cache#2"]
    for _ in range(2):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(_used(pool))
        seen = of_process([pool], service="checkout").pools
        loop.run_until_complete(pool.disconnect())
        loop.close()
        assert [(each.name, each.open) for each in seen] == [("cache", 1)]


async def _used(pool: Any) -> None:
    await pool.release(await pool.get_connection())


def test_a_loop_that_hangs(at: dict[str, Any]) -> None:
    """Its pools are reported all the same, after one wait for all of them."""
    loop: Any
    loop, stuck, go_on = asyncio.new_event_loop(), threading.Event(), threading.Event()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    pools: list[Any] = [redpool.asyncio.ConnectionPool(**at, name=f"p{number}") for number in range(5)]
    for pool in pools:
        asyncio.run_coroutine_threadsafe(_used(pool), loop).result(20)

    def hang() -> None:
        stuck.set()
        go_on.wait(20)

    loop.call_soon_threadsafe(hang)
    assert stuck.wait(20)
    began = time.monotonic()
    report = of_process(pools, service="checkout", period=0.05)
    waited = time.monotonic() - began
    looked: list[object] = []
    pools[0].looks = lambda: [(loop, lambda: looked.append(1))]
    of_process(pools[:1], service="checkout", period=0.05)
    assert looked, "a loop that hangs is looked at from outside"
    looked.clear()
    go_on.set()
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(20)
    assert not looked, "looks that none waits for have piled up"
    assert [(each.name, each.kind, each.open) for each in report.pools] == [(f"p{n}", "dedicated", 1) for n in range(5)]
    assert waited < 5.0, "each pool was waited for by itself: about fifteen seconds"
    for pool in pools:
        asyncio.run_coroutine_threadsafe(pool.aclose(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()


@pytest.mark.parametrize("hidden", ["pool", "url"])
def test_no_secret(redis_url: str, hidden: str) -> None:
    """Neither a password, nor a key or a value, wherever the user has put the password."""
    secret = "hush-hush"
    url = redis_url.replace("://", f"://:{secret}@")
    pool: Any = redpool.ConnectionPool.from_url(redis_url, name=url if hidden == "pool" else None, client_name="x")
    pool.connection_kwargs["password"] = secret
    client = redpool.Redis.from_url(redis_url)
    client.set("a-key-of-mine", "a-value-of-mine")
    said = repr(of_process([pool, client.connection_pool], service="checkout"))
    assert not [word for word in (secret, "a-key-of-mine", "a-value-of-mine") if word in said]
    client.connection_pool.close()
