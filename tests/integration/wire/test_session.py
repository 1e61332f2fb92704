"""What commands make of a connection's session, by the rules and by what a server says of it."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from redpool import embedded
from redpool.wire.session import Session


def after(*lines: str, db: int | str = 0, client_name: str | None = None) -> Session:
    session = Session(db, client_name)
    for line in lines:
        session.note(tuple(line.split(" ")))
    return session


def test_a_session_is_clean_when_it_is_made() -> None:
    """Nothing differs yet."""
    session = after()
    assert session.clean
    assert session.changed == frozenset()
    assert repr(session) == "<Session clean>"


@pytest.mark.parametrize(
    "line",
    [
        "SELECT 1", "SELECT", "SELECT x", "SELECT 00", "SELECT -0", "SELECT 0 0", "MULTI", "WATCH k", "SUBSCRIBE c",
        "PSUBSCRIBE c*", "SSUBSCRIBE c", "CLIENT SETNAME me", "CLIENT SETNAME", "CLIENT REPLY OFF", "CLIENT REPLY SKIP",
        "CLIENT TRACKING ON", "CLIENT TRACKING ON REDIRECT 5", "CLIENT TRACKING", "CLIENT CACHING YES",
        "CLIENT NO-EVICT ON", "CLIENT NO-TOUCH ON", "CLIENT NO-TOUCH MAYBE", "CLIENT CAPA redirect",
        "CLIENT IMPORT-SOURCE ON", "CLIENT MAINT_NOTIFICATIONS ON", "AUTH secret", "HELLO 3", "RESET", "READONLY",
        "MONITOR", "SYNC", "PSYNC ? -1", "REPLCONF ack 0", "QUIT", "SCRIPT DEBUG YES", "SCRIPT DEBUG SYNC",
    ],
)  # fmt: skip
def test_what_changes_a_session_is_named(line: str) -> None:
    """By the command's name, in any spelling; the connection's later commands don't end it."""
    name = " ".join(line.split()[: 2 if line.startswith(("CLIENT", "SCRIPT")) else 1])
    words = line.split()
    for spelled in (words, line.lower().encode().split(), [name.title(), *words[name.count(" ") + 1 :]]):
        session = Session(0, None)
        session.note(spelled)
        session.note(("GET", "k"))
        assert session.changed == {name}
        assert not session.clean
        assert name in repr(session)


@pytest.mark.parametrize(
    "line",
    [
        "GET k", "SET k v", "PING", "BLPOP k 0", "SELECT 0", "EXEC", "DISCARD", "UNWATCH", "UNSUBSCRIBE",
        "UNSUBSCRIBE c", "PUNSUBSCRIBE", "HELLO", "READWRITE", "ASKING", "CLIENT SETINFO lib-name x",
        "CLIENT TRACKING OFF", "CLIENT REPLY ON", "CLIENT NO-EVICT OFF", "CLIENT NO-TOUCH off", "CLIENT SETNAME ",
        "CLIENT ID", "CLIENT", "SCRIPT DEBUG NO", "SCRIPT LOAD x", "HIMPORT PREPARE f a", "JSON.GET k", "",
    ],
)  # fmt: skip
def test_what_leaves_a_session_as_it_was_made_is_clean(line: str) -> None:
    """Ordinary commands, what sets what is set already, what is gone with the next command, what ends nothing."""
    assert after(line).clean


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("SELECT 1", "SELECT 0"),
        ("MULTI", "EXEC"),
        ("MULTI", "DISCARD"),
        ("WATCH k", "UNWATCH"),
        ("SUBSCRIBE c", "UNSUBSCRIBE"),
        ("PSUBSCRIBE c", "PUNSUBSCRIBE"),
        ("SSUBSCRIBE c", "SUNSUBSCRIBE"),
        ("READONLY", "READWRITE"),
        ("CLIENT SETNAME me", "CLIENT SETNAME "),
        ("CLIENT REPLY OFF", "CLIENT REPLY ON"),
        ("CLIENT TRACKING ON", "CLIENT TRACKING OFF"),
        ("CLIENT NO-EVICT ON", "CLIENT NO-EVICT OFF"),
        ("CLIENT NO-TOUCH ON", "CLIENT NO-TOUCH OFF"),
        ("CLIENT IMPORT-SOURCE ON", "CLIENT IMPORT-SOURCE OFF"),
        ("SCRIPT DEBUG YES", "SCRIPT DEBUG NO"),
    ],
)
def test_what_was_begun_can_be_ended(begin: str, end: str) -> None:
    """By its counterpart alone, and only where the server would take that one."""
    assert not after(begin).clean
    assert after(begin, end).clean
    malformed = after(begin, f"{end} x" if end != "CLIENT SETNAME " else f"{end} x y")
    assert not malformed.clean


def test_an_end_ends_only_its_own() -> None:
    """The rest stays."""
    assert after("SUBSCRIBE c", "PUNSUBSCRIBE", "UNSUBSCRIBE c").changed == {"SUBSCRIBE"}
    assert after("SELECT 1", "WATCH k", "UNWATCH").changed == {"SELECT"}
    assert after("WATCH k", "MULTI", "SELECT 1", "EXEC").changed == {"SELECT"}
    assert after("AUTH secret", "RESET", "SELECT 0").changed == {"AUTH", "RESET"}


def test_each_session_has_a_database_and_a_name_of_its_own() -> None:
    """As the connection was made with them; a number or text."""
    assert after("SELECT 3", "CLIENT SETNAME Me", db=3, client_name="Me").clean
    assert after("SELECT 3", db="3").clean
    assert after("SELECT 0", db=3).changed == {"SELECT"}
    assert after("SELECT 0", "SELECT 3", db=3).clean
    assert after("CLIENT SETNAME me", client_name="Me").changed == {"CLIENT SETNAME"}
    session = Session(2, "Me")
    session.note(("SELECT", 2))
    session.note(("CLIENT SETNAME", memoryview(b"Me")))
    assert session.clean


def test_the_end_of_a_transaction_ends_the_watch() -> None:
    """Where there was one; otherwise the server refuses it."""
    for end in ("EXEC", "DISCARD"):
        assert after("WATCH k", "MULTI", end).clean
        assert after("WATCH k", end).changed == {"WATCH"}


def test_in_a_transaction_changes_count_and_ends_do_not() -> None:
    """It may be discarded, or aborted by what it watches."""
    assert after("MULTI", "SELECT 1", "DISCARD").changed == {"SELECT"}
    assert after("SELECT 1", "MULTI", "SELECT 0", "DISCARD").changed == {"SELECT"}
    assert after("WATCH k", "MULTI", "UNWATCH").changed == {"MULTI", "WATCH"}
    assert after("SUBSCRIBE c", "MULTI", "UNSUBSCRIBE", "DISCARD").changed == {"SUBSCRIBE", "MULTI"}


def test_while_subscribed_nothing_else_ends() -> None:
    """RESP2 refuses nearly every command then."""
    for kind in ("", "P", "S"):
        assert after("SELECT 1", f"{kind}SUBSCRIBE c", "SELECT 0", f"{kind}UNSUBSCRIBE").changed == {"SELECT"}
    assert after("SUBSCRIBE c", "PSUBSCRIBE c", "UNSUBSCRIBE", "PUNSUBSCRIBE").clean


# What `CLIENT LIST` tells of a session. In a transaction the flags have an x; what `multi` has outside of one depends
# on the server, and on whether there was one before.
FIELDS = ("name", "db", "sub", "psub", "ssub", "watch", "flags", "redir", "user", "resp", "lib-name")

LINES = [
    "SELECT 0", "SELECT 1", "SELECT 99", "SELECT  0", "MULTI", "EXEC", "DISCARD", "EXEC x", "WATCH k", "UNWATCH",
    "UNWATCH x", "SUBSCRIBE c", "UNSUBSCRIBE", "UNSUBSCRIBE c", "PSUBSCRIBE c", "PUNSUBSCRIBE", "CLIENT SETNAME me",
    "CLIENT SETNAME ", "CLIENT TRACKING ON", "CLIENT TRACKING OFF", "CLIENT TRACKING OFF x", "CLIENT NO-EVICT ON",
    "CLIENT NO-EVICT OFF", "HELLO 3", "HELLO 2", "RESET", "AUTH default x", "GET k", "SET k v", "PING",
]  # fmt: skip


def packed(line: str) -> bytes:
    words = [word.encode() for word in line.split(" ")]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def state(client: redis.Redis, address: str) -> dict[str, Any]:
    """What the server says of the session at the other end of `address`."""
    (listed,) = [each for each in client.client_list() if each["addr"] == address]
    return {field: listed.get(field) for field in FIELDS}


def send(sock: socket.socket, *lines: str) -> None:
    """Returns when the server has gone through them, which takes a session that answers a PING."""
    sock.sendall(b"".join(map(packed, (*lines, "PING the-end"))))
    received = b""
    while not received.endswith(b"the-end\r\n"):
        received += sock.recv(65536)


@given(st.sampled_from([2, 3]), st.lists(st.sampled_from(LINES), max_size=7))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(2, ["SELECT 1", "MULTI", "SELECT 0", "DISCARD"])
@example(2, ["SELECT 1", "SUBSCRIBE c", "SELECT 0", "UNSUBSCRIBE"])
@example(
    2, ["CLIENT TRACKING ON", "CLIENT TRACKING OFF", "CLIENT SETNAME me", "CLIENT SETNAME ", "SELECT 1", "SELECT 0"]
)
def test_a_session_called_clean_is_clean_on_the_server(
    redis_server: embedded.Server, protocol: int, lines: list[str]
) -> None:
    """Whatever went over it, refused or not: database, name, transaction, subscriptions, tracking, user, protocol."""
    session = after(*lines)
    assume(session.clean)
    client = redis.Redis(host=redis_server.host, port=redis_server.port)
    with client, socket.create_connection((redis_server.host, redis_server.port), timeout=10.0) as sock:
        send(sock, f"HELLO {protocol}")
        address = "{}:{}".format(*sock.getsockname())
        made = state(client, address)
        send(sock, *lines)
        assert state(client, address) == made
