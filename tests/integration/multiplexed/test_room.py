"""Slots of a multiplexed pool: one who needs a connection alone gets it in turn, and none is lost on the way."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
import redis

import redpool.asyncio
from redpool import embedded
from redpool.testing import FaultProxy
from support.faces import PATIENCE, Doing, Face, MultiplexedAsyncio, eventually


def test_a_blocking_command_gets_its_turn_at_the_only_connection(face: Face, own_server: embedded.Server) -> None:
    """With `max_connections=1` it is served in turn, whatever load goes on over that connection, and so is the load."""
    timeout = 4.0
    pool = face.pool(host=own_server.host, port=own_server.port, max_connections=1, timeout=timeout)
    client = face.client(pool)
    client.set("key", "value")
    stop = threading.Event()
    loads = [Doing(lambda: _load(face, client, stop)) for _ in range(4)]
    try:
        with redis.Redis.from_url(own_server.url) as other:
            for number in range(3):
                other.rpush("jobs", f"job {number}")
                began = time.monotonic()
                assert client.blpop("jobs", 1.0) == (b"jobs", b"job %d" % number)
                took = time.monotonic() - began
                assert took < timeout / 2, f"BLPOP with an element there took {took:.1f} s"
                assert client.blpop("nothing", 0.05) is None
                assert client.get("key") == b"value"
    finally:
        stop.set()
    assert all(each.result() for each in loads)
    assert pool.stats().open == 1


def _load(face: Face, client: Any, stop: threading.Event) -> int:
    """GET again and again, on the loop itself where there is one; how often."""

    async def on_the_loop() -> int:
        served = 0
        while not stop.is_set():
            assert await client._target.get("key") == b"value"
            served += 1
        return served

    if isinstance(face, MultiplexedAsyncio):
        return asyncio.run_coroutine_threadsafe(on_the_loop(), face.loop).result(3 * PATIENCE)
    served = 0
    while not stop.is_set():
        assert client.get("key") == b"value"
        served += 1
    return served


@pytest.mark.parametrize("how", ["killed", "reset"])
def test_the_slot_of_a_dead_bulk_connection_is_free_again(face: Face, own_server: embedded.Server, how: str) -> None:
    """However often the connection for large values dies while idle, there are never more than it and one other."""
    large = b"x" * 300_000
    with FaultProxy(own_server.host, own_server.port) as proxy, redis.Redis.from_url(own_server.url) as operator:
        pool = face.pool(host=proxy.host, port=proxy.port, max_connections=6, client_name="pooled", retry=face.retry(3))
        client = face.client(pool)
        seen, counts = list[tuple[int, int]](), list[tuple[int, int]]()

        def few() -> bool:
            stats = pool.stats()
            counts.append((stats.open, stats.in_use))
            return bool(stats.open <= 2)

        for _ in range(6):
            client.set("large", large)
            assert client.get("small") is None
            eventually(few)
            seen.append(counts[-1])
            if how == "reset":
                proxy.reset()
            else:
                idle = [each for each in operator.client_list() if each["name"] == "pooled" and each["cmd"] == "set"]
                for each in idle:
                    operator.client_kill_filter(_id=each["id"])
            time.sleep(0.05)
    assert max(seen) <= (2, 2), f"(open, in use) after each time: {seen}"


@pytest.mark.parametrize("trouble", ["transactions", "transactions and closing"])
def test_a_connection_is_not_given_up_before_those_that_waited_for_it(
    own_server: embedded.Server, trouble: str
) -> None:
    """Callers that need slots of their own claim it at once, and the pool may be closed: all others are served."""

    async def run() -> tuple[int, int]:
        client = redpool.asyncio.Redis.from_url(own_server.url, max_connections=2)
        sets, done = 0, asyncio.Event()

        async def write(number: int) -> None:
            nonlocal sets
            for _ in range(20):
                await client.set(f"key:{number}", "value")
                sets += 1

        async def watch() -> int:
            turns = 0
            while not done.is_set():
                async with client.pipeline() as pipeline:
                    await pipeline.watch("watched")
                    pipeline.multi()
                    pipeline.get("watched")
                    await pipeline.execute()
                turns += 1
            return turns

        async def close() -> None:
            while trouble != "transactions" and not done.is_set():
                await asyncio.sleep(0.01)
                await client.connection_pool.aclose()

        async def work() -> int:
            others = [asyncio.create_task(each) for each in (watch(), watch(), watch(), watch(), close())]
            await asyncio.gather(*(write(number) for number in range(8)))
            done.set()
            return sum([await other or 0 for other in others])

        turns = await asyncio.wait_for(work(), PATIENCE)
        await client.connection_pool.shutdown()
        return sets, turns

    sets, turns = asyncio.run(run())
    assert sets == 160
    assert turns
