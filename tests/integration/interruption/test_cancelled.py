"""Tasks that are cancelled: their replies are dropped, no other caller's is touched, and no connection is the worse."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from redpool import DeadlineExceeded, deadline
from redpool.asyncio import MultiplexedConnectionPool, Redis
from redpool.testing import ScriptedServer
from support.faces import PATIENCE, Watch, eventually
from support.mute import Mute

ROUNDS, AT_ONCE = 200, 100


def test_twenty_thousand_cancellations(redis_url: str, watch: Watch) -> None:
    """They cost no new connection, and those that stay have their own replies."""

    async def cancelled(client: Any, seed: int) -> None:
        dice = random.Random(seed)
        tasks = [asyncio.create_task(client.echo(f"{seed}-{number}")) for number in range(AT_ONCE + 5)]
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)
        stay = set(dice.sample(range(AT_ONCE + 5), 5))
        for number, task in enumerate(tasks):
            if number not in stay:
                task.cancel()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        for number in stay:
            assert replies[number] == f"{seed}-{number}".encode()
        for number, reply in enumerate(replies):
            assert isinstance(reply, asyncio.CancelledError) or reply == f"{seed}-{number}".encode()

    async def main() -> None:
        client: Any = Redis.from_url(redis_url)
        await client.set("key", "value")
        before = watch.connected()
        for seed in range(ROUNDS):
            await cancelled(client, seed)
        assert await client.get("key") == b"value"
        stats: Any = client.connection_pool.stats()
        assert watch.connected() == before
        assert (stats.connected, stats.in_flight, stats.waiting) == (1, 0, 0)
        await client.aclose()

    asyncio.run(asyncio.wait_for(main(), 6 * PATIENCE))


WAYS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "a command": lambda client: client.get("key"),
    "a pipeline": lambda client: client.pipeline().incr("n").get("key").execute(),
    "one that waits": lambda client: client.blpop(["nothing"], 5),
    "a script": lambda client: client.register_script("return ARGV[1]")(args=[1]),
    "a large one": lambda client: client.set("large", b"x" * 300_000),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("warm", [False, True], ids=["while it connects", "warm"])
def test_a_cancellation_at_every_step(redis_url: str, way: str, warm: bool) -> None:
    """Whatever the turn of the loop at which it comes, the pool is in order, and every slot is free again."""

    async def main() -> None:
        pool = MultiplexedConnectionPool.from_url(redis_url, max_connections=3)
        client: Any = Redis(connection_pool=pool)
        for step in range(25):
            if warm:
                await client.set("key", "value")
            else:
                pool.reset()
            task = asyncio.ensure_future(WAYS[way](client))
            for _ in range(step):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task], timeout=PATIENCE)
            assert task.done()
            assert await client.echo(str(step)) == str(step).encode()
        for _ in range(200):
            stats: Any = pool.stats()
            if stats.in_use <= 2 and not stats.in_flight:
                break
            await asyncio.sleep(0.01)
        assert stats.in_use <= 2
        assert stats.in_flight == 0
        assert stats.open == stats.idle + stats.in_use
        await pool.aclose()

    asyncio.run(asyncio.wait_for(main(), 3 * PATIENCE))


def test_the_connect_goes_on_when_its_caller_leaves(scripted: ScriptedServer) -> None:
    """It was for all: the next one finds the connection open."""

    async def main() -> None:
        client: Any = Redis(host=scripted.host, port=scripted.port)
        task = asyncio.create_task(client.get("key"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert await client.get("key") == b"key"
        assert client.connection_pool.stats().connected == 1
        await client.aclose()

    asyncio.run(main())


@pytest.mark.needs("retries by default")
def test_who_leaves_before_anything_was_written(mute: Mute) -> None:
    """Its command never is."""

    async def main() -> None:
        client: Any = Redis(**mute.at, max_in_flight=1)
        await client.set("key", "value")
        mute.withhold("GET")
        flying = asyncio.create_task(client.get("key"))
        await asyncio.to_thread(eventually, lambda: mute.heard)
        waiting = [asyncio.create_task(client.incr("n")) for _ in range(5)]
        await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        mute.proxy.reset()
        assert await flying == b"value"
        assert await client.incr("n") == 1
        await client.aclose()

    asyncio.run(main())


def test_many_deadlines_at_once(mute: Mute) -> None:
    """Each ends by its own time, whatever the order in which they were set."""

    async def main() -> None:
        client: Any = Redis(**mute.at, socket_timeout=30.0)
        await client.set("key", "value")
        mute.server.answer("GET", "never")
        loop = asyncio.get_running_loop()

        async def late(seconds: float) -> float:
            began = loop.time()
            with pytest.raises(DeadlineExceeded), deadline(seconds):
                await client.get("key")
            return loop.time() - began

        times = [0.3, 0.1, 0.5, 0.05, 0.2, 0.4]
        took = await asyncio.gather(*(late(seconds) for seconds in times))
        assert all(seconds - 0.02 <= found < seconds + 10 for seconds, found in zip(times, took, strict=True))
        # In the order of their deadlines, even on a slow machine.
        assert sorted(range(len(times)), key=took.__getitem__) == sorted(range(len(times)), key=times.__getitem__)
        mute.restore("GET")
        mute.proxy.reset()
        await client.aclose()

    asyncio.run(main())
    assert eventually(lambda: mute.server.clients == 0)
