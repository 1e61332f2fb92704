"""Threads, forks and event loops: notes 45, 47 and 48."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import traceback
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import redis
import redis.asyncio as redis_asyncio
import uvloop
from redis._parsers import _HiredisParser, _RESP3Parser

import redpool
import redpool.asyncio as redpool_asyncio
from support.faces import PATIENCE, Doing, Face, eventually


@pytest.mark.parametrize("parser", [_HiredisParser, _RESP3Parser], ids=["hiredis", "python"])
def test_disconnect_under_load(threads: Face, at: dict[str, Any], parser: Any) -> None:
    """Note 45: 8 threads at work, `disconnect()` in a loop, a forced close: callers get redis-py's errors only."""
    pool = threads.pool(**at, parser_class=parser, protocol=3)
    client = threads.client(pool)
    strange: list[BaseException] = []
    commands = [0] * 8

    def work(number: int) -> None:
        while True:
            try:
                client.set(f"key:{number}", "x" * 100)
                assert client.get(f"key:{number}") == b"x" * 100
            except redpool.PoolClosed:
                return
            except redis.ConnectionError:
                pass
            except BaseException as error:
                strange.append(error)
                return
            commands[number] += 1

    doings = [Doing(lambda number=number: work(number)) for number in range(8)]  # type: ignore[misc]
    for _ in range(60):
        pool.disconnect()
        mark = sum(commands)
        assert eventually(lambda mark=mark: sum(commands) >= mark + 8 or strange)  # type: ignore[misc]
    pool.shutdown(force=True)
    assert [doing.ended() for doing in doings] == [None] * 8
    assert strange == []
    assert eventually(lambda: pool.stats().open == 0)


def test_disconnect_under_load_on_a_loop(at: dict[str, Any]) -> None:
    """Note 45: the same with tasks."""
    strange: list[BaseException] = []

    async def main() -> None:
        pool = redpool_asyncio.ConnectionPool(**at)
        client = redis_asyncio.Redis(connection_pool=pool)

        async def work(number: int) -> None:
            while True:
                try:
                    await client.set(f"key:{number}", number)
                    assert await client.get(f"key:{number}") == b"%d" % number
                except redpool.PoolClosed:
                    return
                except redis.ConnectionError:
                    pass
                except BaseException as error:
                    strange.append(error)
                    return

        tasks = [asyncio.create_task(work(number)) for number in range(8)]
        for _ in range(60):
            await client.ping()
            await pool.disconnect()
            for _ in range(5):
                await asyncio.sleep(0)
        await pool.shutdown(force=True)
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
        assert pool.stats().open == 0

    asyncio.run(main())
    assert strange == []


def in_child(work: Callable[[], None]) -> int:
    """Fork, do `work` in the child; its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    ended: list[int] = []

    def reaped() -> bool:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            ended.append(os.waitstatus_to_exitcode(status))
        return bool(done)

    if not eventually(reaped):
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        pytest.fail("the child hung")
    return ended[0]


def test_fork(threads: Face, at: dict[str, Any]) -> None:
    """Note 47: the child starts empty and works, also with a connection in use; the parent is unharmed."""
    pool = threads.pool(**at, max_connections=3, timeout=5)
    client = threads.client(pool)
    pool.warm_up(2)
    held = pool.get_connection()
    held.send_command("PING")

    def child() -> None:
        stats = pool.stats()
        assert (stats.open, stats.in_use) == (0, 0)
        pool.release(held)
        assert client.incr("n") == 1
        assert client.get("n") == b"1"
        assert pool.stats().open == 1
        pool.close()

    assert in_child(child) == 0
    assert held.read_response() in (b"PONG", "PONG")
    pool.release(held)
    assert client.get("n") == b"1"
    stats = pool.stats()
    assert (stats.connected, stats.open) == (2, 2)


def test_fork_while_the_lock_is_held(threads: Face, at: dict[str, Any]) -> None:
    """Note 47: also where another thread holds the pool's lock at that moment."""
    pool = threads.pool(**at, timeout=5)
    client = threads.client(pool)
    client.ping()
    taken, end = threading.Event(), threading.Event()

    def hold() -> None:
        with pool._engine.guard:
            taken.set()
            end.wait(PATIENCE)

    holding = Doing(hold)
    assert taken.wait(PATIENCE)

    def child() -> None:
        assert client.incr("n") == 1
        pool.close()

    try:
        assert in_child(child) == 0
    finally:
        end.set()
        holding.result()
    assert client.get("n") == b"1"


def test_fork_under_load(threads: Face, at: dict[str, Any]) -> None:
    """Note 47: also while other threads use the pool all the time, whatever they are at."""
    pool = threads.pool(**at, max_connections=2, timeout=PATIENCE)
    client = threads.client(pool)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            client.incr("n")

    doings = [Doing(work) for _ in range(4)]
    try:
        for _ in range(10):
            assert in_child(lambda: client.incr("children")) == 0
    finally:
        stop.set()
    assert [doing.ended() for doing in doings] == [None] * 4
    assert client.get("children") == b"10"
    assert pool.stats().connected <= 2


def test_fork_on_a_loop(at: dict[str, Any]) -> None:
    """Note 47: a child forked from a loop starts a loop of its own and works; the parent's connections go on."""
    pool = redpool_asyncio.ConnectionPool(**at)
    client = redis_asyncio.Redis(connection_pool=pool)

    async def in_a_loop_of_its_own() -> None:
        assert pool.stats().open == 0
        assert await client.incr("n") == 1
        await pool.aclose()

    def child() -> None:
        # The child is still inside the parent's loop, as far as asyncio knows.
        asyncio._set_running_loop(None)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(in_a_loop_of_its_own())
        loop.close()

    async def main() -> None:
        await client.ping()
        async with pool.connection() as held:
            await held.send_command("PING")
            assert in_child(child) == 0
            assert await held.read_response() in (b"PONG", "PONG")
        assert await client.get("n") == b"1"
        assert pool.stats().connected <= 2
        await pool.aclose()

    asyncio.run(main())


def _run_plain(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def _run_uvloop(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


loops = pytest.mark.parametrize("run", [_run_plain, _run_uvloop], ids=["asyncio", "uvloop"])


@loops
def test_one_pool_for_loops_in_turn(at: dict[str, Any], run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """Note 48: one client in `asyncio.run` three times works three times, without closing anything."""
    pool = redpool_asyncio.ConnectionPool(**at)
    client = redis_asyncio.Redis(connection_pool=pool)

    async def main() -> None:
        await asyncio.gather(*(client.incr("n") for _ in range(10)))

    async def last() -> None:
        assert await client.get("n") == b"30"
        await pool.aclose()

    for _ in range(3):
        with warnings.catch_warnings():
            # The loops tell that transports were left open; as an error that would keep uvloop from closing at all.
            warnings.simplefilter("ignore", ResourceWarning)
            run(main())
            gc.collect()
    run(last())


@loops
def test_one_pool_for_loops_side_by_side(at: dict[str, Any], run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """Note 48: one client on two loops in two threads, each with connections of its own."""
    pool = redpool_asyncio.ConnectionPool(**at, max_connections=3)
    client = redis_asyncio.Redis(connection_pool=pool)
    barrier = threading.Barrier(2)

    async def main() -> None:
        async def work() -> None:
            for _ in range(50):
                await client.incr("n")

        barrier.wait(PATIENCE)
        await asyncio.gather(*(work() for _ in range(6)))
        barrier.wait(PATIENCE)
        assert pool.stats().open <= 3

    with warnings.catch_warnings():
        # As above: neither loop closes its connections.
        warnings.simplefilter("ignore", ResourceWarning)
        doings = [Doing(lambda: run(main())) for _ in range(2)]
        assert [doing.ended() for doing in doings] == [None, None]
        gc.collect()

    async def last() -> None:
        assert await client.get("n") == b"600"
        await pool.aclose()

    run(last())
