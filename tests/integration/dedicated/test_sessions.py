"""What reaches the next caller: no changed session and no stray byte. Notes 1, 2 and 6."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from redpool.redispy.internals import has
from redpool.testing import Raw, ScriptedServer
from support.faces import Face, say

NAME = "made-so"


both_protocols = pytest.mark.parametrize("protocol", [2, 3], indirect=True, ids=["resp2", "resp3"])


@pytest.fixture
def pool(face: Face, at: dict[str, Any], protocol: int) -> Any:
    """A pool of one connection, so that the next caller can't but get what the last one has left."""
    return face.pool(**at, protocol=protocol, db=3, client_name=NAME, max_connections=1)


def check_as_made(client: Any, protocol: int) -> None:
    """The connection that comes next is as it was made, for all that the server knows."""
    client.set("key", "value")
    assert client.get("key") == b"value"
    info = client.client_info()  # its flags tell of a transaction, too
    assert (info["db"], info["name"], info["flags"], info["sub"]) == (3, NAME, "N", 0)
    assert int(info.get("resp", protocol)) == protocol


# -- sessions ----------------------------------------------------------------------------------------------------------

CHANGES = [
    ["SELECT 1"],
    ["MULTI"],
    ["MULTI", "SELECT 3"],
    ["WATCH key"],
    ["WATCH key", "MULTI"],
    ["SELECT 1", "MULTI", "DISCARD"],
    ["SUBSCRIBE news"],
    ["PSUBSCRIBE n*"],
    ["CLIENT TRACKING ON"],
    ["CLIENT SETNAME other"],
    ["CLIENT NO-EVICT ON"],
    ["AUTH default secret"],
    ["HELLO 3"],
    ["HELLO 2"],
    ["MONITOR"],
    ["RESET"],
]

NOT_EVERYWHERE = ["CLIENT TRACKING ON", "CLIENT NO-EVICT ON"]
"""What RESP2, or a server before 7.0, refuses; it counts as a change all the same."""


@both_protocols
def test_what_one_caller_changed_ends_with_its_lease(pool: Any, face: Face, protocol: int) -> None:
    """The connection is closed, and the next caller gets one as it was made."""
    client = face.client(pool)
    for times, commands in enumerate(CHANGES, 1):
        before = client.client_id()
        with pool.connection() as connection:
            for command in commands:
                try:
                    say(connection, *command.split())
                except redis.ResponseError:
                    assert command in NOT_EVERYWHERE, command
        check_as_made(client, protocol)
        assert client.client_id() != before, commands
        assert pool.stats().closed == {"error": times}


@both_protocols
def test_a_connection_that_was_raised_to_be_silent_is_closed(pool: Any, face: Face, protocol: int) -> None:
    """Nothing will come over it any more, and no caller waits for it."""
    with pool.connection() as connection:
        connection.send_command("CLIENT", "REPLY", "OFF")
    check_as_made(face.client(pool), protocol)
    assert pool.stats().closed == {"error": 1}


def test_a_client_that_was_misused_harms_no_caller(pool: Any, face: Face, protocol: int) -> None:
    """The same where the command went through an unmodified client, however it was spelt."""
    client = face.client(pool)
    misuses = [("SELECT", 1), ("select 1",), ("MULTI",), ("watch", "key"), ("CLIENT SETNAME", "other"), ("Monitor",)]
    for times, command in enumerate(misuses, 1):
        client.execute_command(*command)
        check_as_made(client, protocol)
        assert pool.stats().closed == {"error": times}, command


RESTORED = [
    ["SELECT 3"],
    ["SELECT 1", "SELECT 3"],
    ["WATCH key", "UNWATCH"],
    ["MULTI", "DISCARD"],
    ["MULTI", "GET key", "EXEC"],
    ["WATCH key", "GET key", "MULTI", "GET key", "EXEC"],
    [f"CLIENT SETNAME {NAME}"],
    ["CLIENT SETNAME other", f"CLIENT SETNAME {NAME}"],
    ["CLIENT REPLY ON"],
    ["CLIENT TRACKING OFF"],
]


@both_protocols
def test_a_session_that_was_restored_is_kept(pool: Any, face: Face, protocol: int) -> None:
    """By the caller itself: that costs no connection."""
    client = face.client(pool)
    before = client.client_id()
    for commands in RESTORED:
        with pool.connection() as connection:
            for command in commands:
                say(connection, *command.split())
        check_as_made(client, protocol)
        assert client.client_id() == before, commands
    assert pool.stats().closed == {}


def test_what_redis_py_does_by_itself_costs_no_connection(pool: Any, face: Face) -> None:
    """Transactions, with WATCH and without, conflicts, blocks that are left early, pipelines, scripts."""
    client = face.client(pool)
    before = client.client_id()
    client.pipeline().set("key", 1).incr("key").execute()
    with pytest.raises(redis.ResponseError):
        client.pipeline().set("key", "text").incr("key").execute()
    with client.pipeline() as pipe:
        pipe.watch("key")
        pipe.get("key")
        pipe.multi()
        pipe.set("key", 2)
        pipe.execute()
    with client.pipeline() as pipe:
        pipe.watch("key")
    with client.pipeline() as pipe:
        pipe.watch("key")
        pipe.set("key", 3)
        pipe.multi()
        pipe.get("key")
        with pytest.raises(redis.WatchError):
            pipe.execute()
    client.eval("return redis.call('GET', KEYS[1])", 1, "key")
    assert client.client_id() == before
    assert pool.stats().closed == {}


REJECTED = [
    ("SELECT 1", "SELECT 0"),
    ("CLIENT SETNAME other", "CLIENT SETNAME made-so"),
    ("CLIENT TRACKING ON", "CLIENT TRACKING OFF"),
    ("CLIENT NO-EVICT ON", "CLIENT NO-EVICT OFF"),
    ("WATCH key", "UNWATCH"),
    ("MULTI", "DISCARD"),
    ("READONLY", "READWRITE"),
]


@pytest.mark.parametrize("pipeline", [False, True], ids=["alone", "in a pipeline"])
def test_a_restoration_that_is_refused_is_none(face: Face, scripted: ScriptedServer, pipeline: bool) -> None:
    """As by an ACL: the session is what it was before, so the connection is closed."""
    pool = face.pool(host=scripted.host, port=scripted.port, client_name=NAME, max_connections=1)
    for times, (change, restoration) in enumerate(REJECTED, 1):
        pool.warm_up(1)
        with pool.connection() as connection:
            assert say(connection, *change.split()) in (b"OK", "OK")
            scripted.answer(restoration.split()[0], redis.ResponseError("NOPERM this user has no permissions"))
            with pytest.raises(redis.ResponseError):
                say_with_others(connection, restoration) if pipeline else say(connection, *restoration.split())
        assert pool.stats().closed == {"error": times}, restoration
        scripted.answer(restoration.split()[0])


def say_with_others(connection: Any, command: str) -> None:
    """The same in a pipeline, with something else after it; all is read, then what was refused is raised."""
    connection.send_packed_command(connection.pack_commands([command.split(), ["ECHO", "x"]]))
    try:
        connection.read_response()
    finally:
        assert connection.read_response() == b"x"


# -- stray bytes -------------------------------------------------------------------------------------------------------


@both_protocols
def test_a_reply_that_no_caller_read_reaches_no_caller(pool: Any, face: Face) -> None:
    """A caller that leaves one behind releases a connection that is closed."""
    client = face.client(pool)
    client.mset({"alice": "alice's", "bob": "bob's"})
    with pool.connection() as connection:
        connection.send_command("GET", "alice")
    assert client.get("bob") == b"bob's"
    assert pool.stats().closed == {"error": 1}


PUSHES = [b">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nkey\r\n", b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n"]
RUBBISH = [b"+OK\r\n", b"$6\r\nsecret\r\n", b"$6\r\nsec", b"\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"]


def idle_since(face: Face, scripted: ScriptedServer, protocol: int, stray: bytes) -> tuple[int, int]:
    """Return which connections are had before and after `stray` comes over an idle one, by the server's numbers."""
    pool = face.pool(host=scripted.host, port=scripted.port, protocol=protocol, max_connections=1)
    with pool.connection() as connection:
        assert say(connection, "ECHO", "other") == b"other"
    scripted.push(Raw(stray))
    with pool.connection() as connection:
        assert say(connection, "ECHO", "mine") == b"mine"
    before, after = [each.connection for each in scripted.commands if each.name == "ECHO"][-2:]
    return before, after


@both_protocols
def test_a_connection_with_stray_bytes_is_replaced(face: Face, scripted: ScriptedServer, protocol: int) -> None:
    """Replies, parts of replies, rubbish, and a push message that has come only in part; whole ones are harmless."""
    in_part = [PUSHES[0] + RUBBISH[0], PUSHES[0] + PUSHES[0][:20], b">2\r\n"]
    for stray in (*RUBBISH, *in_part, *PUSHES):
        harmless = protocol == 3 and stray in PUSHES and has("pushes apart from replies")
        before, after = idle_since(face, scripted, protocol, stray)
        assert (after == before) == harmless, stray
