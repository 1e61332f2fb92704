"""A command whose reply is lost: whether it is sent again, and which error its caller gets. Notes 4, 7 and 9."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff

import redpool.asyncio as redpool_asyncio
from redpool import ReplyLost, embedded
from redpool.core import retry_budget
from redpool.testing import FaultProxy, Script
from support.faces import Asyncio, Doing, Face, eventually, reconnects
from support.mute import Mute, check_lost, impatient

# -- single commands ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "retries"), [("late", 3), ("reset", 3), ("hang-up", 0), ("hang-up", 3)])
def test_what_must_not_run_twice_is_not_sent_again(
    face: Face, mute: Mute, mute_at: dict[str, Any], how: str, retries: int
) -> None:
    """Whatever the retry policy says, INCR is sent once, and its caller gets an error; the pool goes on as ever."""
    pool = face.pool(**mute_at, **impatient(how), retry=face.retry(retries))
    client = face.client(pool)
    mute.withhold("INCRBY")
    check_lost(mute.lose(how, lambda: client.incr("n")).ended(), "INCRBY", how)
    assert mute.heard == 1
    assert client.incr("n") == 1
    assert pool.stats().in_use == 0


@pytest.mark.parametrize("how", ["late", "reset", "hang-up"])
def test_what_may_run_twice_is_sent_again(face: Face, mute: Mute, how: str) -> None:
    """A GET is tried as often as the policy allows, and then answered."""
    client = face.client(face.pool(**mute.at, **impatient(how), retry=face.retry(1)))
    client.set("key", "value")
    mute.withhold("GET")
    assert mute.lose(how, lambda: client.get("key")).result() == b"value"
    assert mute.heard == 2


@pytest.mark.parametrize(("how", "retries"), [("late", 0), ("late", 1), ("hang-up", 1)])
def test_what_is_tried_in_vain_ends_as_ever(face: Face, mute: Mute, how: str, retries: int) -> None:
    """A GET whose retries are used up raises redis-py's own error."""
    client = face.client(face.pool(**mute.at, **impatient(how), retry=face.retry(retries)))
    mute.withhold("GET", times=retries + 1)
    error = mute.lose(how, lambda: client.get("key"), times=retries + 1).ended()
    assert type(error) is (redis.TimeoutError if how == "late" else redis.ConnectionError)
    assert mute.heard == retries + 1


def test_late_commands_are_sent_again_as_long_as_there_are_tokens(
    face: Face, mute: Mute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one token a GET is tried once more, then it ends as a `ReplyLate`; ten answers later there is one again."""
    monkeypatch.setattr(retry_budget, "FIRST", 1.0)
    pool = face.pool(**mute.at, **impatient("late"), retry=face.retry(5))
    client = face.client(pool)
    client.set("key", "value")
    mute.withhold("GET", times=2)
    error = mute.lose("late", lambda: client.get("key"), times=2).ended()
    check_lost(error, "GET", "late")
    assert "budget" in str(error)
    assert mute.heard == 2
    assert pool.stats().retries_refused == 1
    for _ in range(11):
        assert client.get("key") == b"value"
    mute.withhold("GET")
    assert mute.lose("late", lambda: client.get("key")).result() == b"value"
    assert pool.stats().retries_refused == 1


@pytest.mark.parametrize("how", ["reset", "hang-up"])
def test_a_connection_that_is_closed_needs_no_token(
    face: Face, mute: Mute, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does its reconnect: connects are limited by themselves."""
    monkeypatch.setattr(retry_budget, "FIRST", 0.0)
    client = face.client(face.pool(**mute.at, **impatient(how), retry=face.retry(1)))
    client.set("key", "value")
    mute.withhold("GET")
    assert mute.lose(how, lambda: client.get("key")).result() == b"value"


def test_a_caller_that_asks_for_it_has_everything_sent_again(face: Face, mute: Mute) -> None:
    """With `retry_sent="all"` the policy alone decides; its last error is redis-py's own."""
    client = face.client(face.pool(**mute.at, retry=face.retry(1), retry_sent="all"))
    mute.withhold("INCRBY")
    assert mute.lose("hang-up", lambda: client.incr("n")).result() == 1
    mute.withhold("INCRBY", times=2)
    error = mute.lose("hang-up", lambda: client.incr("n"), times=2).ended()
    assert type(error) is redis.ConnectionError


def test_a_caller_that_asks_for_it_has_nothing_sent_again(face: Face, mute: Mute) -> None:
    """With `retry_sent="none"` a lost GET is a `ReplyLost`, too."""
    client = face.client(face.pool(**mute.at, retry=face.retry(3), retry_sent="none"))
    mute.withhold("GET")
    check_lost(mute.lose("hang-up", lambda: client.get("key")).ended(), "GET")
    assert mute.heard == 1


def test_a_command_that_waits_is_not_sent_again(face: Face, mute: Mute) -> None:
    """The server may have taken from the list what the caller of a BLPOP never got."""
    client = face.client(face.pool(**mute.at, retry=face.retry(3)))
    mute.withhold("BLPOP")
    check_lost(mute.lose("hang-up", lambda: client.blpop("jobs", 0)).ended(), "BLPOP")
    assert mute.heard == 1


def test_what_was_packed_elsewhere_is_known_too(face: Face, mute: Mute) -> None:
    """A connection that is given nothing but bytes looks into them."""
    pool = face.pool(**mute.at)
    with pool.connection() as connection:
        packed = connection.pack_command("INCRBY", "n", 1)
        mute.withhold("INCRBY")
        connection.send_packed_command(packed)
        check_lost(mute.lose("hang-up", connection.read_response).ended(), "INCRBY")


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_server_that_is_killed(face: Face, own_server: embedded.Server, protocol: int) -> None:
    """It has done what it was asked, and dies before it can say so: it isn't asked again when it is back."""
    with FaultProxy(own_server.host, own_server.port) as proxy:
        options = {"host": proxy.host, "port": proxy.port, "protocol": protocol, "socket_timeout": 30.0}
        client = face.client(face.pool(**options, retry=face.retry(20, base=0.05)))
        client.set("n", 0)
        with redis.Redis.from_url(own_server.url) as watch:
            proxy.half_open()
            doing = Doing(lambda: client.incr("n"))
            assert eventually(lambda: watch.get("n") == b"1")
        own_server.kill()
        proxy.reset()
        proxy.heal()
        check_lost(doing.ended(), "INCRBY")
        own_server.restart()
        assert client.incr("n") == 1


# -- another session ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [("SELECT", 1), ("CLIENT", "NO-EVICT", "on"), ("READONLY",)])
def test_what_was_sent_in_another_session_is_not_sent_again(face: Face, mute: Mute, change: tuple[Any, ...]) -> None:
    """The new connection isn't as its caller had made this one: a GET would be answered from another database."""
    pool = face.pool(**mute.at)
    with pool.connection() as connection:
        connection.send_command(*change)
        connection.read_response()
        mute.withhold("GET")
        connection.send_command("GET", "key")
        check_lost(mute.lose("hang-up", connection.read_response).ended(), "GET")


def test_a_select_of_its_own_database_is_no_other_session(face: Face, mute: Mute) -> None:
    """Then a GET is sent again as ever: its error is redis-py's own."""
    pool = face.pool(**mute.at)
    with pool.connection() as connection:
        for command in (("SELECT", 1), ("SELECT", 0)):
            connection.send_command(*command)
            connection.read_response()
        mute.withhold("GET")
        connection.send_command("GET", "key")
        assert type(mute.lose("hang-up", connection.read_response).ended()) is redis.ConnectionError


def test_the_next_command_after_a_lost_one_is_its_own_affair(face: Face, mute: Mute) -> None:
    """What was lost before in the same lease is not reported again."""
    pool = face.pool(**mute.at)
    with pool.connection() as connection:
        mute.withhold("INCRBY")
        connection.send_command("INCRBY", "n", 1)
        check_lost(mute.lose("hang-up", connection.read_response).ended(), "INCRBY")
        mute.proxy.refuse()
        with pytest.raises(redis.ConnectionError) as caught:
            connection.send_command("INCRBY", "n", 1)
        assert type(caught.value) is redis.ConnectionError
        mute.proxy.heal()
        assert eventually(lambda: reconnects(connection))
        connection.send_command("INCRBY", "n", 1)
        assert connection.read_response() == 1


# -- not lost ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def scripted(face: Face, retries: int, **steps: Any) -> Iterator[Any]:
    """A client over connections that go by a script; what was sent is never sent again."""
    with Script(**steps) as script:
        kind = script.async_connection if face.asynchronous else script.connection
        yield face.client(face.pool(kind, protocol=2, retry=face.retry(retries), retry_sent="none"))


REJECTED = ConnectionRefusedError(111, "Connection refused")


def test_what_was_not_begun_may_always_be_tried_again(face: Face) -> None:
    """A connect is refused, and the next one isn't."""
    with scripted(face, 1, connect=[REJECTED, "ok"]) as client:
        assert client.echo("hello") == b"hello"


def test_what_could_not_be_written_may_be_tried_again(face: Face) -> None:
    """A single command that wasn't written to its end has not run; without retries the error is redis-py's own."""
    broken = BrokenPipeError(32, "Broken pipe")
    with scripted(face, 1, send=[broken, "ok"]) as client:
        assert client.echo("hello") == b"hello"
    with scripted(face, 0, send=[broken]) as client, pytest.raises(redis.ConnectionError) as caught:
        client.echo("hello")
    assert type(caught.value) is redis.ConnectionError


def test_a_pipeline_that_could_not_be_written_is_lost(face: Face) -> None:
    """Its first commands may have got there."""
    broken = BrokenPipeError(32, "Broken pipe")
    with scripted(face, 1, send=[broken, "ok"]) as client, pytest.raises(ReplyLost) as caught:
        client.pipeline(transaction=False).set("a", 1).incr("n").execute()
    check_lost(caught.value, "SET")


def test_a_handshake_that_breaks_off_loses_no_command(face: Face, mute: Mute) -> None:
    """In a lease the connection is opened anew before the command is sent: it may be tried again."""
    pool = face.pool(**mute.at)
    with pool.connection() as connection:
        connection.disconnect()
        mute.withhold("CLIENT")
        doing = mute.lose("hang-up", lambda: connection.send_command("INCRBY", "n", 1))
        assert type(doing.ended()) is redis.ConnectionError
    assert not mute.server.count("INCRBY")


@pytest.mark.parametrize(
    "said", ["LOADING Redis is loading the dataset in memory", "ERR max number of clients reached"]
)
def test_a_server_that_says_no_has_run_nothing(face: Face, mute: Mute, said: str) -> None:
    """Such an answer is a reason to try again; without retries it is raised as redis-py does it."""
    mute.server.answer("INCRBY", redis.ResponseError(said), redis.ResponseError(said), 1)
    with pytest.raises(redis.ConnectionError) as caught:
        face.client(face.pool(**mute.at)).incr("n")
    assert not isinstance(caught.value, ReplyLost)
    assert face.client(face.pool(**mute.at, retry=face.retry(1))).incr("n") == 1


@pytest.mark.parametrize("protocol", [2, 3])
def test_over_a_transport_that_is_closed_nothing_was_sent(mute: Mute, protocol: int) -> None:
    """An event loop knows before it writes: the command is tried again, over another connection."""

    async def main() -> None:
        policy = Asyncio.retry_class(NoBackoff(), 1)
        async with redpool_asyncio.ConnectionPool(**mute.at, protocol=protocol, retry=policy) as pool:
            connection = await pool.get_connection()
            mute.proxy.reset()
            with pytest.raises(ConnectionResetError):
                await connection._reader.read()
            with pytest.raises(redis.ConnectionError, match="the connection was closed") as caught:
                await connection.send_command("INCRBY", "n", 1)
            assert type(caught.value) is redis.ConnectionError
            await connection.send_command("INCRBY", "n", 1)
            assert await connection.read_response() == 1
            await pool.release(connection)

    asyncio.run(main())
