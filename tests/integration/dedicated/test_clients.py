"""Under an unmodified `redis.Redis` everything works that works over redis-py's own pools."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
import redis

import redpool
import redpool.asyncio
from redpool import embedded
from redpool.redispy.internals import has
from support.faces import Doing, Face, eventually


@pytest.fixture(params=["tcp", "unix"])
def address(request: pytest.FixtureRequest, at: dict[str, Any], unix_server: embedded.Server) -> dict[str, Any]:
    """Keywords for the connection: TCP, or a Unix socket."""
    if request.param == "tcp":
        return at
    with redis.Redis.from_url(unix_server.url) as client:
        client.flushall()
    return {"path": unix_server.path}


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def options(request: pytest.FixtureRequest, address: dict[str, Any]) -> dict[str, Any]:
    """The same with each protocol."""
    return {**address, "protocol": request.param}


@pytest.fixture
def pool(face: Face, options: dict[str, Any]) -> Any:
    """A pool for each shell, protocol and kind of address."""
    return _pool(face, options)


def _pool(face: Face, options: dict[str, Any], **more: Any) -> Any:
    if "path" not in options:
        return face.pool(**options, **more)
    connection_class = face.redis.UnixDomainSocketConnection
    return face.pool(connection_class, **options, **more)


def test_commands(face: Face, pool: Any) -> None:
    """Commands of every kind of reply work, one after the other over one connection."""
    client = face.client(pool)
    assert client.set("foo", "bar") is True
    assert client.get("foo") == b"bar"
    assert client.get("nothing") is None
    assert client.incrbyfloat("half", 0.5) == 0.5
    client.hset("hash", mapping={"a": 1, "b": 2})
    assert client.hgetall("hash") == {b"a": b"1", b"b": b"2"}
    client.zadd("scores", {"one": 1.0})
    assert client.zscore("scores", "one") == 1.0
    assert client.mget("foo", "nothing") == [b"bar", None]
    assert pool.stats().connected == 1
    assert pool.stats().in_use == 0


def test_an_error_reply_costs_no_connection(face: Face, pool: Any) -> None:
    """An error that the server replies leaves the connection in order."""
    client = face.client(pool)
    client.set("text", "x")
    with pytest.raises(redis.ResponseError, match="not an integer"):
        client.incr("text")
    assert client.get("text") == b"x"
    assert pool.stats().connected == 1


def test_a_large_value_comes_back_whole(face: Face, pool: Any) -> None:
    """A value of some megabytes passes in both directions."""
    client = face.client(pool)
    value = b"0123456789abcdef" * (1 << 17)
    client.set("large", value)
    assert client.get("large") == value


def test_pipelines(face: Face, pool: Any) -> None:
    """A pipeline runs in one go, with and without MULTI, and gives its connection back."""
    client = face.client(pool)
    for transaction in (True, False):
        with client.pipeline(transaction=transaction) as pipe:
            pipe.set("n", 1)
            pipe.incr("n")
            pipe.get("n")
            assert pipe.execute() == [True, 2, b"2"]
    assert pool.stats().in_use == 0
    assert pool.stats().connected == 1


def test_an_error_in_a_pipeline(face: Face, pool: Any) -> None:
    """An error reply in a pipeline is raised, or returned in its place; the connection stays in order."""
    client = face.client(pool)
    for transaction in (True, False):
        with client.pipeline(transaction=transaction) as pipe:
            pipe.set("text", "x")
            pipe.incr("text")
            pipe.get("text")
            said = pipe.execute(raise_on_error=False)
            assert isinstance(said[1], redis.ResponseError)
            assert (said[0], said[2]) == (True, b"x")
            pipe.incr("text")
            with pytest.raises(redis.ResponseError):
                pipe.execute()
    assert client.get("text") == b"x"
    assert pool.stats().connected == 1


def test_watch_that_holds(face: Face, pool: Any) -> None:
    """WATCH, a read, MULTI and EXEC run over one connection, and succeed where no other client interferes."""
    client = face.client(pool)
    client.set("n", 5)
    with client.pipeline() as pipe:
        pipe.watch("n")
        n = int(pipe.get("n"))
        pipe.multi()
        pipe.set("n", n + 1)
        assert pipe.execute() == [True]
    assert client.get("n") == b"6"
    assert pool.stats().in_use == 0


def test_watch_that_is_broken(face: Face, pool: Any) -> None:
    """Where another client changes a watched key, EXEC raises `WatchError` and nothing runs; no connection is lost."""
    client = face.client(pool)
    client.set("n", 5)
    with client.pipeline() as pipe:
        pipe.watch("n")
        client.set("n", 50)
        pipe.multi()
        pipe.set("n", 6)
        with pytest.raises(redis.WatchError):
            pipe.execute()
    assert client.get("n") == b"50"
    assert pool.stats().in_use == 0
    assert pool.stats().open == 2


def test_an_abandoned_watch_does_not_reach_the_next(face: Face, options: dict[str, Any]) -> None:
    """A block left between WATCH and EXEC releases a connection that watches nothing."""
    pool = _pool(face, options, max_connections=1)
    client = face.client(pool)
    with client.pipeline() as pipe:
        pipe.watch("n")
        pipe.get("n")
    client.set("n", 1)
    with client.pipeline() as pipe:
        pipe.get("n")
        assert pipe.execute() == [b"1"]


def test_pub_sub(face: Face, pool: Any) -> None:
    """Messages and patterns arrive over a connection of their own, which is released at the end."""
    client = face.client(pool)
    with client.pubsub() as pubsub:
        pubsub.subscribe("news")
        pubsub.psubscribe("w*")
        assert [pubsub.get_message(timeout=10)["type"] for _ in range(2)] == ["subscribe", "psubscribe"]
        assert client.publish("news", "one") == 1
        message = pubsub.get_message(timeout=10)
        assert (message["type"], message["channel"], message["data"]) == ("message", b"news", b"one")
        client.publish("weather", "rain")
        message = pubsub.get_message(timeout=10)
        assert (message["type"], message["pattern"], message["data"]) == ("pmessage", b"w*", b"rain")
        assert pool.stats().in_use == 1
        client.publish("news", "last")
        assert next(iter(pubsub.listen()))["data"] == b"last"
    assert pool.stats().in_use == 0
    assert client.set("foo", "bar")


def test_a_subscription_does_not_reach_the_next(face: Face, options: dict[str, Any]) -> None:
    """The caller that comes after a subscriber gets a connection without subscriptions."""
    pool = _pool(face, options, max_connections=1)
    client = face.client(pool)
    with client.pubsub() as pubsub:
        pubsub.subscribe("news")
        assert pubsub.get_message(timeout=10)["type"] == "subscribe"
    assert client.publish("news", "one") == 0
    assert client.get("foo") is None


def test_monitor(face: Face, pool: Any) -> None:
    """MONITOR reports what others do, and its connection is not lent to no other caller."""
    client = face.client(pool)
    with client.monitor() as monitor:
        client.set("seen", "1")
        commands = [monitor.next_command()["command"] for _ in range(1)]
        while not any("seen" in command for command in commands):
            assert len(commands) < 50
            commands.append(monitor.next_command()["command"])
    assert pool.stats().in_use == 0
    client.set("foo", "bar")
    assert client.get("foo") == b"bar"


def test_locks(face: Face, pool: Any) -> None:
    """A lock excludes others, expires for them when it is released, and knows its owner."""
    client = face.client(pool)
    with client.lock("gate", timeout=30) as lock:
        assert lock.locked()
        assert client.lock("gate", timeout=30).acquire(blocking=False) is False
        with pytest.raises(redis.exceptions.LockError):
            client.lock("gate").release()
    second = client.lock("gate", timeout=30)
    assert second.acquire(blocking=False) is True
    second.release()
    assert pool.stats().in_use == 0


def test_scripts(face: Face, pool: Any) -> None:
    """A registered script runs, also in a pipeline, and also when the server has forgotten it."""
    client = face.client(pool)
    script = client.register_script("return redis.call('incrby', KEYS[1], ARGV[1])")
    assert script(keys=["n"], args=[2]) == 2
    client.script_flush()
    assert script(keys=["n"], args=[3]) == 5
    with client.pipeline() as pipe:
        script(keys=["n"], args=[4], client=pipe)
        assert pipe.execute() == [9]
    assert pool.stats().in_use == 0


def test_a_client_with_a_single_connection(face: Face, pool: Any) -> None:
    """`single_connection_client` keeps one connection of the pool until it is closed."""
    client = face.client(pool, single_connection_client=True)
    ids = {client.client_id() for _ in range(3)}
    assert len(ids) == 1
    assert pool.stats().in_use == 1
    client.close()
    assert pool.stats().in_use == 0
    assert face.client(pool).client_id() in ids


def test_decoded_replies(face: Face, options: dict[str, Any]) -> None:
    """`decode_responses` of the pool is every client's, in commands, pipelines and pub/sub."""
    pool = _pool(face, options, decode_responses=True)
    client = face.client(pool)
    client.set("foo", "grüße")
    assert client.get("foo") == "grüße"
    with client.pipeline() as pipe:
        assert pipe.get("foo").execute() == ["grüße"]
    with client.pubsub() as pubsub:
        pubsub.subscribe("news")
        pubsub.get_message(timeout=10)
        client.publish("news", "grüße")
        assert pubsub.get_message(timeout=10)["data"] == "grüße"
    assert pool.get_encoder().decode_responses is True


def test_the_protocol_is_the_one_asked_for(face: Face, options: dict[str, Any]) -> None:
    """`protocol` reaches the connections: the server confirms the version; and `get_protocol` says it."""
    pool = _pool(face, options, client_name="asked")
    client = face.client(pool)
    (me,) = [each for each in client.client_list() if each["name"] in ("asked", b"asked")]
    if "resp" in me:
        assert int(me["resp"]) == options["protocol"]
    with pool.connection() as connection:
        assert connection.protocol in (options["protocol"], str(options["protocol"]))
    assert pool.get_protocol() == options["protocol"]


def test_the_database_is_the_one_asked_for(face: Face, options: dict[str, Any]) -> None:
    """`db` reaches every connection."""
    pool = _pool(face, options, db=5)
    client = face.client(pool)
    with pool.connection(), pool.connection():
        client.set("foo", "in 5")
    assert client.get("foo") == b"in 5"
    assert face.client(_pool(face, options)).get("foo") is None


def test_a_blocking_command_holds_up_no_other_caller(face: Face, pool: Any) -> None:
    """While one caller waits in BLPOP, others go on over other connections, and may end the wait."""
    client = face.client(pool)
    popping = Doing(lambda: client.blpop(["jobs"], timeout=10))
    assert eventually(lambda: pool.stats().in_use == 1)
    client.rpush("jobs", "one")
    assert list(popping.result()) == [b"jobs", b"one"]
    assert pool.stats().in_use == 0


def test_scanning_iterates(face: Face, pool: Any) -> None:
    """`scan_iter` walks all keys, a command for each step."""
    client = face.client(pool)
    client.mset({f"key:{number}": number for number in range(50)})
    assert set(client.scan_iter(match="key:*", count=7)) == {b"key:%d" % number for number in range(50)}
    assert pool.stats().in_use == 0


def test_a_client_that_owns_its_pool_closes_it(face: Face, pool: Any) -> None:
    """`Redis.from_pool` takes the pool over: when the client is closed, so is the pool, until it is asked again."""
    client = face.client_from_pool(pool)
    client.set("foo", "bar")
    client.close()
    assert pool.stats().open == 0
    assert client.get("foo") == b"bar"


def test_a_client_that_was_lent_a_pool_leaves_it_open(face: Face, pool: Any) -> None:
    """`Redis(connection_pool=...)` does not close the pool."""
    client = face.client(pool)
    client.set("foo", "bar")
    client.close()
    assert face.client(pool).get("foo") == b"bar"


@pytest.mark.parametrize("parser", ["python", "hiredis"])
def test_both_parsers(face: Face, options: dict[str, Any], parser: str) -> None:
    """redis-py's two parsers work, for values, errors, pipelines and pub/sub."""
    if parser == "python" and options["protocol"] == 3 and not has("pushes apart from replies"):
        pytest.skip("redis-py's parser in Python does not find pushes there where hiredis is installed")
    pool = _pool(face, options, parser_class=_parser(face, parser, options["protocol"]))
    client = face.client(pool)
    client.set("foo", "bar")
    assert client.get("foo") == b"bar"
    with pytest.raises(redis.ResponseError):
        client.incr("foo")
    with client.pubsub() as pubsub:
        pubsub.subscribe("news")
        assert pubsub.get_message(timeout=10)["type"] == "subscribe"
        client.publish("news", "one")
        assert pubsub.get_message(timeout=10)["data"] == b"one"
    assert client.get("foo") == b"bar"


def _parser(face: Face, parser: str, protocol: int) -> Any:
    from redis import _parsers

    names = {
        ("python", False, 2): "_RESP2Parser",
        ("python", False, 3): "_RESP3Parser",
        ("python", True, 2): "_AsyncRESP2Parser",
        ("python", True, 3): "_AsyncRESP3Parser",
        ("hiredis", False, 2): "_HiredisParser",
        ("hiredis", False, 3): "_HiredisParser",
        ("hiredis", True, 2): "_AsyncHiredisParser",
        ("hiredis", True, 3): "_AsyncHiredisParser",
    }
    return getattr(_parsers, names[parser, face.asynchronous, protocol])


@pytest.mark.parametrize("library", [redpool, redpool.asyncio], ids=["threads", "asyncio"])
def test_a_double_of_a_pool_is_taken(library: Any) -> None:
    """A client can be made over a mock of a pool that knows the pool's class alone, as redis-py's can."""
    double = Mock(spec=library.MultiplexedConnectionPool, connection_kwargs={})
    assert library.Redis(connection_pool=double).connection_pool is double
