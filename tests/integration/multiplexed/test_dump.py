"""What a dump says of the calls that share a connection: whose they are, since when, and which command."""

from __future__ import annotations

import asyncio
import inspect
import re
from typing import Any

import pytest
import redis
import redis.asyncio

import redpool
import redpool.asyncio
from redpool.redispy import calls
from redpool.testing import ScriptedServer
from support.faces import Doing, Face, Listener, eventually


def test_those_that_wait_for_a_connect(face: Face, silent: Listener) -> None:
    """They are counted and named until they leave or are served; the pool's own thread or task is one of them."""
    pool = face.pool(host="127.0.0.1", port=silent.port, socket_timeout=None)
    callers = [Doing(lambda: face.client(pool).get("key"), f"caller {number}") for number in range(2)]
    assert eventually(lambda: pool.stats().waiting == len(pool.dump().waiters) == 3)
    assert 0 < pool.dump().waiters[0].age <= pool.stats().oldest_wait < 60.0
    named = [waiter.borrower for waiter in pool.dump().waiters]
    assert sum(f"{pool.config.name} multiplexed connection" in name for name in named) == 1
    pool.shutdown(timeout=0, force=True)
    assert all(isinstance(caller.ended(), redpool.PoolClosed) for caller in callers)
    assert (pool.dump().waiters, pool.stats().waiting) == ((), 0)


@pytest.mark.parametrize("client_class", [redis.Redis, redpool.Redis], ids=["redis-py's", "redpool's"])
def test_of_threads(scripted: ScriptedServer, client_class: type[redis.Redis]) -> None:
    """The names of those that are parked; one of them reads for all, and has none."""
    with redpool.MultiplexedConnectionPool(host=scripted.host, port=scripted.port, max_in_flight=2) as pool:
        client = client_class(connection_pool=pool)
        client.ping()
        assert pool.dump().calls == ()
        scripted.answer("GET", "never")
        callers = [Doing(lambda: client.get("key"), f"caller {number}") for number in range(3)]
        assert eventually(lambda: sum(call.sent for call in pool.dump().calls) == 2)
        assert eventually(lambda: len([call for call in pool.dump().calls if call.borrower]) == 2)
        dump = pool.dump()
        assert {call.command for call in dump.calls} == {"GET"}
        assert sorted(call.sent for call in dump.calls) == [False, True, True]
        assert all(0 <= call.age < 20.0 and call.waits_at is None for call in dump.calls)
        named = [call.borrower for call in dump.calls if call.borrower]
        assert len({name for name in named if re.fullmatch(r"thread 'caller \d' \(\d+\)", name)}) == 2
        for name in named:
            assert re.search(rf"(in flight|queued) \d+\.\d+ s: GET by {re.escape(name)}\n", f"{dump}\n")
        pool.shutdown(timeout=0, force=True)
        assert all(isinstance(caller.ended(), redis.ConnectionError) for caller in callers)


async def asks(client: Any, key: str) -> None:
    await client.get(key)  # where it waits


async def asks_in_a_pipeline(client: Any) -> None:
    pipe = client.pipeline().set("key", "value").get("key")
    await pipe.execute()  # where it waits


@pytest.mark.parametrize("client_class", [redis.asyncio.Redis, redpool.asyncio.Redis], ids=["redis-py's", "redpool's"])
def test_of_tasks(scripted: ScriptedServer, client_class: Any) -> None:
    """Their names, and the lines of their own where they wait; those that have left are not shown."""

    async def main() -> None:
        async with redpool.asyncio.MultiplexedConnectionPool(host=scripted.host, port=scripted.port) as pool:
            client = client_class(connection_pool=pool)
            await client.ping()
            assert pool.dump().calls == ()
            scripted.answer("GET", "never")
            waiting = [asyncio.create_task(asks(client, f"key {number}"), name=f"task {number}") for number in range(3)]
            await asyncio.sleep(0.02)
            waiting.append(asyncio.create_task(asks_in_a_pipeline(client), name="pipeline"))
            await asyncio.sleep(0.02)
            waiting[1].cancel()
            await asyncio.sleep(0)
            dump = pool.dump()
            seen = [(call.command, call.borrower, call.sent) for call in dump.calls]
            assert seen == [
                ("GET", "task 'task 0'", True),
                ("GET", "task 'task 2'", True),
                ("SET", "task 'pipeline'", True),
            ]
            assert [where_of(call) for call in dump.calls] == [asks, asks, asks_in_a_pipeline]
            assert dump.calls[0].age > dump.calls[2].age > 0
            assert "SET by task 'pipeline'\n      File " in str(dump)
            assert [(lease.borrower, lease.taken_at) for lease in dump.leases] == [("all who share it", None)]
            await pool.shutdown(timeout=0, force=True)
            await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(main())


def where_of(call: Any) -> Any:
    """The function in which a call waits; the line must be the marked one."""
    found = re.search(r'File "(.*)", line (\d+), in (\w+)', call.waits_at or "")
    assert found is not None
    function = globals()[found[3]]
    lines, first = inspect.getsourcelines(function)
    assert (found[1], "# where it waits" in lines[int(found[2]) - first]) == (__file__, True)
    return function


def test_the_oldest_are_shown(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """And how many more there are, so that a dump of many calls is no burden to the loop."""
    monkeypatch.setattr(calls, "MOST", 2)

    async def main() -> None:
        async with redpool.asyncio.Redis(host=scripted.host, port=scripted.port) as client:
            await client.ping()
            scripted.answer("GET", "never")
            waiting = [asyncio.create_task(asks(client, "key"), name=f"task {number}") for number in range(5)]
            await asyncio.sleep(0)
            dump = client.connection_pool.dump()
            assert [call.borrower for call in dump.calls] == ["task 'task 0'", "task 'task 1'"]
            assert dump.more_calls == 3
            assert "3 more calls" in str(dump)
            await client.connection_pool.shutdown(timeout=0, force=True)
            await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(main())
