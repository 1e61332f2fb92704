"""Pipelines over shared connections: in one piece among others' commands, answered as redis-py answers them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

import redpool.asyncio
from support.faces import Face, Watch, _unwrapped, together


@pytest.mark.parametrize("transaction", [False, True])
def test_a_pipeline(client: Any, pool: Any, transaction: bool) -> None:
    """Its results come in order, made by their callbacks; afterwards it is empty, and can be used again."""
    pipe = client.pipeline(transaction=transaction)
    pipe.set("key", "value").get("key").hset("h", "a", 1).hgetall("h").incr("n")
    assert pipe.execute() == [True, b"value", 1, {b"a": b"1"}, 1]
    assert len(pipe) == 0
    assert pipe.incr("n").execute() == [2]
    assert pipe.execute() == []
    assert (pool.stats().connected, pool.stats().in_use) == (1, 1)


@pytest.mark.parametrize("transaction", [False, True])
def test_an_error_in_its_midst(client: Any, pool: Any, transaction: bool) -> None:
    """It is raised with the place and the command, after the others have run; or it stands among the results."""
    client.rpush("list", "x")
    pipe = client.pipeline(transaction=transaction)
    with pytest.raises(
        redis.ResponseError,
        match=r"Command # 2 \(INCRBY list 1\) of pipeline caused error: (.*WRONGTYPE|{exception.args})|"
        r"Command # 2 .*not an integer",
    ):
        pipe.incr("n").incr("list").incr("n").execute()
    assert client.get("n") == b"2"
    results = pipe.incr("n").incr("list").incr("n").execute(raise_on_error=False)
    assert (results[0], results[2]) == (3, 4)
    assert isinstance(results[1], redis.ResponseError)
    assert pool.stats().connected == 1


def test_a_transaction_that_is_refused(client: Any) -> None:
    """What the server doesn't take into a transaction undoes it as a whole; the connection is in order then."""
    client.set("n", 0)
    pipe = client.pipeline()
    with pytest.raises(redis.ResponseError, match=r"wrong number of arguments|{exception.args}"):
        pipe.incr("n").execute_command("GET").incr("n").execute()
    assert client.get("n") == b"0"
    assert client.pipeline().incr("n").execute() == [1]


def test_a_transaction_is_one(face: Face, at: dict[str, Any]) -> None:
    """Many at once over one connection: each sees its own writes and no other caller's between them."""
    client = face.client(face.pool(**at))

    def move(number: int) -> None:
        for _ in range(20):
            pipe = client.pipeline()
            first, second = pipe.set("key", number).get("key").incr("count").get("key").execute()[1::2]
            assert first == second == str(number).encode()

    for doing in together(6, move):
        doing.result()
    assert client.get("count") == b"120"
    assert client.connection_pool.stats().connected == 1


def test_a_watch_has_a_connection_of_its_own(client: Any, pool: Any) -> None:
    """The transaction fails where another has changed what is watched; otherwise it goes through."""
    client.set("n", 1)
    with client.pipeline() as pipe:
        pipe.watch("n")
        assert pool.stats().in_use == 2
        assert pipe.get("n") == b"1"
        client.set("n", 5)
        pipe.multi()
        pipe.incr("n")
        with pytest.raises(redis.WatchError):
            pipe.execute()
    with client.pipeline() as pipe:
        pipe.watch("n")
        pipe.multi()
        pipe.incr("n")
        assert pipe.execute() == [6]
    assert pool.stats().in_use == 1


def test_a_transaction_by_function(threads: Face, at: dict[str, Any]) -> None:
    """`Redis.transaction` tries again until no other client comes between."""
    client = threads.client(threads.pool(**at))
    client.set("n", 0)

    def increase(pipe: Any) -> None:
        value = int(pipe.get("n"))
        pipe.multi()
        pipe.set("n", value + 1)

    for doing in together(4, lambda _: [client.transaction(increase, "n") for _ in range(5)]):
        doing.result()
    assert client.get("n") == b"20"


def test_commands_that_cannot_share_in_a_pipeline(client: Any, pool: Any) -> None:
    """Then the whole of it has a connection of its own, and gives it back."""
    client.rpush("jobs", "job")
    pipe = client.pipeline(transaction=False)
    assert pipe.blpop("jobs", 1).ping().incr("n").execute() == [(b"jobs", b"job"), True, 1]
    client.pipeline(transaction=False).execute_command("CLIENT SETNAME", "x").execute()
    assert pool.stats().in_use == 1
    assert client.client_getname() not in ("x", b"x")


def test_scripts(client: Any, pool: Any, watch: Watch) -> None:
    """EVAL, EVALSHA and registered scripts, which load themselves, also in a pipeline."""
    assert client.eval("return {KEYS[1], ARGV[1]}", 1, "k", "v") == [b"k", b"v"]
    double = client.register_script("return ARGV[1] * 2")
    watch.client.script_flush()
    assert double(args=[21]) == 42
    assert client.evalsha(double.sha, 0, 4) == 8
    watch.client.script_flush()
    pipe = client.pipeline()
    double(args=[5], client=pipe)
    pipe.incr("n")
    assert pipe.execute() == [10, 1]
    assert pool.stats().in_use == 1


def test_a_long_pipeline(client: Any) -> None:
    """A thousand commands are answered in order, and again."""
    for _ in range(2):
        pipe = client.pipeline(transaction=False)
        for number in range(1_000):
            pipe.echo(str(number))
        assert pipe.execute() == [str(number).encode() for number in range(1_000)]


def test_replies_come_in_the_order_of_what_was_sent(shell: Face, at: dict[str, Any]) -> None:
    """Over a virtual connection those of a pipeline come before that of a command which is sent amid them."""
    pool = shell.pool(**at)
    multiplexed = pool.multiplexed_here() if shell.asynchronous else pool._engine.multiplexed
    virtual = shell._wrap(pool._virtual(_unwrapped(multiplexed)))
    virtual.send_packed_command(virtual.pack_commands([("ECHO", "a"), ("ECHO", "b")]))
    assert virtual.read_response() == b"a"
    virtual.send_command("ECHO", "c")
    assert [virtual.read_response(), virtual.read_response()] == [b"b", b"c"]


@pytest.mark.parametrize("transaction", [False, True])
def test_callbacks_that_are_awaited(at: dict[str, Any], transaction: bool) -> None:
    """On an event loop a callback may be a coroutine function, in a pipeline, too."""

    async def count(reply: Any, **options: Any) -> int:
        await asyncio.sleep(0)
        return len(reply)

    async def answers() -> Any:
        async with redpool.asyncio.Redis(**at) as opened:
            client: Any = opened
            client.set_response_callback("GET", count)
            await client.set("key", "value")
            pipe = client.pipeline(transaction=transaction)
            return await client.get("key"), await pipe.get("key").set("key", "other").get("key").execute()

    assert asyncio.run(answers()) == (5, [5, True, 5])
