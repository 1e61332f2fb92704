"""Connecting that goes wrong: what callers get, how soon, and how often the server is asked; over each kind of pool."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import threading
from collections.abc import Iterator
from typing import Any

import freezegun
import pytest
import redis
import redis.asyncio

import redpool
import redpool.asyncio
from redpool import embedded
from redpool import threads as own_threads
from redpool.core import policy
from redpool.redispy import factory
from redpool.testing import ScriptedServer
from support.faces import OF_TASKS, PATIENCE, Face, Listener, together


@pytest.fixture
def face(any_face: Face) -> Face:
    """Each kind of pool and client."""
    return any_face


def failures_of(client: Any, times: int) -> list[BaseException]:
    """What so many calls raise."""
    raised: list[BaseException] = []
    for _ in range(times):
        with pytest.raises(Exception) as caught:
            client.get("key")
        raised.append(caught.value)
    return raised


# -- a server that refuses ---------------------------------------------------------------------------------------------


def test_a_refused_connect_is_raised_at_once(face: Face, refusing: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the pause until the next one: who comes meanwhile gets the last failure, and nothing is connected."""
    monkeypatch.setattr(policy, "FIRST_PAUSE", 600.0)
    monkeypatch.setattr(policy, "LONGEST_PAUSE", 600.0)
    pool = face.pool(host="127.0.0.1", port=refusing.port, timeout=0.5)
    raised = failures_of(face.client(pool), 20)
    assert {type(error) for error in raised} == {redis.ConnectionError}
    assert all("refused" in str(error) or "Connect call failed" in str(error) for error in raised)
    assert len(set(map(id, raised))) == len(raised)
    assert pool.stats().connect_failures == policy.PASSING_FAILURES + 1


def test_it_is_raised_at_once_beside_a_subscriber(
    face: Face, at: dict[str, Any], refusing: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is open, but doesn't come back: no caller waits for that."""
    monkeypatch.setattr(policy, "FIRST_PAUSE", 600.0)
    monkeypatch.setattr(policy, "LONGEST_PAUSE", 600.0)
    pool = face.pool(**at, timeout=0.5)
    client = face.client(pool)
    subscriber = client.pubsub()
    subscriber.subscribe("news")
    getattr(pool, "_target", pool).connection_kwargs["port"] = refusing.port
    core = pool._here._target.core if face.asynchronous else pool._engine.core
    core.available_at -= policy.LONGEST_PAUSE
    failures_of(client, policy.PASSING_FAILURES + 1)
    assert {type(error) for error in failures_of(client, 5)} == {redis.ConnectionError}
    subscriber.close()


# -- a server that denies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["drain", "disconnect"])
def test_wrong_credentials_are_tried_once(face: Face, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Then callers get that error at once, and the background waits, too; a `drain()` has other ones tried at once."""
    monkeypatch.setattr(policy, "FIRST_DENIED_PAUSE", 600.0)
    monkeypatch.setattr(policy, "LONGEST_DENIED_PAUSE", 600.0)
    monkeypatch.setattr(policy, "LONGEST_DENIED_BACKGROUND_PAUSE", 600.0)
    with ScriptedServer() as server:
        for name in ("HELLO", "AUTH"):
            server.answer(name, redis.ResponseError("WRONGPASS invalid username-password pair"))
        pool = face.pool(
            host=server.host, port=server.port, password="wrong", min_idle=2, max_connecting=1, timeout=2.0,
            retry=face.retry(3),
        )  # fmt: skip
        raised = failures_of(face.client(pool), 20)
        assert {type(error) for error in raised} == {redis.AuthenticationError}
        assert 1 <= server.count("HELLO") + server.count("AUTH") <= 2  # HELLO with the credentials, or AUTH after it
        assert pool.stats().connect_failures == 1
        for name in ("HELLO", "AUTH"):
            server.answer(name)
        getattr(pool, how)()
        assert face.client(pool).ping() is True


@pytest.mark.parametrize("client_class", [redis.Redis, redpool.Redis])
def test_a_server_that_is_full_serves_over_what_is_idle(client_class: Any, own_server: embedded.Server) -> None:
    """A call over a multiplexed pool takes an idle connection where no further one can be connected."""
    with (
        redpool.MultiplexedConnectionPool.from_url(own_server.url) as pool,
        redis.Redis.from_url(own_server.url) as one,
    ):
        client = client_class(connection_pool=pool)
        client.set("key", "value")
        with pool.connection():
            pass  # it is idle now, beside the one that is shared
        one.config_set("maxclients", len(one.client_list()))
        with pool.connection(), pytest.raises(redis.ConnectionError), pool.connection():
            pass
        pool._engine.multiplexed.retire_all()
        assert client.get("key") == b"value"


# -- a machine that has nothing left -----------------------------------------------------------------------------------


@contextlib.contextmanager
def no_file_to_be_had() -> Iterator[None]:
    """This process has as many files open as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    connected = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (connected[0] + 16, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                connected.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for each in connected:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_file_to_be_had_is_a_connection_error(face: Face, at: dict[str, Any]) -> None:
    """As redis-py has it for the socket: also for what else needs a file. Afterwards all is well again."""
    face.client(face.pool(**at)).ping()  # what is imported at the first connect is there
    pool = face.pool(**at)
    client = face.client(pool)
    raised: list[BaseException] = []
    with no_file_to_be_had():
        try:
            client.ping()
        except BaseException as error:
            raised.append(error)
    assert isinstance(raised[0], redis.ConnectionError), repr(raised[0])
    assert "Too many open files" in str(raised[0])
    assert client.ping() is True


def test_a_connection_reads_nothing_from_disk(
    face: Face, at: dict[str, Any], watch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool finds out redis-py's version once; the server gets it as ever."""
    client = face.client(face.pool(**at, client_name="versioned"))

    def read(name: str) -> str:
        raise OSError(24, f"Too many open files: the metadata of {name}")

    with monkeypatch.context() as patched:
        patched.setattr("redis.utils.metadata.version", read)
        assert client.ping() is True
    (mine,) = [each for each in watch.client.client_list() if each["name"] == "versioned"]
    if "lib-ver" in mine:  # since Redis 7.2
        assert mine["lib-ver"] == redis.__version__


@pytest.mark.needs("driver information")
def test_only_what_takes_it_is_given_the_version() -> None:
    """A class of the user's may take other arguments than redis-py's."""

    class Open(redis.Connection):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)

    class Closed(redis.Connection):
        def __init__(self, host: str, port: int) -> None:
            super().__init__(host=host, port=port)

    for kind, given in ((redis.Connection, True), (Open, True), (Closed, False), (lambda **options: None, False)):
        assert bool(factory.library_option(kind, {})) is given
    assert factory.library_option(redis.Connection, {"driver_info": None}) == {}
    named = factory.library_option(redis.Connection, {"lib_name": "mine", "lib_version": "7"})["driver_info"]
    assert (named.formatted_name, named.lib_version) == ("mine", "7")


# -- no thread to be had -----------------------------------------------------------------------------------------------


def no_thread(*args: Any) -> None:
    """In the place of what starts multiplexed_threads."""
    raise own_threads.NoThread("can't start new thread")


def test_without_a_thread_those_who_wait_do_what_is_due(
    threads_face: Face, at: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a connection of its own for as long as it blocks, however short the time that it may wait for that."""
    monkeypatch.setattr(own_threads, "start", no_thread)
    pool = threads_face.pool(**at, timeout=0.5)
    client = threads_face.client(pool)
    doings = together(6, lambda _: client.blpop(["nothing"], timeout=1.5))
    assert [doing.result() for doing in doings] == [None] * 6
    assert pool.stats().open >= 6
    assert client.ping() is True


def test_without_a_thread_a_deadline_of_one_is_no_news_of_the_server(
    multiplexed_threads: Face, silent: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that connects in its own thread runs out of time: no other caller gets that error."""
    monkeypatch.setattr(own_threads, "start", no_thread)
    pool = multiplexed_threads.pool(host="127.0.0.1", port=silent.port)
    with redpool.deadline(0.1), pytest.raises(redpool.DeadlineExceeded):
        pool.take_own()
    connector = pool._engine.core.connector
    assert (connector.last_error, connector.failures, pool.stats().connecting) == (None, 0, 0)


def test_without_a_thread_a_dead_path_is_found_by_those_who_wait(
    multiplexed_threads: Face, mute: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A multiplexed connection over which nothing comes any more is given up."""
    monkeypatch.setattr(own_threads, "start", no_thread)
    pool = multiplexed_threads.pool(**mute.at, socket_timeout=0.3, timeout=6.0)
    client = multiplexed_threads.client(pool)
    assert client.ping() is True
    mute.proxy.black_hole()
    closed = pool._engine.core.counters.closed
    for _ in range(20):
        if not sum(closed.values()):
            with pytest.raises(redis.RedisError):
                client.get("key")
    assert sum(closed.values())


# -- a clock that stands still -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OF_TASKS.values(), ids=OF_TASKS)
def test_a_pool_works_while_the_clock_stands_still(kind: type[Face], at: dict[str, Any]) -> None:
    """As in a test with freezegun: where nothing is open, no timer stands between a caller and its connection."""

    async def work() -> None:
        pool = kind.pool_class(**at)
        clients = redpool.asyncio if getattr(kind, "own_client", False) else redis.asyncio
        client = clients.Redis(connection_pool=pool)
        for _ in range(3):
            await client.incr("frozen")
            await pool.disconnect()
        async with client.pipeline() as pipeline:
            await pipeline.watch("frozen")  # which needs a connection of its own
        async with client.pubsub() as subscriber:
            await subscriber.subscribe("news")
        await pool.aclose()

    async def watched() -> None:
        task = asyncio.ensure_future(work())
        loop = asyncio.get_running_loop()
        watchdog = threading.Timer(PATIENCE, lambda: loop.call_soon_threadsafe(task.cancel))  # a real clock's
        watchdog.start()
        try:
            await task
        finally:
            watchdog.cancel()

    with freezegun.freeze_time("2026-11-29"):
        asyncio.run(watched())
