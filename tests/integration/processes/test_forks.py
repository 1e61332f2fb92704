"""A child begins with nothing of its parent's, however it was forked and whichever way into a pool it takes first."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio as redis_asyncio

import redpool
import redpool.asyncio as redpool_asyncio
from redpool import forks
from support.children import in_child
from support.faces import PATIENCE, Doing, together

POOLS = {"dedicated": redpool.ConnectionPool, "multiplexed": redpool.MultiplexedConnectionPool}
KINDS = ("dedicated", "multiplexed", "client")


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Any]:
    """A client for threads over each kind of pool, which has used a connection."""
    if request.param == "client":
        made: Any = redpool.Redis.from_url(redis_url)
    else:
        made = redis.Redis(connection_pool=POOLS[request.param].from_url(redis_url))
    assert made.echo("parent") == b"parent"
    yield made
    made.connection_pool.close()


@pytest.fixture(params=POOLS)
def pool(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Any]:
    """A pool for threads of each kind."""
    made = POOLS[request.param].from_url(redis_url)
    yield made
    made.close()


@pytest.fixture
def connects(redis_url: str) -> Iterator[Callable[[], int]]:
    """How many clients have connected to the server since the last time."""
    with redis.Redis.from_url(redis_url) as observer:
        before = [observer.info("stats")["total_connections_received"]]

        def since() -> int:
            before.append(observer.info("stats")["total_connections_received"])
            return int(before[-1] - before[-2])

        yield since


@contextlib.contextmanager
def locked(pool: Any) -> Iterator[None]:
    """A thread holds the pool's lock meanwhile."""
    held, end = threading.Event(), threading.Event()

    def hold() -> None:
        with pool._engine.guard:
            held.set()
            end.wait(PATIENCE)

    holding = Doing(hold)
    assert held.wait(PATIENCE)
    try:
        yield
    finally:
        end.set()
        holding.result()


def lease(pool: Any) -> Any:
    """Return a connection on loan that is no virtual one."""
    return pool.take_own() if isinstance(pool, redpool.MultiplexedConnectionPool) else pool.get_connection()


def test_a_child_connects_for_itself(client: Any, connects: Callable[[], int]) -> None:
    """Parent and child, and the child's child, have a connection each, and nothing was said over another's."""

    def grandchild() -> None:
        assert client.echo("grandchild") == b"grandchild"

    def child() -> None:
        assert [client.echo(str(turn)) for turn in range(20)] == [str(turn).encode() for turn in range(20)]
        stats = client.connection_pool.stats()
        assert (stats.connected, stats.closed["fork"]) == (1, 1)
        in_child(grandchild)
        assert client.echo("child") == b"child"

    connects()
    in_child(child)
    assert connects() == 2
    assert client.echo("parent") == b"parent"
    assert connects() == 0


def test_several_threads_of_a_child(client: Any, connects: Callable[[], int]) -> None:
    """They may find out at once; what one of them has connected by then is not taken for the parent's."""

    def child() -> None:
        turns = together(8, lambda number: [client.echo(f"{number}-{turn}") for turn in range(10)])
        for number, turn in enumerate(turns):
            assert turn.result() == [f"{number}-{each}".encode() for each in range(10)]
        stats = client.connection_pool.stats()
        assert stats.closed["fork"] == 1
        assert 1 <= stats.connected <= 8
        assert stats.open == stats.connected

    connects()
    in_child(child)
    assert 1 <= connects() <= 8
    assert client.echo("parent") == b"parent"


def test_a_lock_that_a_thread_of_the_parent_holds(client: Any, connects: Callable[[], int]) -> None:
    """No way in waits for it in the child, where that thread doesn't exist."""

    def child() -> None:
        assert client.echo("child") == b"child"

    connects()
    with locked(client.connection_pool):
        in_child(child)
    assert connects() == 1


def test_a_loan_released_in_a_child(pool: Any) -> None:
    """The parent has it on loan all the same, and the child's pool stays empty."""
    held = lease(pool)
    held.send_command("ECHO", "parent")

    def child() -> None:
        pool.release(held)
        assert pool.stats().open == 0

    with locked(pool):
        in_child(child)
    assert held.read_response() == b"parent"
    pool.release(held)


def test_a_loan_used_in_a_child(pool: Any, connects: Callable[[], int]) -> None:
    """A child that sends over it connects anew; one that reads doesn't get what the parent is to get."""
    held = lease(pool)
    held.send_command("ECHO", "parent")

    def reads() -> None:
        with pytest.raises((redis.ConnectionError, AttributeError)):
            held.read_response()

    def sends() -> None:
        held.send_command("ECHO", "child")
        assert held.read_response() == b"child"

    connects()
    in_child(reads)
    assert connects() == 0
    in_child(sends)
    assert connects() == 1
    assert held.read_response() == b"parent"
    pool.release(held)


def test_a_subscriber_in_a_child(pool: Any) -> None:
    """Its parent's messages stay its parent's."""
    subscriber = redis.Redis(connection_pool=pool).pubsub(ignore_subscribe_messages=True)
    subscriber.subscribe("news")
    subscriber.get_message(timeout=PATIENCE)
    redis.Redis(connection_pool=pool).publish("news", "for the parent")

    def child() -> None:
        message = subscriber.get_message(timeout=0.1)
        assert message is None

    in_child(child)
    message = None
    while message is None:
        message = subscriber.get_message(timeout=PATIENCE)
    assert message["data"] == b"for the parent"
    subscriber.close()


WHOLE = {
    "shutdown": lambda pool: pool.shutdown(force=True),
    "close": lambda pool: pool.close(),
    "disconnect": lambda pool: pool.disconnect(),
    "drain": lambda pool: pool.drain(),
    "reset": lambda pool: pool.reset(),
    "resize": lambda pool: pool.resize(10),
    "warm_up": lambda pool: pool.warm_up(1),
    "stats": lambda pool: pool.stats(),
    "dump": lambda pool: pool.dump(),
}


@pytest.mark.parametrize("what", WHOLE)
def test_a_child_that_begins_with_the_whole_pool(pool: Any, what: str) -> None:
    """What it sees, closes or replaces is its own, and it waits for no lock of its parent's."""
    client = redis.Redis(connection_pool=pool)
    client.echo("parent")
    held = Doing(lambda: lease(pool)).result()  # by another thread: as the child's own it would be closed gently
    held.send_command("ECHO", "parent")
    with locked(pool):
        in_child(lambda: WHOLE[what](pool))
    assert held.read_response() == b"parent"
    pool.release(held)
    assert client.echo("parent") == b"parent"


def test_maintenance_in_a_child(pool: Any) -> None:
    """Greenlets are forked with their process: that of the parent's maintenance ends in the child."""
    client = redis.Redis(connection_pool=pool)
    client.echo("parent")

    def child() -> None:
        parents = pool._engine
        assert parents.run_maintenance() is None
        assert pool._engine is not parents

    in_child(child)
    assert client.echo("parent") == b"parent"


def test_the_parents_threads_are_collected_in_a_child() -> None:
    """The errors of its connects keep those that have ended; CPython 3.13 wouldn't survive what it does then."""
    errors: list[BaseException] = []
    for _ in range(8):  # glibc keeps the stacks of fewer
        with redpool.ConnectionPool(port=1) as pool, pytest.raises(redis.ConnectionError) as caught:
            pool.warm_up(1, PATIENCE)
        errors.append(caught.value)
        del caught

    def child() -> None:
        errors.clear()
        gc.collect()

    in_child(child)


FIRST_CALLS = """
import sys
import redis, redpool

url = sys.argv[1]
for kind in redpool.ConnectionPool, redpool.MultiplexedConnectionPool:
    for protocol in 2, 3:
        pool, nowhere = kind.from_url(url, protocol=protocol), kind(port=1, protocol=protocol)
        before = set(sys.modules)
        for client_class in redis.Redis, redpool.Redis:
            client_class(connection_pool=pool).echo("first")
            try:
                client_class(connection_pool=nowhere).echo("nowhere")
            except redis.ConnectionError:
                pass
        print(*(set(sys.modules) - before))
"""


def test_the_first_connect_imports_nothing(redis_url: str) -> None:
    """A child that was forked in the midst of an import could never connect: the module stays locked there.

    The thread that imports it doesn't exist in the child, and its lock is none of those that CPython makes anew.
    """
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALLS, redis_url], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


# -- event loops -------------------------------------------------------------------------------------------------------


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The parent's loop, which doesn't run when it forks."""
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture(params=KINDS)
def task_client(request: pytest.FixtureRequest, redis_url: str, loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
    """A client for event loops over each kind of pool, which has used a connection."""
    if request.param == "client":
        made: Any = redpool_asyncio.Redis.from_url(redis_url)
    elif request.param == "multiplexed":
        made = redis_asyncio.Redis(connection_pool=redpool_asyncio.MultiplexedConnectionPool.from_url(redis_url))
    else:
        made = redis_asyncio.Redis(connection_pool=redpool_asyncio.ConnectionPool.from_url(redis_url))
    assert loop.run_until_complete(made.echo("parent")) == b"parent"
    yield made
    loop.run_until_complete(made.connection_pool.aclose())


def test_a_child_with_a_loop_of_its_own(
    task_client: Any, loop: asyncio.AbstractEventLoop, connects: Callable[[], int]
) -> None:
    """It connects for itself, and the parent's loop goes on with what it had."""

    async def ask() -> None:
        assert await asyncio.gather(*(task_client.echo(str(turn)) for turn in range(5))) == [
            str(turn).encode() for turn in range(5)
        ]

    connects()
    in_child(lambda: asyncio.run(ask()))
    assert connects() >= 1
    assert loop.run_until_complete(task_client.echo("parent")) == b"parent"
    assert connects() == 0


def test_a_child_that_goes_on_with_the_loop(
    task_client: Any, loop: asyncio.AbstractEventLoop, connects: Callable[[], int]
) -> None:
    """The loop's timers of the parent's pool end there, and its transports are left alone."""

    async def ask() -> None:
        assert await task_client.echo("child") == b"child"

    def child() -> None:
        here = task_client.connection_pool._here
        loop.run_until_complete(ask())
        assert here.inherited
        here._tick()
        if here.multiplexed is not None:
            here.multiplexed._look()

    connects()
    in_child(child)
    assert connects() == 1
    assert loop.run_until_complete(task_client.echo("parent")) == b"parent"
    assert connects() == 0


@pytest.mark.parametrize("which", ["its own", "the parent's"])
def test_a_fork_in_mid_turn(redis_url: str, loop: asyncio.AbstractEventLoop, which: str) -> None:
    """What a loop was about to write when it was stopped is the parent's to write, once."""
    client: Any = redpool_asyncio.Redis.from_url(redis_url)

    async def begin() -> list[asyncio.Task[int]]:
        await asyncio.gather(*(client.echo("many") for _ in range(3)))
        return [asyncio.create_task(client.incr("n")) for _ in range(2)]

    async def ask() -> None:
        assert [await client.echo(word) for word in ("one", "two")] == [b"one", b"two"]

    def child() -> None:
        if which == "its own":
            asyncio.run(ask())
        else:
            loop.run_until_complete(ask())

    calls = loop.run_until_complete(begin())
    in_child(child)
    assert loop.run_until_complete(asyncio.gather(*calls)) == [1, 2]
    assert loop.run_until_complete(client.get("n")) == b"2"
    loop.run_until_complete(client.connection_pool.shutdown())


def test_a_loan_of_a_task_used_in_a_child(redis_url: str, loop: asyncio.AbstractEventLoop) -> None:
    """A child that sends over it connects anew, and what it releases is closed in the child alone."""
    pool = redpool_asyncio.ConnectionPool.from_url(redis_url)
    held = loop.run_until_complete(pool.get_connection())
    loop.run_until_complete(held.send_command("ECHO", "parent"))

    async def use() -> None:
        await held.send_command("ECHO", "child")
        assert await held.read_response() == b"child"
        await pool.release(held)
        assert pool.stats().open == 0

    in_child(lambda: asyncio.run(use()))
    assert loop.run_until_complete(held.read_response()) == b"parent"
    loop.run_until_complete(pool.release(held))
    loop.run_until_complete(pool.aclose())


# -- how a child is known ----------------------------------------------------------------------------------------------


def test_a_page_is_wiped_in_each_child() -> None:
    """On Linux no process id is asked for."""
    assert forks.same_process[0]
    if sys.platform == "linux":
        assert isinstance(forks.same_process, memoryview)
    in_child(lambda: ctypes.PyDLL(None)._exit(int(forks.same_process[0])))


class Page:
    """A page of a kernel that takes this advice."""

    def __init__(self, taken: set[int]) -> None:
        self.taken = taken

    def madvise(self, advice: int) -> None:
        """Refuse all other."""
        if advice not in self.taken:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


@pytest.mark.parametrize("taken", [set(), {-1, 18}], ids=["an old kernel", "one that takes anything"])
def test_elsewhere_process_ids_are_compared(monkeypatch: pytest.MonkeyPatch, taken: set[int]) -> None:
    """Also where the advice is taken, but any would be: an emulator takes all, and wipes nothing."""
    monkeypatch.setattr("redpool.forks.mmap.mmap", lambda *args, **options: Page(taken))
    assert forks._wiped_page() is None
    monkeypatch.undo()
    by_id = forks._ById()
    by_id[0] = True
    assert by_id[0]

    def child() -> None:
        assert not by_id[0]
        by_id[0] = True
        assert by_id[0]

    in_child(child)


BY_ID = """
    import mmap, sys
    class Page:
        def __init__(self, *args, **options): pass
        def madvise(self, advice): raise OSError(22, "Invalid argument")
    mmap.mmap = Page
    import redpool
    from redpool import forks
    from support.children import in_child
    assert not isinstance(forks.same_process, memoryview)
    client = redpool.Redis.from_url(sys.argv[1])
    client.echo("parent")
    def child():
        assert client.echo("child") == b"child"
        assert client.connection_pool.stats().closed["fork"] == 1
    in_child(child)
    assert client.echo("parent") == b"parent"
"""


def test_a_child_by_its_process_id(redis_url: str) -> None:
    """It is known as surely."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BY_ID), redis_url],
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_interrupted_begins_once_more(pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler that raises just then leaves no child that takes itself for its parent."""
    client = redis.Redis(connection_pool=pool)
    client.echo("parent")

    def child() -> None:
        begin = pool.begin_in_child

        def interrupted() -> None:
            monkeypatch.setattr(pool, "begin_in_child", begin, raising=False)
            raise KeyboardInterrupt

        monkeypatch.setattr(pool, "begin_in_child", interrupted, raising=False)
        with pytest.raises(KeyboardInterrupt):
            client.echo("child")
        assert client.echo("child") == b"child"
        assert pool.stats().closed["fork"] == 1

    in_child(child)
    assert client.echo("parent") == b"parent"


@pytest.mark.parametrize("kind", ["multiplexed", "client"])
def test_a_patch_that_comes_in_the_child_is_seen(kind: str, redis_url: str) -> None:
    """Tracers are set up after the fork, by its hooks: what was found in the parent says nothing."""
    made: Any = redpool.Redis.from_url(redis_url)
    client = made if kind == "client" else redis.Redis(connection_pool=made.connection_pool)
    client.echo("parent")

    def child() -> None:
        seen, send = list[Any](), redis.connection.AbstractConnection.send_command

        def traced(connection: Any, *args: Any, **options: Any) -> Any:
            seen.append(args)
            return send(connection, *args, **options)

        redis.connection.AbstractConnection.send_command = traced  # type: ignore[assignment,method-assign]
        client.echo("first")  # by it the pool learns that this is a child
        client.echo("child")
        assert ("ECHO", "child") in seen
        assert not made.connection_pool.may_share()

    in_child(child)
    made.connection_pool.shutdown(timeout=0, force=True)
