"""Within `with redpool.deadline(...)` a call ends in time, and says whether it may have run: notes 8 and 12.

How near to the deadline is measured elsewhere; here it only must not be far.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio as redis_asyncio

import redpool
import redpool.asyncio as redpool_asyncio
from redpool import DeadlineExceeded
from redpool.testing import FaultProxy, Script
from support.faces import Doing, Face, Watch, eventually

SOON = 0.1
"""Seconds until a deadline that comes."""

SENT_BY_THEN = 0.3
"""The same where the command must have been sent before, on a busy machine, too."""

LATE = 5.0
"""Seconds after the deadline when even a slow machine must have ended the call."""

LONG = 10.0
"""Seconds that everything else may take."""


class Path:
    """A server behind a proxy."""

    def __init__(self, proxy: FaultProxy, watch: Watch) -> None:
        self.proxy = proxy
        self._watch = watch
        self._before = watch.all_calls()

    def heard(self, *names: str) -> int:
        """Return how often the server has carried out these commands, in this test."""
        return sum((self._watch.all_calls() - self._before)[name] for name in names)

    @property
    def at(self) -> dict[str, Any]:
        """Where it is, for callers that have time."""
        return {
            "host": self.proxy.host, "port": self.proxy.port, "socket_timeout": LONG, "socket_connect_timeout": LONG,
        }  # fmt: skip


@pytest.fixture
def path(at: dict[str, Any], watch: Watch) -> Iterator[Path]:
    """All is well."""
    with FaultProxy(at["host"], at["port"]) as proxy:
        yield Path(proxy, watch)


def late(call: Callable[[], Any], seconds: float = SOON) -> DeadlineExceeded:
    """What a call raises that doesn't end by itself."""
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught, redpool.deadline(seconds):
        call()
    assert seconds - 0.02 <= time.monotonic() - began < seconds + LATE
    assert isinstance(caught.value, redis.TimeoutError)
    assert ("after the command was sent" in str(caught.value)) == caught.value.sent
    return caught.value


def check_whole(face: Face, path: Path, pool: Any) -> None:
    """Nothing is amiss afterwards: every slot is free, and every connection is in order."""
    path.proxy.heal()
    assert eventually(lambda: pool.stats().in_use == 0)
    client = face.client(pool)
    held = [pool.get_connection() for _ in range(pool.max_connections)]
    for connection in held:
        pool.release(connection)
    assert client.set("whole", "yes") is True
    assert client.get("whole") == b"yes"


# -- faults ------------------------------------------------------------------------------------------------------------

SILENT: dict[str, Callable[[FaultProxy], None]] = {
    "delay": lambda proxy: proxy.delay(LONG),
    "black hole": lambda proxy: proxy.black_hole(),
    "half open": lambda proxy: proxy.half_open(),
    "partial": lambda proxy: proxy.partial(3),
    "trickle": lambda proxy: proxy.byte_by_byte(pause=0.04),
}
"""What befalls a reply that then doesn't come, or not in time."""

CALLS: dict[str, Callable[[Any], Any]] = {
    "a command": lambda client: client.get("key"),
    "a pipeline": lambda client: client.pipeline(transaction=False).get("key").incr("n").get("key").execute(),
    "a transaction": lambda client: client.pipeline().get("key").incr("n").execute(),
    "a blocking command": lambda client: client.blpop("nothing", 0),
}


@pytest.mark.parametrize("fault", SILENT)
def test_a_reply_that_does_not_come(face: Face, path: Path, fault: str) -> None:
    """Over an open connection, with retries left: the command may have run."""
    pool = face.pool(**path.at, max_connections=2, retry=face.retry(5))
    client = face.client(pool)
    client.set("key", "x" * 60)
    SILENT[fault](path.proxy)
    assert late(lambda: client.get("key"), SENT_BY_THEN).sent is True
    check_whole(face, path, pool)


@pytest.mark.parametrize("call", CALLS)
def test_every_kind_of_call(face: Face, path: Path, call: str) -> None:
    """Commands, pipelines, transactions and blocking commands are bounded alike, those that would wait for ever too."""
    pool = face.pool(**path.at, max_connections=2, retry=face.retry(5))
    client = face.client(pool)
    client.ping()
    path.proxy.half_open()
    assert late(lambda: CALLS[call](client), SENT_BY_THEN).sent is True
    check_whole(face, path, pool)


def test_a_blocking_command_that_is_answered_by_no_caller(face: Face, path: Path) -> None:
    """On a path where all is well, too."""
    pool = face.pool(**path.at, max_connections=2)
    assert late(lambda: face.client(pool).blpop("nothing", 0), SENT_BY_THEN).sent is True
    check_whole(face, path, pool)


DEAF: dict[str, Callable[[FaultProxy], None]] = {
    "black hole": lambda proxy: proxy.black_hole(),
    "trickle": lambda proxy: proxy.byte_by_byte(pause=0.04),
    "refuse": lambda proxy: proxy.refuse(),
    "stall": lambda proxy: proxy.stall_accept(),
}
"""What befalls callers that come anew."""


@pytest.mark.parametrize("fault", DEAF)
def test_a_connect_that_does_not_end(face: Face, path: Path, fault: str) -> None:
    """Connecting, or the handshake, or one failure after another: nothing was sent."""
    # The connect goes on without its caller, for as long as it may.
    soon = {"socket_timeout": 3 * SOON, "socket_connect_timeout": 3 * SOON}
    pool = face.pool(**{**path.at, **soon}, max_connections=2, retry=face.retry(1000, base=0.01))
    DEAF[fault](path.proxy)
    assert late(lambda: face.client(pool).get("key")).sent is False
    if fault != "stall":  # which takes a second to heal
        check_whole(face, path, pool)


@pytest.mark.parametrize("fault", ["black hole", "stall"])
def test_a_reconnect_that_does_not_end(face: Face, path: Path, fault: str) -> None:
    """The same where the holder of a lease opens its connection anew."""
    pool = face.pool(**path.at, max_connections=2, retry=face.retry(1000, base=0.01))
    with pool.connection() as connection:
        connection.disconnect()
        DEAF[fault](path.proxy)
        assert late(lambda: connection.send_command("GET", "key")).sent is False
    if fault != "stall":
        check_whole(face, path, pool)


def test_a_handshake_that_is_never_answered(face: Face) -> None:
    """Whatever the server does not say, as long as it is the handshake, the command was not sent."""
    with scripted(face, 3, 0.0, handshake=["never"]) as client:
        assert late(lambda: client.get("key")).sent is False


# -- retries -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def scripted(face: Face, retries: int, pause: float, **steps: Any) -> Iterator[Any]:
    """A client whose connections go by a script, with a policy."""
    with Script(**steps) as script:
        kind = script.async_connection if face.asynchronous else script.connection
        yield face.client(face.pool(kind, protocol=2, socket_timeout=LONG, retry=face.retry(retries, base=pause)))


@pytest.mark.parametrize("pause", [0.0, LONG])
def test_retries_end_with_the_deadline(face: Face, pause: float) -> None:
    """A server that hangs up on each GET, and a policy that would go on for ever, in a hurry or at leisure."""
    with scripted(face, 1_000_000, pause, reply=[ConnectionResetError(104, "reset")]) as client:
        assert late(lambda: client.get("key"), SENT_BY_THEN).sent is True


def test_what_was_never_written_was_not_sent(face: Face) -> None:
    """However often it was tried."""
    with scripted(face, 1_000_000, 0.01, send=[BrokenPipeError(32, "broken")]) as client:
        assert late(lambda: client.get("key")).sent is False


def test_what_an_earlier_attempt_has_sent_counts(face: Face) -> None:
    """Though the last one could not be written, the command may have run."""
    steps = {"reply": [ConnectionResetError(104, "reset")], "send": ["ok", BrokenPipeError(32, "broken")]}
    with scripted(face, 1_000_000, 0.01, **steps) as client:
        assert late(lambda: client.get("key"), SENT_BY_THEN).sent is True


@pytest.mark.parametrize("call", ["a command", "a transaction"])
def test_a_pause_between_retries_ends_with_the_deadline(face: Face, path: Path, call: str) -> None:
    """The connection was reset, and the policy would wait for long."""
    pool = face.pool(**path.at, max_connections=2, retry=face.retry(5, base=LONG), retry_sent="all")
    client = face.client(pool)
    client.ping()
    path.proxy.half_open()
    doing = Doing(lambda: late(lambda: CALLS[call](client), SENT_BY_THEN))
    assert eventually(lambda: path.heard("exec" if call == "a transaction" else "get"))
    path.proxy.reset()
    path.proxy.heal()
    assert doing.result().sent is True
    check_whole(face, path, pool)


def test_what_was_lost_in_time_is_raised_as_ever(face: Face, path: Path) -> None:
    """An INCR whose connection breaks before the deadline is a `ReplyLost`, not late."""
    pool = face.pool(**path.at, retry=face.retry(5))
    client = face.client(pool)
    client.ping()
    path.proxy.half_open()

    def incr() -> Any:
        with redpool.deadline(LONG):
            return client.incr("n")

    doing = Doing(incr)
    assert eventually(lambda: path.heard("incrby"))
    path.proxy.reset()
    assert type(doing.ended()) is redpool.ReplyLost


# -- the pool ----------------------------------------------------------------------------------------------------------


def test_a_full_pool(face: Face, path: Path) -> None:
    """The wait for a connection is bounded, too; the cause is the `PoolTimeout` that says how things stand."""
    pool = face.pool(**path.at, max_connections=1, timeout=LONG)
    with pool.connection():
        error = late(lambda: face.client(pool).get("key"))
        assert error.sent is False
        assert isinstance(error.__cause__, redpool.PoolTimeout)
        assert "1 of 1 in use" in str(error)
        assert pool.stats().waiting == 0
    check_whole(face, path, pool)


def test_a_wait_that_ends_before_the_deadline_is_a_pool_timeout(face: Face, path: Path) -> None:
    """Whichever bound comes first is the one that the error names."""
    pool = face.pool(**path.at, max_connections=1, timeout=SOON)
    pool.warm_up(1)
    with pool.connection(), pytest.raises(redpool.PoolTimeout), redpool.deadline(LONG):
        pool.get_connection()


def test_after_the_deadline_nothing_is_begun(face: Face, path: Path) -> None:
    """Not even over a connection that is idle: the server hears nothing, and the connection stays."""
    pool = face.pool(**path.at, max_connections=1)
    client = face.client(pool)
    client.ping()
    with redpool.deadline(0):
        for call in CALLS.values():
            with pytest.raises(DeadlineExceeded) as caught:
                call(client)
            assert caught.value.sent is False
    with pool.connection() as connection, redpool.deadline(0), pytest.raises(DeadlineExceeded):
        connection.send_command("INCR", "n")
    assert path.heard("get", "incr", "incrby", "multi", "blpop") == 0
    assert pool.stats().closed == {}
    check_whole(face, path, pool)


def test_what_ends_in_time_is_none_the_worse(face: Face, path: Path) -> None:
    """Within a deadline that doesn't come everything works as ever, over the same connection."""
    pool = face.pool(**path.at, max_connections=1)
    client = face.client(pool)
    with redpool.deadline(LONG):
        before = client.client_id()
        client.set("n", 1)
        assert client.pipeline().incr("n").get("n").execute() == [2, b"2"]
        assert client.blpop("nothing", 0.01) is None
        with pytest.raises(redis.ResponseError):
            client.lpush("n", 1)
        assert client.client_id() == before
    assert pool.stats().closed == {}


# -- scopes ------------------------------------------------------------------------------------------------------------


def test_after_the_block_calls_are_not_bounded(face: Face, path: Path) -> None:
    """Nor is a call cut off that is under way when the deadline of an earlier block comes, over the same connection."""
    pool = face.pool(**path.at, max_connections=1)
    client = face.client(pool)
    client.ping()  # a connect takes its time
    with redpool.deadline(SENT_BY_THEN):
        client.set("key", "value")
    path.proxy.delay(SENT_BY_THEN + SOON)
    assert client.get("key") == b"value"
    with pool.connection() as connection:
        with redpool.deadline(SENT_BY_THEN):
            connection.send_command("GET", "key")
        assert connection.read_response() == b"value"
    assert pool.stats().closed == {}


@pytest.mark.parametrize(("outer", "inner"), [(SOON, LONG), (LONG, SOON)])
def test_of_nested_blocks_the_first_to_end_counts(face: Face, path: Path, outer: float, inner: float) -> None:
    """Whether it is the outer one or the inner one."""
    pool = face.pool(**path.at, max_connections=2)
    client = face.client(pool)

    began = time.monotonic()
    with redpool.deadline(outer), redpool.deadline(inner), pytest.raises(DeadlineExceeded):
        client.blpop("nothing", 0)
    assert SOON - 0.02 <= time.monotonic() - began < LONG


def test_when_the_inner_block_is_left_the_outer_one_holds(face: Face, path: Path) -> None:
    """An inner deadline that came is over with its block."""
    pool = face.pool(**path.at, max_connections=1)
    client = face.client(pool)
    with redpool.deadline(LONG):
        with redpool.deadline(0), pytest.raises(DeadlineExceeded):
            client.ping()
        assert client.ping()
    with redpool.deadline(0):
        for seconds in (LONG, 0):
            with redpool.deadline(seconds), pytest.raises(DeadlineExceeded):
                client.ping()


def test_the_tasks_that_are_started_in_the_block_are_bounded(path: Path) -> None:
    """Those and no others, each over a connection of its own."""

    async def main() -> None:
        async with redpool_asyncio.ConnectionPool(**path.at, max_connections=3) as pool:
            client = redis_asyncio.Redis(connection_pool=pool)
            before = asyncio.ensure_future(client.blpop("answered", 0))
            with redpool.deadline(SOON):
                children = [asyncio.ensure_future(client.blpop("nothing", 0)) for _ in range(2)]
                errors = await asyncio.gather(*children, return_exceptions=True)
            assert [type(error) for error in errors] == [DeadlineExceeded] * 2
            await client.rpush("answered", "yes")
            assert await before == (b"answered", b"yes")

    asyncio.run(main())


def test_a_connect_does_not_belong_to_the_deadline_of_who_asked_for_it(path: Path) -> None:
    """On an event loop it is a task of its own, which goes on and serves the next caller."""

    async def main() -> None:
        async with redpool_asyncio.ConnectionPool(**path.at, max_connections=1) as pool:
            client = redis_asyncio.Redis(connection_pool=pool)
            path.proxy.delay(LONG)
            with pytest.raises(DeadlineExceeded), redpool.deadline(SOON):
                await client.ping()
            path.proxy.heal()
            assert await client.ping()
            assert (pool.stats().connected, pool.stats().connect_failures) == (1, 0)

    asyncio.run(main())


# -- subscribers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("timeout", "protocol"), [(None, 2), (LONG, 3)])
def test_a_subscriber_is_bounded_too(face: Face, path: Path, timeout: float | None, protocol: int) -> None:
    """`get_message` ends in time, and the subscription goes on: the next message comes."""
    pool = face.pool(**path.at, protocol=protocol)
    client = face.client(pool)
    with client.pubsub() as subscriber:
        subscriber.subscribe("news")
        assert subscriber.get_message(timeout=LONG)["type"] == "subscribe"
        assert late(lambda: subscriber.get_message(timeout=timeout)).sent is False
        client.publish("news", "hello")
        assert subscriber.get_message(timeout=LONG)["data"] == b"hello"
    assert path.heard("subscribe") == 1
