"""What redis-py has under a name, redpool has under that name, with the same arguments and defaults."""

from __future__ import annotations

import inspect
from typing import Any

import redis
import redis.asyncio

from support.faces import Face


def test_the_blocking_pool_has_redis_pys_defaults(face: Face, monkeypatch: Any) -> None:
    """50 connections, 20 seconds, and the same arguments in the same places."""
    monkeypatch.setattr(face, "pool_class", face.redpool.BlockingConnectionPool)
    pool = face.pool()
    assert (pool.max_connections, pool.timeout) == (50, 20)
    pool = face.pool(3, 0.5, face.redis.SSLConnection, None, host="example.invalid")
    assert (pool.max_connections, pool.timeout) == (3, 0.5)
    assert pool.connection_class is face.redis.SSLConnection
    ours, theirs = (inspect.signature(each) for each in (face.pool_class, face.redis.BlockingConnectionPool))
    assert list(ours.parameters)[:4] == list(theirs.parameters)[:4]


def test_the_blocking_pool_is_made_from_a_url(face: Face, redis_url: str, monkeypatch: Any) -> None:
    """With those defaults, unless the URL says otherwise; it is a pool like any other of redpool's."""
    monkeypatch.setattr(face, "pool_class", face.redpool.BlockingConnectionPool)
    assert face.pool_from_url(redis_url).timeout == 20
    pool = face.pool_from_url(f"{redis_url}?timeout=30.25&max_connections=4", min_idle=1)
    assert (pool.timeout, pool.max_connections, pool.config.min_idle) == (30.25, 4, 1)
    assert issubclass(face.pool_class, face.redpool.ConnectionPool)
    assert face.client(pool).ping() is True


def test_from_url_returns_a_client(face: Face, redis_url: str) -> None:
    """As redis-py's function of that name does; the client has a pool of its own."""
    client = face._wrap(face.redpool.from_url(f"{redis_url}/4?timeout=30.5", decode_responses=True))
    face._made.append(client.connection_pool)
    assert isinstance(getattr(client, "_target", client), face.redpool.Redis)
    assert client.connection_pool.timeout == 30.5
    client.set("foo", "bar")
    assert client.get("foo") == "bar"
    with redis.Redis.from_url(redis_url, db=4) as other:
        assert other.get("foo") == b"bar"
