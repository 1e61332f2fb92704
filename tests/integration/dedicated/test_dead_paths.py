"""Servers that are gone, full or silent: notes 14, 18 and 24."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

import pytest
import redis
import redis.asyncio.connection
import redis.connection

import redpool
import redpool.asyncio as redpool_asyncio
from redpool.embedded import Server
from redpool.redispy.internals import DEFAULT_TIMEOUT
from redpool.testing.proxy import FaultProxy
from support.faces import Doing, Face, Watch, eventually, together

USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)
BY_DEFAULT = 30_000 if DEFAULT_TIMEOUT is None else 5_000
"""Milliseconds, with redis-py's own timeout, or without one."""
on_linux = pytest.mark.skipif(USER_TIMEOUT is None, reason="the platform has no TCP_USER_TIMEOUT")

CLASSES = [
    (redpool.ConnectionPool, redis.connection.Connection),
    (redpool.ConnectionPool, redis.connection.SSLConnection),
    (redpool_asyncio.ConnectionPool, redis.asyncio.connection.Connection),
    (redpool_asyncio.ConnectionPool, redis.asyncio.connection.SSLConnection),
]


# -- note 14 -----------------------------------------------------------------------------------------------------------


def test_a_dead_server_is_found_out_once(face: Face, own_server: Server) -> None:
    """Note 14: with `break_after` callers get an error without a connect of their own, until a probe succeeds."""
    pool = face.pool(host=own_server.host, port=own_server.port, name="shop", break_after=1)
    client = face.client(pool)
    client.ping()
    own_server.kill()

    def raised() -> BaseException:
        with pytest.raises(redis.ConnectionError) as caught:
            client.ping()
        return caught.value

    assert eventually(lambda: "shop: not connecting: " in str(raised()))
    rejected = pool.stats().rejected
    errors = [raised() for _ in range(50)]
    assert pool.stats().rejected == rejected + 50
    assert {type(error.__cause__) for error in errors} == {redis.ConnectionError}
    assert not [error for error in errors if "not connecting" in str(error.__cause__)]
    own_server.restart()
    assert eventually(lambda: pool.stats().open == 1)
    assert client.ping()


# -- note 18 -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def crowded(own_server: Server) -> Any:
    """A server that allows eight clients beside the one that watches it."""
    watch = Watch(own_server.url)
    watch.client.config_set("maxclients", 9)
    yield own_server, watch
    watch.close()


@pytest.mark.needs("RESP3 by default")
def test_a_server_that_is_full_is_shared(face: Face, crowded: tuple[Server, Watch]) -> None:
    """Note 18: 40 callers, 50 connections wanted, 8 to be had: no caller fails; the server is asked once a second."""
    server, watch = crowded
    pool = face.pool(host=server.host, port=server.port, max_connections=50, max_connecting=4)
    client = face.client(pool)

    def rejected() -> int:
        return int(watch.client.info("stats")["rejected_connections"])

    began = time.monotonic()
    held = [pool.get_connection() for _ in range(8)]
    doings = [Doing(lambda: [client.get("key") for _ in range(30)]) for _ in range(40)]
    assert eventually(lambda: pool.stats().waiting == 40 and rejected())
    for connection in held:
        pool.release(connection)
    assert [doing.ended() for doing in doings] == [None] * 40
    assert pool.stats().open == 8
    assert rejected() <= 4 + (time.monotonic() - began)


@pytest.mark.needs("RESP3 by default")
def test_a_server_that_is_full_from_the_start_says_so(face: Face, crowded: tuple[Server, Watch]) -> None:
    """Note 18: callers of a pool without a connection that could come back get the server's error."""
    server, watch = crowded
    watch.client.config_set("maxclients", 1)
    client = face.client(face.pool(host=server.host, port=server.port))
    with pytest.raises(redis.ConnectionError, match=r"^max number of clients reached$"):
        client.get("key")
    watch.client.config_set("maxclients", 9)
    with pytest.raises(redis.ConnectionError, match=r"^max number of clients reached$"):
        client.get("key")

    def reads() -> bool:
        with contextlib.suppress(redis.ConnectionError):
            return client.get("key") is None
        return False

    assert eventually(reads)


# -- note 24 -----------------------------------------------------------------------------------------------------------


def behind(face: Face, proxy: FaultProxy, at: dict[str, Any], **options: Any) -> Any:
    """A pool with ten idle connections through the proxy, whose connects go straight to the server from now on.

    A PING that took the whole `socket_timeout` would be noticed.
    """
    pool = face.pool(host=proxy.host, port=proxy.port, socket_timeout=30.0, **options)
    pool.warm_up(10)
    pool.connection_kwargs["port"] = at["port"]
    return pool


def test_what_died_in_silence_is_replaced_before_anybody_meets_it(face: Face, at: dict[str, Any]) -> None:
    """Note 24: ten idle connections whose path is gone: found out in the background, and ten new ones are ready."""
    with FaultProxy(at["host"], at["port"]) as proxy:
        pool = behind(face, proxy, at, ping_after_idle=0.1, min_idle=10)
        proxy.black_hole()
        assert eventually(lambda: pool.stats().closed.get("invalid", 0) >= 10)
        assert eventually(lambda: pool.stats().idle == 10)
        client = face.client(pool)
        assert [doing.error for doing in together(10, lambda _: client.get("key"))] == [None] * 10


def test_who_comes_right_after_waits_for_one_ping_at_most(face: Face, at: dict[str, Any]) -> None:
    """Note 24: not for one after the other, and not for as long as a reply may take."""
    with FaultProxy(at["host"], at["port"]) as proxy:
        pool = behind(face, proxy, at, ping_after_idle=0.1, max_connecting=1)
        proxy.black_hole()
        time.sleep(0.2)  # rest is what the rule is about
        began = time.monotonic()
        assert face.client(pool).get("key") is None
        assert time.monotonic() - began < 10.0
        assert eventually(lambda: pool.stats().closed.get("invalid", 0) == 10)
        # One check at a time, or one PING after the other, would have been ten.
        assert pool.stats().acquired <= 3


@on_linux
@pytest.mark.parametrize(
    ("options", "milliseconds"),
    [
        ({}, BY_DEFAULT),
        ({"socket_timeout": 0.5, "socket_connect_timeout": 0.5}, 1_000),
        ({"socket_timeout": 2.5, "socket_connect_timeout": 1.0}, 2_500),
        ({"socket_timeout": 1.0, "socket_connect_timeout": 8.0}, 8_000),
        ({"socket_timeout": None}, 30_000),
        ({"socket_timeout": 1e9}, 86_400_000),
    ],
)
def test_unacknowledged_data_ends_a_connection(
    face: Face, at: dict[str, Any], options: dict[str, Any], milliseconds: int
) -> None:
    """Note 24: the kernel knows how long to wait, on the socket that is really used."""
    pool = face.pool(**at, **options)
    with pool.connection() as connection:
        assert user_timeout(connection) == milliseconds


def user_timeout(connection: Any) -> int:
    """What is set on the socket of an open connection."""
    writer = getattr(connection, "_writer", None)
    sock = connection._sock if writer is None else writer.transport.get_extra_info("socket")
    return int(sock.getsockopt(socket.IPPROTO_TCP, USER_TIMEOUT))


@on_linux
@pytest.mark.parametrize(("pool_class", "connection_class"), CLASSES)
def test_every_connection_over_tcp_is_raised(pool_class: Any, connection_class: Any) -> None:
    """Note 24: with TLS, too; redis-py's keepalive options stay as they are."""
    plain = connection_class().socket_keepalive_options
    options = pool_class(connection_class).make_connection().socket_keepalive_options
    assert options == {**plain, USER_TIMEOUT: BY_DEFAULT}


@on_linux
@pytest.mark.parametrize(
    "asked",
    [
        {"socket_keepalive_options": {}},
        pytest.param({"socket_keepalive_options": None}, marks=pytest.mark.needs("timeouts and keepalive by default")),
        {"socket_keepalive_options": {USER_TIMEOUT: 123}},
        {"socket_keepalive": False},
    ],
)
def test_the_users_own_settings_win(face: Face, at: dict[str, Any], asked: dict[str, Any]) -> None:
    """Note 24: nothing is added to what was asked for, and nothing of ours shows in `connection_kwargs`."""
    before = {name: dict(value) if isinstance(value, dict) else value for name, value in asked.items()}
    pool = face.pool(**at, **asked)
    with pool.connection() as connection:
        wanted = (asked.get("socket_keepalive_options") or {}).get(USER_TIMEOUT, 0)
        assert user_timeout(connection) == wanted
    assert asked == before
    assert "TCP_USER_TIMEOUT" not in repr(pool)
    assert set(pool.connection_kwargs) >= {"host", "port", *asked}


@on_linux
def test_nothing_is_added_to_the_connection_kwargs(face: Face, at: dict[str, Any]) -> None:
    """Note 24: they are what the user said."""
    pool = face.pool(**at)
    with pool.connection():
        assert "socket_keepalive_options" not in pool.connection_kwargs


def test_a_unix_socket_has_no_path_to_die(face: Face, unix_server: Server) -> None:
    """Note 24: such connections are made as ever."""
    with contextlib.closing(face.pool_from_url(unix_server.url)) as pool:
        assert face.client(pool).ping()
