"""A connection that is dropped instead of released: its slot is free again, and the log says who took it. Note 51."""

from __future__ import annotations

import gc
import logging
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

from redpool.testing import ScriptedServer
from support.faces import Asyncio, Doing, Face, Recorder, eventually, on_loop

SOON = 5.0
"""Seconds within which a place is back; at the first tick, later, it would be back in any case."""

# redis-py and asyncio say so of everything that is dropped open on an event loop.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def recorder() -> Recorder:
    """What the pool tells."""
    return Recorder()


@pytest.fixture
def pool(request: pytest.FixtureRequest, face: Face, at: dict[str, Any], recorder: Recorder) -> Any:
    """A pool of two connections, which has no other reason to look after them."""
    return face.pool(
        **at, protocol=getattr(request, "param", 3), max_connections=2, timeout=10.0,
        ping_after_idle=None, max_idle_time=None, instruments=[recorder],
    )  # fmt: skip


# Each takes a connection and forgets it; for threads first, then for event loops.


def forgets_a_lease(pool: Any) -> None:
    pool.get_connection().send_command("PING")


async def forgets_a_lease_on_a_loop(pool: Any) -> None:
    await (await pool.get_connection()).send_command("PING")


def forgets_a_subscriber(pool: Any) -> None:
    redis.Redis(connection_pool=pool).pubsub().subscribe("news")


async def forgets_a_subscriber_on_a_loop(pool: Any) -> None:
    await redis.asyncio.Redis(connection_pool=pool).pubsub().subscribe("news")


def forgets_a_watch(pool: Any) -> None:
    redis.Redis(connection_pool=pool).pipeline().watch("key")


async def forgets_a_watch_on_a_loop(pool: Any) -> None:
    await redis.asyncio.Redis(connection_pool=pool).pipeline().watch("key")


KINDS = {
    "lease": (forgets_a_lease, forgets_a_lease_on_a_loop),
    "subscriber": (forgets_a_subscriber, forgets_a_subscriber_on_a_loop),
    "watch": (forgets_a_watch, forgets_a_watch_on_a_loop),
}


def forget(face: Face, pool: Any, kind: str) -> Callable[..., Any]:
    """Have a connection dropped, and let the garbage collector find it; the function that did it."""
    by_threads, on_loops = KINDS[kind]
    if isinstance(face, Asyncio):
        on_loop(face.loop, lambda: on_loops(pool._target))
        on_loop(face.loop, gc.collect)
    else:
        by_threads(pool)
        gc.collect()
    return on_loops if face.asynchronous else by_threads


@pytest.mark.parametrize("pool", [2, 3], indirect=True, ids=["resp2", "resp3"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_place_of_what_was_dropped_comes_back(face: Face, pool: Any, kind: str) -> None:
    """Leases, subscribers and watching pipelines, as many as one likes: both connections can be had again."""
    for _ in range(3):
        forget(face, pool, kind)
        assert eventually(lambda: pool.stats().in_use == 0, SOON)
    with pool.connection(), pool.connection():
        assert pool.stats().in_use == 2
    client = face.client(pool)
    client.set("key", "value")
    assert client.pipeline().get("key").execute() == [b"value"]


def test_a_caller_that_waits_gets_the_place(face: Face, pool: Any) -> None:
    """With no other call that could notice."""
    with pool.connection():
        forget(face, pool, "lease")
        waiting = Doing(pool.get_connection)
        assert eventually(lambda: waiting.done, SOON)
        pool.release(waiting.result())
    assert pool.stats().in_use == 0


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the pool itself has logged."""
    return [record.getMessage() for record in caplog.records if record.name == "redpool"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_says_who_it_was(face: Face, pool: Any, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """The file, the line and the function where the connection was taken, and by which thread or task."""
    with caplog.at_level(logging.WARNING, logger="redpool"):
        by = forget(face, pool, kind)
        assert eventually(lambda: ours(caplog), SOON)
    (message,) = ours(caplog)
    code = by.__code__
    found = re.search(r'File "(.*)", line (\d+), in (.*)\n', message)
    assert found is not None, message
    assert (found[1], found[3]) == (code.co_filename, code.co_qualname)
    assert code.co_firstlineno < int(found[2]) <= code.co_firstlineno + 1
    assert "dropped without being given back" in message
    assert re.search("by task '" if face.asynchronous else "by thread 'MainThread'", message)


@pytest.mark.parametrize("end", ["close", "disconnect", "shutdown"])
def test_what_is_dropped_at_the_end_is_no_fault(
    face: Face, pool: Any, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    """The pool was closed meanwhile: at level DEBUG the log says so. What is taken later is as before."""
    caplog.set_level(logging.DEBUG, logger="redpool")
    if isinstance(face, Asyncio):
        on_loop(face.loop, lambda: drops_it_closed_on_a_loop(pool._target, end))
        on_loop(face.loop, gc.collect)
    else:
        drops_it_closed(pool, end)
        gc.collect()
    assert eventually(lambda: pool.stats() and levels(caplog), SOON)
    assert levels(caplog) == [logging.DEBUG]
    if end != "shutdown":
        forget(face, pool, "lease")
        assert eventually(lambda: levels(caplog)[1:], SOON)
        assert levels(caplog) == [logging.DEBUG, logging.WARNING]


ENDS: dict[str, dict[str, Any]] = {"close": {}, "disconnect": {}, "shutdown": {"timeout": 0}}


def drops_it_closed(pool: Any, end: str) -> None:
    connection = pool.get_connection()
    getattr(pool, end)(**ENDS[end])
    del connection


async def drops_it_closed_on_a_loop(pool: Any, end: str) -> None:
    connection = await pool.get_connection()
    await getattr(pool, end)(**ENDS[end])
    del connection


def levels(caplog: pytest.LogCaptureFixture) -> list[int]:
    """Those at which drops were logged."""
    return [record.levelno for record in caplog.records if "dropped without" in record.getMessage()]


ENDING = """
import gc, logging, sys, threading
import redpool

logging.basicConfig(level=logging.DEBUG)
pool = redpool.ConnectionPool(host="127.0.0.1", port=int(sys.argv[1]))

def drop():
    pool.get_connection()
    gc.collect()
    pool.stats()

def outlive():
    threading.main_thread().join()
    drop()

drop()
threading.Thread(target=outlive).start()
"""


def test_what_is_dropped_while_the_interpreter_ends_is_no_fault(at: dict[str, Any]) -> None:
    """The main thread has ended: what others drop then is logged at level DEBUG, what was dropped before as ever."""
    program = [sys.executable, "-c", ENDING, str(at["port"])]
    said = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True).stderr
    assert re.findall("^([A-Z]+):redpool:.*dropped without", said, re.MULTILINE) == ["WARNING", "DEBUG"], said


def test_it_is_counted_and_raised(face: Face, pool: Any, recorder: Recorder) -> None:
    """As a leak, and as a close with a reason of its own."""
    forget(face, pool, "lease")
    assert eventually(lambda: recorder.named("closed"))
    assert [reason for reason, _ in recorder.named("closed")] == ["leaked"]
    assert len(recorder.named("leaked")) == 1
    stats = pool.stats()
    assert (stats.leaks, stats.closed, stats.in_use) == (1, {"leaked": 1}, 0)
    assert stats.acquired == stats.released


def test_a_connection_that_was_dropped_reaches_no_caller(face: Face, scripted: ScriptedServer) -> None:
    """Its socket is closed: a reply may be on its way."""
    pool = face.pool(host=scripted.host, port=scripted.port, max_connections=2, ping_after_idle=None)
    scripted.answer("PING", "never")
    forget(face, pool, "lease")
    assert eventually(lambda: scripted.clients == 0)
    assert face.client(pool).echo("mine") == b"mine"


def test_what_is_still_held_is_never_taken_back(face: Face, pool: Any, caplog: pytest.LogCaptureFixture) -> None:
    """However often the garbage is collected and the pool is put in order, and however long nothing is said."""
    connection = pool.get_connection()
    core = pool._engine.core if not face.asynchronous else pool._here._target.core
    for _ in range(3):
        gc.collect()
        put_in_order(face, core)
    assert pool.stats().in_use == 1
    connection.send_command("ECHO", "mine")
    assert connection.read_response() == b"mine"
    pool.release(connection)
    assert (pool.stats().in_use, pool.stats().leaks, ours(caplog)) == (0, 0, [])


def put_in_order(face: Face, core: Any) -> None:
    """Have the core do all that it may do on its own."""

    def order() -> None:
        now = time.monotonic()
        core.tick(now)
        core.repair(now)

    if isinstance(face, Asyncio):
        on_loop(face.loop, order)
    else:
        order()


def test_giving_back_twice_warns(face: Face, pool: Any) -> None:
    """Also after another lease was dropped; it changes nothing."""
    forget(face, pool, "lease")
    assert eventually(lambda: pool.stats().in_use == 0)
    connection = pool.get_connection()
    pool.release(connection)
    with pytest.warns(RuntimeWarning, match="released twice"):
        pool.release(connection)
    assert (pool.stats().in_use, pool.stats().leaks) == (0, 1)
    assert pool.stats().acquired == pool.stats().released
