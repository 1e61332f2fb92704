"""Many callers at once, each with tokens of its own: every reply carries its request's."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
import redis

from redpool.asyncio import Redis
from support.faces import PATIENCE, Face, eventually, together


def one_call(client: Any, dice: random.Random, token: str) -> None:
    """Something of many kinds, whose reply has the token."""
    kind = dice.randrange(12)
    if kind == 0:
        pipe = client.pipeline(transaction=dice.random() < 0.5)
        tokens = [f"{token}-{place}" for place in range(dice.randrange(1, 8))]
        for each in tokens:
            pipe.echo(each)
        assert pipe.execute() == [each.encode() for each in tokens]
    elif kind == 1:
        client.rpush(token, "x")
        assert tuple(client.blpop(token, 5)) == (token.encode(), b"x")
    elif kind == 2:
        assert client.eval("return ARGV[1]", 0, token) == token.encode()
    elif kind == 3:
        with client.pipeline() as pipe:
            pipe.watch(token)
            pipe.multi()
            pipe.echo(token)
            assert pipe.execute() == [token.encode()]
    elif kind == 4:
        large = token.encode() * 20_000
        assert client.echo(large) == large
    elif kind == 5:
        with pytest.raises(redis.ResponseError, match="unknown command"):
            client.execute_command("NOSUCH", token)
    else:
        assert client.echo(token) == token.encode()


@pytest.mark.parametrize(
    "options",
    [{}, {"shared_connections": 3}, {"max_in_flight": 2}, {"max_connections": 3, "timeout": 30.0}, {"protocol": 3}],
    ids=str,
)
@pytest.mark.usefixtures("spread")
def test_threads(threads: Face, at: dict[str, Any], options: dict[str, Any]) -> None:
    """Eight threads, with all that a client can do."""
    pool = threads.pool(**{**at, "max_connections": 20, **options})
    client = threads.client(pool)

    def work(number: int) -> None:
        dice = random.Random(number)
        for turn in range(60):
            one_call(client, dice, f"{number}-{turn}")

    for doing in together(8, work):
        doing.result()
    stats = pool.stats()
    assert (stats.in_flight, stats.waiting) == (0, 0)
    assert eventually(lambda: pool.stats().in_use <= 4)
    assert stats.open == stats.idle + stats.in_use


@pytest.mark.usefixtures("spread")
@pytest.mark.parametrize("options", [{}, {"shared_connections": 3}, {"max_in_flight": 3}, {"protocol": 3}], ids=str)
def test_tasks(redis_url: str, options: dict[str, Any]) -> None:
    """Two hundred tasks on one loop."""

    async def main() -> None:
        client: Any = Redis.from_url(redis_url, **options)

        async def work(number: int) -> None:
            dice = random.Random(number)
            for turn in range(10):
                token = f"{number}-{turn}"
                if dice.random() < 0.2:
                    pipe = client.pipeline(transaction=dice.random() < 0.5)
                    pipe.echo(token).echo(token * 2)
                    assert await pipe.execute() == [token.encode(), token.encode() * 2]
                elif dice.random() < 0.05:
                    large = token.encode() * 20_000
                    assert await client.echo(large) == large
                else:
                    assert await client.echo(token) == token.encode()

        await asyncio.gather(*(work(number) for number in range(200)))
        assert client.connection_pool.stats().in_flight == 0
        await client.aclose()

    asyncio.run(asyncio.wait_for(main(), 3 * PATIENCE))
