"""fakeredis' connections, which never see a socket, work over every kind of pool."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest
import redis
from fakeredis import aioredis

from support import faces
from support.faces import Doing, Face, eventually


@pytest.fixture(params=["class", "factory"])
def fake(request: pytest.FixtureRequest, kind: Face) -> Any:
    """What makes fakeredis' connections, all to one server: a class, or a function, as `FakeConnection` is now."""
    made = aioredis.FakeAsyncRedisConnection if kind.asynchronous else fakeredis.FakeRedisConnection
    return made if request.param == "class" else lambda **options: made(**options)


@pytest.fixture
def client(kind: Face, fake: Any) -> Any:
    """A client over a pool of such connections."""
    return kind.client(kind.pool(connection_class=fake, server=fakeredis.FakeServer()))


def test_commands_and_errors(client: Any) -> None:
    """A reply is the caller's, an error reply too, and neither costs a connection."""
    assert client.set("key", "value") is True
    assert client.get("key") == b"value"
    with pytest.raises(redis.ResponseError):
        client.incr("key")
    assert client.get("key") == b"value"
    assert client.blpop("nothing", timeout=0.01) is None
    stats = client.connection_pool.stats()
    assert (stats.open, stats.in_use, dict(stats.closed)) == (1, 0, {})


@pytest.mark.parametrize("transaction", [True, False])
def test_pipelines(client: Any, transaction: bool) -> None:
    """With and without MULTI, and while a key is watched."""
    with client.pipeline(transaction=transaction) as pipe:
        assert pipe.set("n", 1).incr("n").execute() == [True, 2]
    with client.pipeline() as pipe:
        pipe.watch("n")
        assert pipe.get("n") == b"2"
        pipe.multi()
        assert pipe.incr("n").execute() == [3]
    assert client.connection_pool.stats().in_use == 0


def test_subscriptions(client: Any) -> None:
    """A subscriber hears what is published, and its connection goes with it."""
    subscriber = client.pubsub()
    subscriber.subscribe("channel")
    assert subscriber.get_message(timeout=1.0)["type"] == "subscribe"
    client.publish("channel", "hello")
    assert subscriber.get_message(timeout=1.0)["data"] == b"hello"
    subscriber.close() if hasattr(subscriber, "close") else subscriber.aclose()
    assert eventually(lambda: client.connection_pool.stats().in_use == 0)


def test_many_callers(client: Any) -> None:
    """Each gets its own replies."""

    def work(name: str) -> None:
        for count in range(20):
            assert client.echo(f"{name} {count}") == f"{name} {count}".encode()

    for each in [Doing(lambda name=f"caller {number}": work(name)) for number in range(8)]:  # type: ignore[misc]
        each.result()


def test_cutting_and_closing(kind: Face, client: Any) -> None:
    """What has no transport that could be aborted is closed; then the pool serves again."""
    held = client.connection_pool.get_connection()
    client.connection_pool.disconnect()
    client.connection_pool.release(held)
    assert client.ping() is True


def test_a_server_that_is_gone(kind: Face, fake: Any) -> None:
    """Its error is redis-py's, and the pool serves again once it is back."""
    server = fakeredis.FakeServer()
    client = kind.client(kind.pool(connection_class=fake, server=server))
    assert client.ping() is True
    server.connected = False
    with pytest.raises(redis.ConnectionError):
        client.ping()
    server.connected = True
    assert client.ping() is True


def test_a_class_that_is_exchanged(kind: Face) -> None:
    """`fakeredis.FakeRedis.from_url` sets the pool's class after it was made: new connections are of that."""
    made = aioredis.FakeAsyncRedisConnection if kind.asynchronous else fakeredis.FakeRedisConnection
    pool = kind.pool(host="127.0.0.1", port=1)
    faces._unwrapped(pool).connection_class = made
    client = kind.client(pool)
    assert client.set("key", "value") is True
