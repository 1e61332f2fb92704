"""What the server calls a connection: it says which process it is of, and which pool, at no cost."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import socket
from collections.abc import Callable
from typing import Any

import pytest
import redis

import redpool
from redpool.redispy import naming
from redpool.redispy.internals import FAMILY
from redpool.version import __version__
from support.children import in_child
from support.faces import Face, Watch
from support.made_up import UNNAMED


def name_of(pool: str, service: str) -> str:
    return f"{service}/{pool}@{socket.gethostname()}:{os.getpid()}"


def seen(watch: Watch) -> list[dict[str, str]]:
    """What the server knows of the others' connections."""
    me = str(watch.client.client_id())
    return [each for each in watch.client.client_list() if each["id"] != me]


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_server_knows_whose_a_connection_is(
    any_face: Face, at: dict[str, Any], watch: Watch, protocol: int
) -> None:
    """By pools of all kinds, and by redpool's client; and through which library it is made."""
    client = any_face.client(any_face.pool(**at, db=3, protocol=protocol, service="check out"))
    assert client.ping() is True
    (mine,) = seen(watch)
    assert (mine["name"], mine["db"]) == (name_of(f"{at['host']}:{at['port']}/3", "check_out"), "3")
    if "lib-name" in mine:  # since Redis 7.2
        assert (mine["lib-name"], mine["lib-ver"]) == (f"{FAMILY}-py(redpool_v{__version__})", redis.__version__)


def test_what_a_user_says_stays(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """A name of its own; none, where it is empty, or where the server is to learn nothing of the library either."""
    said: list[tuple[dict[str, Any], str]] = [
        ({"client_name": "mine"}, "mine"),
        ({"client_name": ""}, ""),
        (UNNAMED, ""),
    ]
    for options, expected in said:
        pool = face.pool(**at, protocol=3, service="s", **options)
        face.client(pool).ping()
        (connection,) = seen(watch)
        assert connection["name"] == expected
        pool.shutdown()


def test_a_caller_gets_no_connection_with_another_name(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """The next one has one with the pool's again, where the one before has set a name and has not set it back."""
    pool = face.pool(**at, max_connections=1, service="s")
    client = face.client(pool)
    own = client.client_getname()
    own = own.decode() if isinstance(own, bytes) else own
    for name in ("other", ""):
        client.execute_command("CLIENT SETNAME", name)
        client.ping()
        assert [each["name"] for each in seen(watch)] == [own]
    assert pool.stats().connected == 3
    with pool.connection() as connection:
        for name in ("other", own):
            connection.send_command("CLIENT SETNAME", name)
            connection.read_response()
    client.ping()
    assert pool.stats().connected == 3


def test_a_server_that_gives_no_names_is_served_all_the_same(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """Where the user may not set one: no connect fails, and the session of none is taken for changed."""
    watch.client.execute_command("ACL", "SETUSER", "nameless", "on", ">pw", "~*", "&*", "+@all", "-client")
    pool = face.pool(**at, username="nameless", password="pw", db=2, max_connections=1)
    client = face.client(pool)
    assert [client.set("key", "value"), client.get("key")] == [True, b"value"]
    assert client.ping() is True
    (mine,) = seen(watch)
    assert (mine["name"], mine["db"], pool.stats().connected) == ("", "2", 1)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often a client has written and then waited for what comes, since the last time."""
    done: list[str] = []

    def note(owner: Any, name: str, what: str) -> None:
        method = getattr(owner, name)

        def noted(*args: Any, **kwargs: Any) -> Any:
            done.append(what)
            return method(*args, **kwargs)

        monkeypatch.setattr(owner, name, noted)

    for name in ("sendall", "recv", "recv_into"):
        note(socket.socket, name, "write" if name == "sendall" else "read")
    for owner, name in ((asyncio.StreamWriter, "write"), (asyncio.StreamWriter, "writelines")):
        note(owner, name, "write")
    note(asyncio.StreamReader, "read", "read")

    def since() -> int:
        found = sum(pair == ("write", "read") for pair in itertools.pairwise(done))
        done.clear()
        return found

    return since


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("db", [0, 5])
def test_a_name_costs_no_round_trip(
    face: Face, at: dict[str, Any], turns: Callable[[], int], protocol: int, db: int
) -> None:
    """A handshake has as many as one without a name, on each shell, and no more than redis-py's own."""
    options = {**at, "protocol": protocol, "db": db}
    found = []
    for client in (
        face.client(face.pool(**options)),
        face.client(face.pool(**options, client_name="")),
        face._wrap(face.redis.Redis(**options)),
    ):
        turns()
        client.ping()
        found.append(turns())
        client.close()
    with_name, without, theirs = found
    assert 0 < with_name == without <= theirs


def test_a_child_has_its_own_names(redis_url: str) -> None:
    """Which say its process id."""
    pool = redpool.ConnectionPool.from_url(redis_url, service="parent")
    client = redis.Redis(connection_pool=pool, decode_responses=True)
    assert str(client.client_getname()).endswith(f":{os.getpid()}")

    def child() -> None:
        assert str(client.client_getname()).endswith(f":{os.getpid()}")

    in_child(child)
    pool.close()


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (["/srv/shop/manage.py", "--password=hush"], "manage"),
        (["/lib/celery/__main__.py"], "celery"),
        (["gunicorn"], "gunicorn"),
        (["-c"], "python"),
        ([""], "python"),
        ([], "python"),
    ],
)
def test_a_service_is_the_program_where_it_has_no_name(
    monkeypatch: pytest.MonkeyPatch, run: list[str], expected: str
) -> None:
    """Its script or its package; never what it was called with."""
    monkeypatch.setattr("sys.argv", run)
    assert naming.program_name() == expected
    assert redpool.ConnectionPool().config.service == expected


def test_a_handshake_that_was_interrupted_leaves_the_next_one_alone(threads: Face, at: dict[str, Any]) -> None:
    """Also between the name and the reply to it: the parser reads for the next one as for the first."""
    pool = threads.pool(**at, max_connections=1, service="s")
    with pool.connection() as connection:
        parser = connection._parser
        connection.disconnect()
        connection.name_due = "interrupted"
        connection._parser = naming._Reader(connection, "interrupted")
        connection.send_command("CLIENT GETNAME")
        assert re.fullmatch(rb"s/.*", connection.read_response())
        assert connection._parser is parser
