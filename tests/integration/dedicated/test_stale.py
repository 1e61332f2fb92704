"""Stale and idle connections: notes 22, 23, 26, 27, 28 and 29."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.asyncio as redis_asyncio

import redpool.asyncio as redpool_asyncio
from support.faces import Face, Recorder, Watch, eventually, together


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_first_command_after_idleness(face: Face, at: dict[str, Any], watch: Watch, protocol: int) -> None:
    """Note 22: a connection that the server closed meanwhile costs the caller nothing, without any retry policy."""
    pool = face.pool(**at, protocol=protocol, client_name="idle")
    client = face.client(pool)
    client.ping()
    watch.kill(*watch.ids("idle"))
    assert client.incr("n") == 1
    assert client.get("n") == b"1"


@pytest.mark.parametrize("protocol", [2, 3])
def test_killed_connections_are_replaced_tasks(at: dict[str, Any], watch: Watch, protocol: int) -> None:
    """Note 23: 30 idle connections closed by the server, then 30 commands at once: none fails."""

    async def main() -> None:
        async with redpool_asyncio.ConnectionPool(**at, protocol=protocol, client_name="killed") as pool:
            client = redis_asyncio.Redis(connection_pool=pool)
            await pool.warm_up(30)
            await asyncio.to_thread(lambda: watch.kill(*watch.ids("killed")))
            assert await asyncio.gather(*(client.incr("n") for _ in range(30))) == list(range(1, 31))

    asyncio.run(main())


@pytest.mark.parametrize("protocol", [2, 3])
def test_killed_connections_are_replaced_threads(
    threads: Face, at: dict[str, Any], watch: Watch, protocol: int
) -> None:
    """Note 23: the same with threads."""
    pool = threads.pool(**at, protocol=protocol, client_name="killed")
    client = threads.client(pool)
    pool.warm_up(30)
    watch.kill(*watch.ids("killed"))
    assert [doing.error for doing in together(30, lambda _: client.incr("n"))] == [None] * 30
    assert client.get("n") == b"30"


def test_a_burst_is_followed_by_shrinking(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """Note 26: after a burst, one caller at a time lets the pool shrink to `min_idle` + 1 connections."""
    for order in ("lifo", "fifo", "random"):
        pool = face.pool(**at, max_idle_time=0.3, min_idle=1, order=order, client_name=f"burst-{order}")
        client = face.client(pool)
        pool.warm_up(40)

        def shrunk(pool: Any = pool, client: Any = client) -> bool:
            client.ping()
            return bool(pool.stats().open <= 2)

        assert eventually(shrunk)
        assert eventually(lambda order=order: len(watch.ids(f"burst-{order}")) <= 2)  # type: ignore[misc]


def test_connections_have_a_maximum_age(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """Note 27: connections are replaced at their age, in the background, and no use is cut short."""
    recorder = Recorder()
    pool = face.pool(**at, max_lifetime=0.1, min_idle=2, client_name="aged", instruments=[recorder])
    pool.warm_up(2)
    first = set(watch.ids("aged"))
    with pool.connection() as connection:
        assert eventually(lambda: pool.stats().closed.get("lifetime", 0) >= 3)
        connection.send_command("PING")
        assert connection.read_response() in (b"PONG", "PONG")
    assert eventually(lambda: not first & set(watch.ids("aged")))
    assert {reason for reason, _ in recorder.named("closed")} == {"lifetime"}


def test_warm_up_comes_before_the_first_command(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """Note 28: after `warm_up(n)` the first n commands open no connection."""
    pool = face.pool(**at)
    client = face.client(pool)
    pool.warm_up(8)
    before = watch.connected()
    assert [doing.error for doing in together(8, lambda _: client.incr("n"))] == [None] * 8
    assert watch.connected() == before


@pytest.mark.parametrize(("order", "different"), [("lifo", 1), ("fifo", 4)])
def test_the_order_can_be_chosen(face: Face, at: dict[str, Any], order: str, different: int) -> None:
    """Note 29: "lifo" keeps to few connections, "fifo" spreads commands over all of them."""
    pool = face.pool(**at, order=order)
    pool.warm_up(4)
    client = face.client(pool)
    assert len({client.client_id() for _ in range(12)}) == different
