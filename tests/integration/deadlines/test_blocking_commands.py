"""A command that asks the server to wait is given that time, on top of what a reply may take: note 9."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from redpool.testing import Raw, ScriptedServer
from support.faces import Doing, Face, eventually

SOON = 0.6
"""Seconds that a reply may take."""

LONGER = 0.8
"""Seconds for which a command asks the server to wait."""

JOB = Raw(b"*2\r\n$4\r\njobs\r\n$3\r\njob\r\n")
"""The reply to a BLPOP for which there is something."""

WRONG_TYPE = redis.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")


@pytest.fixture
def hasty(face: Face, at: dict[str, Any]) -> Any:
    """A pool of one connection, with little time for a reply, to a real server."""
    return face.pool(**at, socket_timeout=SOON, max_connections=1)


def hasty_to(scripted: ScriptedServer, face: Face, **options: Any) -> Any:
    """Return the same to a server that obeys."""
    return face.pool(host=scripted.host, port=scripted.port, socket_timeout=SOON, max_connections=1, **options)


WAITING = {
    "BLPOP": lambda client: client.execute_command("blpop nothing", str(LONGER)),
    "XREAD": lambda client: client.xread({"nothing": "$"}, block=int(LONGER * 1000)),
    "pipeline": lambda client: client.pipeline(transaction=False).blpop("nothing", LONGER).ping().execute(),
}


@pytest.mark.parametrize("command", WAITING)
def test_a_wait_that_is_longer_than_a_reply_may_take(face: Face, hasty: Any, command: str) -> None:
    """It ends as the server says, and nothing is opened anew."""
    client = face.client(hasty)
    began = time.monotonic()
    assert WAITING[command](client) in (None, [], {}, [None, True])
    assert time.monotonic() - began >= LONGER - 0.02  # the server counts whole milliseconds
    assert (hasty.stats().connected, hasty.stats().closed) == (1, {})


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_wait_without_end(face: Face, scripted: ScriptedServer, protocol: int) -> None:
    """BLPOP with 0 waits until there is something, however long that is."""
    scripted.answer("BLPOP", Raw(b""))
    client = face.client(hasty_to(scripted, face, protocol=protocol))
    waiting = Doing(lambda: client.blpop("jobs", 0))
    assert eventually(lambda: scripted.count("BLPOP"))
    assert not eventually(lambda: waiting.done, 1.5 * SOON)
    scripted.push(JOB)
    assert list(waiting.result()) == [b"jobs", b"job"]


def test_beyond_its_own_time_a_wait_is_given_up(face: Face, scripted: ScriptedServer) -> None:
    """A server that says nothing is waited for as long as was asked for, and as long as a reply may take."""
    client = face.client(hasty_to(scripted, face))
    client.ping()
    scripted.answer("BLPOP", "never")
    began = time.monotonic()
    with pytest.raises(redis.TimeoutError):
        client.blpop("nothing", LONGER)
    assert LONGER + SOON - 0.02 <= time.monotonic() - began < 10


def answered(connection: Any, scripted: ScriptedServer) -> None:
    scripted.answer("BLPOP", JOB)
    connection.send_command("BLPOP", "jobs", 60)
    assert [bytes(each) for each in connection.read_response()] == [b"jobs", b"job"]


def rejected(connection: Any, scripted: ScriptedServer) -> None:
    scripted.answer("BLPOP", WRONG_TYPE)
    connection.send_command("BLPOP", "text", 0)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        connection.read_response()


def refused_in_company(connection: Any, scripted: ScriptedServer) -> None:
    scripted.answer("BLPOP", JOB, WRONG_TYPE)
    connection.send_packed_command(connection.pack_commands([("BLPOP", "jobs", 60), ("BLPOP", "text", 0)]))
    connection.read_response()
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        connection.read_response()


def broken_off(connection: Any, scripted: ScriptedServer) -> None:
    scripted.answer("BLPOP", "never")
    connection.send_command("BLPOP", "nothing", 0)
    scripted.hang_up()
    with pytest.raises(redis.ConnectionError):
        connection.read_response()


@pytest.mark.parametrize("next_caller", [False, True], ids=["in the same lease", "by the next caller"])
@pytest.mark.parametrize("before", [answered, rejected, refused_in_company, broken_off])
def test_the_next_command_has_its_usual_time(
    face: Face, scripted: ScriptedServer, before: Any, next_caller: bool
) -> None:
    """Over the same connection, whatever became of the one that waited: in time it is a `TimeoutError` again."""
    pool = hasty_to(scripted, face)
    connection = pool.get_connection()
    before(connection, scripted)
    if next_caller:
        pool.release(connection)
        connection = pool.get_connection()
    scripted.answer("GET", "never")
    connection.send_command("GET", "text")
    reading = Doing(connection.read_response)
    try:
        assert eventually(lambda: reading.done)
        assert type(reading.error) is redis.TimeoutError
    finally:
        scripted.hang_up()
        reading.ended()
        pool.release(connection)


def test_others_are_not_held_up(face: Face, scripted: ScriptedServer) -> None:
    """While one waits, the others have their usual time, each over a connection of its own."""
    pool = face.pool(host=scripted.host, port=scripted.port, socket_timeout=SOON, max_connections=2)
    client = face.client(pool)
    scripted.answer("BLPOP", Raw(b""))
    scripted.answer("GET", "never")
    waiting = Doing(lambda: client.blpop("jobs", 0))
    assert eventually(lambda: scripted.count("BLPOP"))
    with pytest.raises(redis.TimeoutError):
        client.get("key")
    assert not waiting.done
    scripted.push(JOB)
    waiting.result()


def test_a_handshake_after_it_has_its_usual_time(face: Face, scripted: ScriptedServer) -> None:
    """A wait without end that was broken off leaves nothing behind for the connection that is opened next."""
    pool = hasty_to(scripted, face)
    connection = pool.get_connection()
    broken_off(connection, scripted)
    for name in ("HELLO", "CLIENT"):  # either is what it begins with
        scripted.answer(name, "never")
    sending = Doing(lambda: connection.send_command("GET", "text"))
    try:
        assert eventually(lambda: sending.done)
        assert type(sending.error) is redis.TimeoutError
    finally:
        scripted.hang_up()
        sending.ended()
        pool.release(connection)
