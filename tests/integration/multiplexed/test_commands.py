"""Clients over shared connections: what a user of redis-py knows works as ever."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from redpool import embedded
from support.faces import Face, Watch


def test_commands_and_their_callbacks(client: Any, redis_server: embedded.Server) -> None:
    """Replies come as redis-py makes them: true and false, numbers, dicts, sets, sorted sets with scores."""
    assert client.set("key", "value") is True
    assert client.get("key") == b"value"
    assert client.get("nothing") is None
    assert client.incr("n", 3) == 3
    assert client.hset("h", mapping={"a": 1, "b": 2}) == 2
    assert client.hgetall("h") == {b"a": b"1", b"b": b"2"}
    assert client.sadd("s", "x", "y") == 2
    assert client.smembers("s") == {b"x", b"y"}
    client.zadd("z", {"one": 1, "two": 2.5})
    assert client.zrange("z", 0, -1, withscores=True) == [(b"one", 1.0), (b"two", 2.5)]
    assert client.mget("key", "nothing") == [b"value", None]
    assert client.exists("key") == 1
    assert client.expire("key", 100) is True
    assert client.ttl("key") in range(90, 101)
    assert client.delete("key", "nothing") == 1
    assert client.info("server")["tcp_port"] == redis_server.port
    assert client.ping() is True
    assert client.echo("word") == b"word"


def test_they_go_over_one_connection(client: Any, pool: Any, watch: Watch) -> None:
    """A hundred commands, and one connection that the server has seen."""
    before = watch.connected()
    for number in range(100):
        client.set(f"key{number}", number)
    stats = pool.stats()
    assert (stats.open, stats.in_use, stats.connected) == (1, 1, 1)
    assert stats.commands >= 100
    assert watch.connected() == before + 1


@pytest.mark.parametrize("name", ["get", b"GET", "Get"])
def test_a_command_in_any_spelling(client: Any, name: Any) -> None:
    """As text or bytes, in any case."""
    client.set("key", "value")
    assert client.execute_command(name, "key") == b"value"


def test_an_error_is_its_callers(client: Any, pool: Any) -> None:
    """What the server refuses is raised as redis-py has it; the connection stays."""
    client.rpush("list", "x")
    for _ in range(3):
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            client.get("list")
    with pytest.raises(redis.exceptions.NoScriptError):
        client.evalsha("0" * 40, 0)
    assert client.llen("list") == 1
    assert (pool.stats().connected, pool.stats().closed) == (1, {})


def test_a_word_that_is_none_is_refused_before_anything_is_sent(client: Any, pool: Any) -> None:
    """redis-py's own error, and the in-flight queue is as it was."""
    with pytest.raises(redis.DataError):
        client.set("key", None)
    with pytest.raises(redis.DataError):
        client.set("key", {"a": 1})
    assert client.get("key") is None
    assert pool.stats().in_flight == 0


def test_decoded_replies(face: Face, at: dict[str, Any]) -> None:
    """With `decode_responses` all is text; what must stay bytes does; what can't be decoded is one caller's error."""
    client = face.client(face.pool(**at, decode_responses=True))
    plain = face.client(face.pool(**at))
    client.set("key", "wört")
    plain.set("bytes", b"\xff\xfe")
    assert client.get("key") == "wört"
    assert isinstance(client.dump("key"), bytes)
    with pytest.raises(UnicodeDecodeError):
        client.get("bytes")
    with pytest.raises(UnicodeDecodeError):
        client.mget("key", "bytes")
    assert client.mget("key", "nothing") == ["wört", None]
    assert client.connection_pool.stats().connected <= 2  # a DUMP may need a connection of its own


@pytest.mark.parametrize("protocol", [2, 3])
def test_either_protocol(face: Face, at: dict[str, Any], protocol: int) -> None:
    """Replies are those that redis-py gives for it."""
    pool = face.pool(**at, protocol=protocol)
    client = face.client(pool)
    client.hset("h", "a", "1")
    client.zadd("z", {"m": 1.5})
    assert client.hgetall("h") == {b"a": b"1"}
    assert client.zscore("z", "m") == 1.5
    assert client.config_get("maxclients")
    assert pool.get_protocol() in (protocol, str(protocol))


def test_from_a_url(shell: Face, redis_url: str) -> None:
    """The pool's own options may stand in the URL, or beside it."""
    client = shell._wrap(
        shell.redpool.Redis.from_url(f"{redis_url}/3?max_in_flight=7", shared_connections=2, decode_responses=True)
    )
    pool = client.connection_pool
    try:
        assert client.set("key", "in three") is True
        assert client.get("key") == "in three"
        assert (pool.config.max_in_flight, pool.config.shared_connections) == (7, 2)
        assert client.client_info()["db"] == 3
    finally:
        pool.shutdown()
    with pytest.raises(shell.redpool.PoolClosed):
        client.get("key")


def test_a_client_of_its_own(shell: Face, at: dict[str, Any], watch: Watch) -> None:
    """`redpool.Redis(...)` takes redis-py's options and the pool's, and shares."""
    client = shell.own(**at, client_name="shared", db=5, timeout=1.0, max_connections=3)
    assert client.set("key", "value") is True
    assert client.client_info()["db"] == 5
    assert client.connection_pool.config.timeout == 1.0
    assert client.connection_pool.max_connections == 3
    assert len(watch.ids("shared")) == 1
    assert client.client_getname() == "shared"


def test_its_constructor_knows_redis_pys_order(threads: Face, at: dict[str, Any]) -> None:
    """host, port, db by place."""
    client = threads.own(at["host"], at["port"], 6)
    assert client.client_info()["db"] == 6


def test_a_pool_of_another_kind_is_used_as_it_is(shell: Face, at: dict[str, Any]) -> None:
    """`redpool.Redis` over a pool that doesn't share is redis-py's client."""
    pool = shell._keep(shell.redpool.ConnectionPool(**at))
    client = shell.client(pool)
    client.set("key", "value")
    assert client.pipeline().get("key").execute() == [b"value"]
    assert pool.stats().idle == 1


def test_a_unix_socket(face: Face, unix_server: embedded.Server) -> None:
    """As over TCP."""
    pool = face.pool_from_url(unix_server.url)
    client = face.client(pool)
    client.set("key", "value")
    assert client.get("key") == b"value"
    assert client.pipeline().get("key").incr("unix").execute()[0] == b"value"
    assert pool.stats().connected == 1


def test_options_that_make_no_sense(shell: Face) -> None:
    """They are refused at construction, by name."""
    for options in ({"max_in_flight": 0}, {"shared_connections": 0}, {"shared_connections": 3, "max_connections": 2}):
        with pytest.raises(ValueError, match=next(iter(options))):
            shell.pool_class(**options)
    with pytest.raises(TypeError, match="max_in_flight"):
        shell.pool_class(max_in_flight=1.5)
    with pytest.raises(TypeError, match="max_in_flight"):
        shell.pool_class(max_inflight=2).make_connection()
