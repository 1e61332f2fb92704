"""Errors leave no reference cycle that would keep a dropped connection, and its place, until a garbage collection."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import redis

import redpool
from redpool import embedded
from redpool.testing import FaultProxy

from .faces import Listener


@pytest.fixture(autouse=True)
def collector_off() -> Iterator[None]:
    """Garbage collection is late."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_handshake_with_refusals_keeps_nothing(redis_url: str) -> None:
    """The server refuses parts of redis-py's handshake: the connection goes when its holder drops it."""
    with redpool.ConnectionPool.from_url(redis_url) as pool:
        connection = pool.get_connection()
        gone = weakref.ref(connection)
        del connection
        assert gone() is None


def test_a_refused_command_keeps_nothing(redis_url: str) -> None:
    """The server refuses a command: the connection goes when its holder drops it."""
    with redpool.ConnectionPool.from_url(redis_url) as pool:
        connection = pool.get_connection()
        gone = weakref.ref(connection)
        connection.send_command("LPUSH", "key")
        with pytest.raises(redis.ResponseError):
            connection.read_response()
        del connection
        assert gone() is None


def test_a_lost_reply_keeps_nothing(redis_server: embedded.Server) -> None:
    """The reply is lost: the connection goes when its holder drops it."""
    with (
        FaultProxy(redis_server.host, redis_server.port) as proxy,
        redpool.ConnectionPool(host=proxy.host, port=proxy.port) as pool,
    ):
        connection = pool.get_connection()
        gone = weakref.ref(connection)
        proxy.black_hole()
        connection.send_command("INCR", "key")
        proxy.hang_up()
        with pytest.raises(redpool.ReplyLost):
            connection.read_response()
        del connection
        assert gone() is None


def test_a_failed_dial_keeps_no_pool(refusing: Listener) -> None:
    """A pool that is dropped after a dial has failed goes, though the error is remembered."""
    pool = redpool.ConnectionPool(host="127.0.0.1", port=refusing.port)
    with pytest.raises(redis.ConnectionError):
        pool.get_connection()
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
