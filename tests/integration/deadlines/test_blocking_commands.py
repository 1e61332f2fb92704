"""A command that asks the server to wait is given that time, on top of what a reply may take: note 9."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from redpool.testing import MemoryServer
from support.faces import Doing, Face, eventually

SOON = 0.25
"""Seconds that a reply may take."""

LONGER = 0.4
"""Seconds for which a command asks the server to wait."""


@pytest.fixture
def hasty(face: Face, at: dict[str, Any]) -> Any:
    """A pool of one connection, with little time for a reply, to a real server."""
    return face.pool(**at, socket_timeout=SOON, max_connections=1)


def hasty_in_memory(face: Face, memory: MemoryServer, **options: Any) -> Any:
    """The same to a server in memory."""
    return face.pool(host=memory.host, port=memory.port, socket_timeout=SOON, max_connections=1, **options)


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
def test_a_wait_without_end(face: Face, memory: MemoryServer, protocol: int) -> None:
    """BLPOP with 0 waits until there is something, however long that is."""
    client = face.client(hasty_in_memory(face, memory, protocol=protocol))
    waiting = Doing(lambda: client.blpop("jobs", 0))
    assert eventually(lambda: "BLPOP" in [name for _, name in memory.commands])
    assert not eventually(lambda: waiting.done, 1.5 * SOON)
    with redis.Redis.from_url(memory.url) as other:
        other.rpush("jobs", "job")
    assert list(waiting.result()) == [b"jobs", b"job"]


def test_beyond_its_own_time_a_wait_is_given_up(face: Face, memory: MemoryServer) -> None:
    """A server that says nothing is waited for as long as was asked for, and as long as a reply may take."""
    client = face.client(hasty_in_memory(face, memory))
    client.ping()
    memory.answer("BLPOP", b"")
    began = time.monotonic()
    with pytest.raises(redis.TimeoutError):
        client.blpop("nothing", LONGER)
    assert LONGER + SOON - 0.02 <= time.monotonic() - began < 10


def answered(connection: Any, memory: MemoryServer) -> None:
    connection.send_command("BLPOP", "jobs", 60)
    memory.answer("BLPOP", None)
    assert [bytes(each) for each in connection.read_response()] == [b"jobs", b"job"]


def rejected(connection: Any, memory: MemoryServer) -> None:
    connection.send_command("BLPOP", "text", 0)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        connection.read_response()


def refused_in_company(connection: Any, memory: MemoryServer) -> None:
    connection.send_packed_command(connection.pack_commands([("BLPOP", "jobs", 60), ("BLPOP", "text", 0)]))
    connection.read_response()
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        connection.read_response()


def broken_off(connection: Any, memory: MemoryServer) -> None:
    connection.send_command("BLPOP", "nothing", 0)
    memory.kill_clients()
    with pytest.raises(redis.ConnectionError):
        connection.read_response()


@pytest.mark.parametrize("next_caller", [False, True], ids=["in the same lease", "by the next caller"])
@pytest.mark.parametrize("before", [answered, rejected, refused_in_company, broken_off])
def test_the_next_command_has_its_usual_time(face: Face, memory: MemoryServer, before: Any, next_caller: bool) -> None:
    """Over the same connection, whatever became of the one that waited: in time it is a `TimeoutError` again."""
    with redis.Redis.from_url(memory.url) as other:
        other.rpush("jobs", "job")
        other.set("text", "x")
    pool = hasty_in_memory(face, memory)
    connection = pool.get_connection()
    before(connection, memory)
    if next_caller:
        pool.release(connection)
        connection = pool.get_connection()
    memory.answer("GET", b"")
    connection.send_command("GET", "text")
    reading = Doing(connection.read_response)
    try:
        assert eventually(lambda: reading.done)
        assert type(reading.error) is redis.TimeoutError
    finally:
        memory.kill_clients()
        reading.ended()
        pool.release(connection)


def test_others_are_not_held_up(face: Face, memory: MemoryServer) -> None:
    """While one waits, the others have their usual time, each over a connection of its own."""
    pool = face.pool(host=memory.host, port=memory.port, socket_timeout=SOON, max_connections=2)
    client = face.client(pool)
    waiting = Doing(lambda: client.blpop("jobs", 0))
    assert eventually(lambda: "BLPOP" in [name for _, name in memory.commands])
    memory.answer("GET", b"")
    with pytest.raises(redis.TimeoutError):
        client.get("key")
    assert not waiting.done
    client.rpush("jobs", "job")
    waiting.result()


def test_a_handshake_after_it_has_its_usual_time(face: Face, memory: MemoryServer) -> None:
    """A wait without end that was broken off leaves nothing behind for the connection that is opened next."""
    pool = hasty_in_memory(face, memory)
    connection = pool.get_connection()
    broken_off(connection, memory)
    memory.answer("HELLO", b"")
    sending = Doing(lambda: connection.send_command("GET", "text"))
    try:
        assert eventually(lambda: sending.done)
        assert type(sending.error) is redis.TimeoutError
    finally:
        memory.kill_clients()
        sending.ended()
        pool.release(connection)
