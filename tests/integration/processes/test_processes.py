"""Event loops, one after another and side by side; forked children; the end of the interpreter."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

import redpool
from redpool.asyncio import MultiplexedConnectionPool, Redis
from support.faces import PATIENCE, Doing, Watch, _no_pool_threads, eventually


def test_loops_one_after_another(redis_url: str, recwarn: pytest.WarningsRecorder) -> None:
    """Each has its own connection, and nothing has to be closed in between."""
    pool = MultiplexedConnectionPool.from_url(redis_url)
    client = Redis(connection_pool=pool)

    async def main(number: int) -> None:
        await client.set("key", number)
        assert await asyncio.gather(*(client.get("key") for _ in range(20))) == [str(number).encode()] * 20
        assert pool.stats().connected == 1

    for number in range(4):
        asyncio.run(main(number))

    async def end() -> None:
        await pool.aclose()

    asyncio.run(end())
    assert not [each for each in recwarn if issubclass(each.category, ResourceWarning)]


def test_loops_side_by_side(redis_url: str) -> None:
    """One pool, several loops in threads: each reply goes to its own."""
    pool = MultiplexedConnectionPool.from_url(redis_url)
    client = Redis(connection_pool=pool)

    async def main(number: int) -> None:
        for turn in range(30):
            token = f"{number}-{turn}"
            assert await asyncio.gather(*(client.echo(token) for _ in range(5))) == [token.encode()] * 5
        await asyncio.sleep(0)

    doings = [Doing(lambda number=number: asyncio.run(main(number))) for number in range(3)]  # type: ignore[misc]
    for doing in doings:
        doing.result()

    async def end() -> None:
        await pool.aclose()

    asyncio.run(end())


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_fork_in_the_midst(redis_url: str, watch: Watch) -> None:
    """The child has its own connections, and the parent's replies are the parent's."""
    client = redpool.Redis.from_url(redis_url)
    client.set("key", "value")
    stop, failures = threading.Event(), list[str]()

    def work(number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            token = f"parent {number}-{turn}".encode()
            reply = client.echo(token)
            if reply != token:
                failures.append(f"{reply!r} for {token!r}")

    workers = [Doing(lambda number=number: work(number)) for number in range(3)]  # type: ignore[misc]
    try:
        for _ in range(4):
            child = os.fork()
            if child == 0:
                _in_child(client)
            assert _ended(child) == 0
    finally:
        stop.set()
    for worker in workers:
        worker.result()
    assert failures == []
    assert client.get("key") == b"value"
    assert client.connection_pool.stats().connected == 1
    client.close()


def _in_child(client: Any) -> None:
    status = 1
    try:
        pid = os.getpid()
        if all(client.echo(f"child {pid}-{turn}") == f"child {pid}-{turn}".encode() for turn in range(50)):
            status = 0 if client.connection_pool.stats().connected == 1 else 3
    finally:
        os._exit(status)


def _ended(child: int) -> int:
    waiting = Doing(lambda: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return int(waiting.result())


THREADS = """
    import sys, threading, redpool
    client = redpool.Redis.from_url(sys.argv[1])
    client.set("key", "value")
    threading.Thread(target=lambda: [client.get("key") for _ in range(100_000)], daemon=True).start()
    waiting = threading.Thread(target=lambda: client.blpop("nothing", 0), daemon=True)
    waiting.start()
    assert client.pipeline().get("key").execute() == [b"value"]
"""
LOOP = """
    import asyncio, sys
    from redpool.asyncio import Redis
    client = Redis.from_url(sys.argv[1])
    async def main():
        await client.set("key", "value")
        asyncio.create_task(client.blpop("nothing", 0))
        assert await asyncio.gather(*(client.get("key") for _ in range(10))) == [b"value"] * 10
    asyncio.run(main())
    asyncio.run(main())
"""


STRICT = ("-W", "error", "-X", "dev")


# asyncio itself warns of transports that were left open, where such warnings are shown.
@pytest.mark.parametrize(("script", "how"), [(THREADS, STRICT), (LOOP, ())], ids=["threads", "asyncio"])
def test_the_end_of_the_interpreter(redis_url: str, script: str, how: tuple[str, ...]) -> None:
    """A client that was never closed ends with it: no warning, nothing said, no waiting."""
    done = subprocess.run(
        [sys.executable, *how, "-c", textwrap.dedent(script), redis_url],
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_pool_that_is_dropped(redis_url: str, watch: Watch) -> None:
    """Its shared connection is closed with it, for threads within a look of the maintenance thread."""
    client: Any = redpool.Redis.from_url(redis_url, client_name="dropped")
    client.set("key", "value")
    assert len(watch.ids("dropped")) == 1
    del client
    assert eventually(lambda: _no_pool_threads() and not watch.ids("dropped"))
