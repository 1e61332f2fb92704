"""`valkey://` and `valkeys://` are understood wherever a URL is, under valkey-py and under redis-py."""

from __future__ import annotations

from typing import Any

import pytest
import redis
import redis.asyncio
import valkey
import valkey.asyncio

import redpool
import redpool.asyncio
import redpool.valkey
import redpool.valkey.asyncio
from redpool import embedded
from redpool.bench.command import server_url
from redpool.contrib import pools

HOMES: list[tuple[Any, Any, Any]] = [
    (redpool, redis.Connection, redis.SSLConnection),
    (redpool.asyncio, redis.asyncio.Connection, redis.asyncio.SSLConnection),
    (redpool.valkey, valkey.Connection, valkey.SSLConnection),
    (redpool.valkey.asyncio, valkey.asyncio.Connection, valkey.asyncio.SSLConnection),
]
every_home = pytest.mark.parametrize(
    ("home", "plain", "tls"), HOMES, ids=["redpool", "redpool.asyncio", "redpool.valkey", "redpool.valkey.asyncio"]
)


@every_home
@pytest.mark.parametrize("name", ["ConnectionPool", "BlockingConnectionPool", "MultiplexedConnectionPool"])
@pytest.mark.parametrize("kind", ["redis", "valkey", "VALKEY"])
def test_pools(home: Any, plain: type, tls: type, name: str, kind: str) -> None:
    """The server's kind is no matter of the client's."""
    make = getattr(home, name).from_url
    pool = make(f"{kind}://me:secret@example:7000/3?max_connections=7&min_idle=0")
    asked = pool.connection_kwargs
    assert [asked[each] for each in ("host", "port", "db", "username")] == ["example", 7000, 3, "me"]
    assert (pool.connection_class, pool.max_connections) == (plain, 7)
    assert make(f"{kind}s://example").connection_class is tls


@every_home
def test_what_is_no_url_is_refused(home: Any, plain: type, tls: type) -> None:
    """By name and value, unless there may be a password in it."""
    for url, shown in ("localhost", "'localhost'"), ("me:secret@localhost", "a URL that begins otherwise"):
        with pytest.raises(ValueError, match=f"^url must begin with redis://, .* not {shown}$"):
            home.ConnectionPool.from_url(url)


def test_clients(redis_server: embedded.Server) -> None:
    """Those of redpool, over either library."""
    at = f"{redis_server.host}:{redis_server.port}"
    for home in (redpool, redpool.valkey):
        for scheme in ("redis", "valkey"):
            with home.from_url(f"{scheme}://{at}/0") as client:
                assert client.ping()
    with redpool.Redis.from_url(f"valkey://{at}") as client, redpool.valkey.Valkey.from_url(f"redis://{at}") as other:
        client.set("key", "value")
        assert other.get("key") == b"value"


def test_the_pools_of_frameworks() -> None:
    """`redpool.contrib` takes them all by the same way."""
    assert pools.pool("valkeys://example").connection_class is redis.SSLConnection


def test_the_command_line() -> None:
    """What it hands on is a URL that redis-py knows."""
    assert server_url("valkey://localhost:7000/1") == "redis://localhost:7000/1"
    assert server_url("valkeys://localhost") == "rediss://localhost"
