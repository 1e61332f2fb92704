"""One turn of an event loop: what may come between a call that is queued and the write at the end of the turn."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import time
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis
import redis.asyncio as redis_asyncio

import redpool
from redpool.asyncio import MultiplexedConnectionPool, Redis
from redpool.testing import ScriptedServer
from redpool.wire.pipeline import ServerClosed, State
from support.faces import PATIENCE

CLIENTS = {"redis-py's": redis_asyncio.Redis, "redpool's": Redis}


@pytest.fixture(params=CLIENTS.values(), ids=list(CLIENTS))
def make(request: pytest.FixtureRequest) -> Any:
    """The class of each client that may be over a multiplexed pool."""
    return request.param


async def queued(client: Any, *words: str, stays: bool = True) -> list[asyncio.Task[Any]]:
    """Begin calls that are queued when this returns, and not written before the turn ends.

    Where the loop doesn't stay in its turn, it is stopped in the midst of it once this has returned.
    """
    multiplexed = client.connection_pool.multiplexed_here()
    await asyncio.gather(*(client.echo("many") for _ in range(3)))  # so that the next ones wait for others
    multiplexed.only._alone = False
    calls = [asyncio.create_task(client.echo(word)) for word in words]
    if stays:
        await asyncio.sleep(0)
        assert multiplexed.turn is multiplexed.only
    return calls


@contextlib.asynccontextmanager
async def pooled(make: Any, **options: Any) -> AsyncIterator[Any]:
    """A client over a pool of its own, with a connection."""
    client = make(connection_pool=MultiplexedConnectionPool(**options))
    await client.ping()
    yield client
    await client.connection_pool.shutdown()


def test_another_loop_has_its_own_turn(make: Any, redis_url: str) -> None:
    """A loop that is stopped in mid-turn keeps its calls: those of another one in the same thread go their own way."""
    client = make(connection_pool=MultiplexedConnectionPool.from_url(redis_url))
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    calls = first.run_until_complete(queued(client, "first", stays=False))
    assert second.run_until_complete(client.echo("second")) == b"second"
    assert first.run_until_complete(asyncio.gather(*calls)) == [b"first"]
    for loop in (first, second):
        loop.run_until_complete(client.connection_pool.shutdown())
        loop.close()


def test_a_closed_loop_leaves_nothing_to_say(
    make: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A call whose loop is closed ends when it is collected, with no error beside asyncio's own."""
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    client = make(connection_pool=MultiplexedConnectionPool.from_url(redis_url))
    loop = asyncio.new_event_loop()
    calls = loop.run_until_complete(queued(client, "first", "second", stays=False))
    loop.close()
    del client, loop, calls
    gc.collect()
    assert not [each.exc_value for each in unraisable if isinstance(each.exc_value, RuntimeError)]
    assert {record.name for record in caplog.records} <= {"asyncio"}


def test_a_reset(make: Any, at: dict[str, Any]) -> None:
    """The next call of the same turn finds a pool that begins anew."""

    async def main() -> None:
        async with pooled(make, **at) as client:
            calls = await queued(client, "before")
            client.connection_pool.reset()
            assert await client.echo("after") == b"after"
            assert await asyncio.gather(*calls) == [b"before"]

    asyncio.run(main())


def test_a_loop_that_was_blocked_has_waited_for_no_reply(
    make: Any, at: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written at the end of a turn that took long is late no sooner than after `socket_timeout`."""
    ahead = 0.0
    monkeypatch.setattr("redpool.asyncio.connection._monotonic", lambda: time.monotonic() + ahead)

    async def main() -> None:
        nonlocal ahead
        async with pooled(make, **at, socket_timeout=30.0) as client:
            calls = await queued(client, "one", "two")
            connection = client.connection_pool.multiplexed_here().only
            ahead = 60.0
            connection.end_turn()
            connection._end_the_late()
            assert await asyncio.gather(*calls) == [b"one", b"two"]

    asyncio.run(main())


def test_a_method_that_is_replaced(at: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is called by the next command, also in a turn in which others have queued theirs."""
    seen = []

    async def execute_command(self: Any, *args: Any, **options: Any) -> Any:
        seen.append(args)
        return await original(self, *args, **options)

    original = redis_asyncio.Redis.execute_command

    async def main() -> None:
        async with pooled(Redis, **at) as client:
            calls = await queued(client, "before")
            monkeypatch.setattr(redis_asyncio.Redis, "execute_command", execute_command)
            assert await client.echo("after") == b"after"
            await asyncio.gather(*calls)

    asyncio.run(main())
    assert seen == [("ECHO", "after")]


def test_a_pool_that_is_exchanged(at: dict[str, Any], redis_url: str) -> None:
    """A call ends over the pool over which it has begun."""

    async def main() -> None:
        async with pooled(Redis, **at) as client:
            pool, other = client.connection_pool, redis_asyncio.ConnectionPool.from_url(redis_url)
            calls = await queued(client, "before")
            client.connection_pool = other
            pool.multiplexed.only.lose(ServerClosed())
            assert await asyncio.gather(*calls) == [b"before"]
            client.connection_pool = pool
            await other.aclose()

    asyncio.run(main())


def test_a_further_connection(make: Any, scripted: ScriptedServer) -> None:
    """A write that a replica refuses is seen to wherever later calls go."""
    scripted.answer("ECHO", "ok", "ok", "ok", "ok", redis.ResponseError("READONLY no writes here"), "ok")

    async def main() -> None:
        async with pooled(make, host=scripted.host, port=scripted.port) as client:
            multiplexed = client.connection_pool.multiplexed_here()
            calls = await queued(client, "first")
            asyncio.get_running_loop().call_soon(setattr, multiplexed, "only", multiplexed.only)
            multiplexed.only = None  # as where there are two
            assert await client.echo("second") == b"second"
            assert await asyncio.gather(*calls) == [b"first"]

    asyncio.run(main())


def test_callers_that_wait_for_a_connect(at: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that begins to wait for the next connect isn't woken by the end of the one before; all go in their order."""

    async def main() -> None:
        async with pooled(Redis, **at) as client:
            multiplexed, failing, sent = client.connection_pool.multiplexed_here(), asyncio.Event(), list[Any]()
            connect: Callable[[bool], Any] = multiplexed.home.connect

            async def fail(_: bool) -> None:
                monkeypatch.setattr(multiplexed.home, "connect", connect)
                await failing.wait()
                raise redis.ConnectionError("refused")

            async def echo(word: str) -> Any:
                reply = await client.echo(word)
                sent.append(word)
                return reply

            monkeypatch.setattr(multiplexed.home, "connect", fail)
            client.connection_pool.drain()
            first = asyncio.create_task(client.echo("first"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            failing.set()
            words = [str(number) for number in range(20)]
            assert await asyncio.gather(*(echo(word) for word in words)) == [word.encode() for word in words]
            assert sent == words
            await asyncio.gather(first, return_exceptions=True)

    asyncio.run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks are never eager there")
def test_eager_tasks(make: Any, at: dict[str, Any]) -> None:
    """A push's handler comes behind what came with it; a connection that is there at once is given up in the end."""

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        pool = MultiplexedConnectionPool(**at, protocol=3)
        client, heard = make(connection_pool=pool), asyncio.Queue[Any]()
        await pool.release(await pool.take_own())  # which is there for the first call
        assert await client.echo("first") == b"first"
        connection: Any = pool.multiplexed_here().only

        async def handle(message: Any) -> None:
            heard.put_nowait([message[0], await client.echo("handler's")])

        connection.connection._parser.handle_push_response = handle
        connection._write(b"*2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nnews\r\n")
        assert await asyncio.wait_for(heard.get(), PATIENCE) == [b"subscribe", b"handler's"]
        pool.drain()
        assert connection.state is State.DETACHED
        await pool.shutdown()

    asyncio.run(main())


@pytest.mark.parametrize("how", ["deadline", "promoted", "readonly"])
def test_nothing_keeps_what_was_answered(make: Any, scripted: ScriptedServer, how: str) -> None:
    """A pool that is dropped goes at once, whatever the error with which its last calls have ended."""
    scripted.answer("GET", redis.ResponseError("READONLY no" if how == "readonly" else "ERR no"))

    async def use() -> tuple[weakref.ref[Any], Any]:
        client = make(connection_pool=MultiplexedConnectionPool(host=scripted.host, port=scripted.port))
        await client.ping()
        with redpool.deadline(30.0) if how == "deadline" else contextlib.nullcontext():
            calls = [asyncio.create_task(client.get("key")) for _ in range(2)]
            await asyncio.sleep(0)
        if how == "promoted":
            client.connection_pool.multiplexed_here().only.look_closer()
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(error, redis.ResponseError) for error in errors] == [True, True]
        del calls, errors
        return weakref.ref(client.connection_pool), client.connection_pool.multiplexed.all_there_are()

    async def main() -> None:
        pool, connections = await use()
        await asyncio.sleep(0)
        gone = pool() is None
        for connection in connections:  # as the loop does within a second
            connection.lose(ServerClosed())
        await asyncio.sleep(0)
        assert gone

    gc.collect()
    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()
