"""Where redis-py's own tests fell over ours: over shared connections its clients behave as over connections of its own.

What is kept for longer than a call is a connection, and no lease that stands before it: what is set there counts.
"""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
import redis
import redis.asyncio.retry
import redis.retry
from redis.backoff import NoBackoff

import redpool
import redpool.asyncio
from redpool.redispy.internals import retries_of
from support.faces import Face, _unwrapped


def rename(connection: Any) -> None:
    """The name that the connection gives itself when it is opened anew."""
    _unwrapped(connection).client_name = "renamed"
    connection.disconnect()


def names(client: Any) -> list[str]:
    """What the server calls its clients."""
    return [each["name"] for each in client.client_list()]


def test_a_client_of_one_connection_holds_it(face: Face, pool: Any) -> None:
    """It is the connection itself."""
    client = face.client(pool, single_connection_client=True)
    client.ping()
    rename(client.connection)
    assert client.client_getname() == "renamed"
    client.close()


def test_a_subscriber_holds_its_connection(client: Any) -> None:
    """So it is with a subscriber."""
    pubsub = client.pubsub()
    pubsub.subscribe("channel")
    rename(pubsub.connection)
    pubsub.ping()
    assert "renamed" in names(client)
    pubsub.close()


def test_a_monitor_holds_its_connection(at: dict[str, Any]) -> None:
    """So it is with a monitor; on an event loop it takes its connection when it begins."""
    with redpool.MultiplexedConnectionPool(**at) as pool, redis.Redis(connection_pool=pool) as client:
        monitor = client.monitor()
        rename(monitor.connection)
        with monitor:
            assert "renamed" in names(client)


def test_a_subclass_has_the_last_word_on_replies(at: dict[str, Any]) -> None:
    """A client derived from ours may read replies its own way, as one that is derived from redis-py's."""

    class Threads(redpool.Redis):
        def parse_response(self, *args: Any, **options: Any) -> Any:
            return [super().parse_response(*args, **options)]

    class Asyncio(redpool.asyncio.Redis):
        async def parse_response(self, *args: Any, **options: Any) -> Any:
            return [await super().parse_response(*args, **options)]

    async def ping() -> Any:
        async with Asyncio(**at) as client:
            return await client.ping()

    with Threads(**at) as client:
        pong: Any = client.ping()
        assert pong == [True]
    assert asyncio.run(ping()) == [True]


def test_a_connection_class_without_a_retry_policy(shell: Face) -> None:
    """A user's own kind of connection, which isn't shared, needs no more than over a pool for one caller each."""

    class Plain:
        def __init__(self, **options: Any) -> None:
            self.options = options

    pool = shell.pool(connection_class=Plain, port=1)
    assert not pool.sharing
    pool.set_retry(None)


def test_a_policy_that_calls_in_its_own_way_hears_of_every_error(face: Face, at: dict[str, Any]) -> None:
    """It may try again after what is not on redis-py's list of errors, such as what the server says."""
    heard: list[str] = []

    class Persistent(redis.retry.Retry):
        def call_with_retry(self, do: Any, fail: Any, *args: Any, **kwargs: Any) -> Any:
            def heeded() -> Any:
                try:
                    return do()
                except redis.ResponseError as error:
                    heard.append(str(error))
                    return do()

            return super().call_with_retry(heeded, fail, *args, **kwargs)

    class PersistentAsync(redis.asyncio.retry.Retry):
        async def call_with_retry(self, do: Any, fail: Any, *args: Any, **kwargs: Any) -> Any:
            async def heeded() -> Any:
                try:
                    return await do()
                except redis.ResponseError as error:
                    heard.append(str(error))
                    return await do()

            return await super().call_with_retry(heeded, fail, *args, **kwargs)

    kind = Persistent if issubclass(face.retry_class, redis.retry.Retry) else PersistentAsync
    client = face.client(face.pool(**at, retry=kind(NoBackoff(), 1)))
    client.set("key", "value")
    with pytest.raises(redis.ResponseError):
        client.lpush("key", "other")
    assert len(heard) == 1


def test_the_policy_of_a_virtual_connection_can_be_copied(face: Face, at: dict[str, Any]) -> None:
    """As that of any connection of redis-py's."""
    guard = _unwrapped(face.pool(**at, retry=face.retry(3)).retry_guard)
    assert retries_of(copy.copy(guard)) == retries_of(copy.deepcopy(guard)) == 3


def test_what_a_users_connection_gets_as_it_connects_is_there_for_a_command(at: dict[str, Any]) -> None:
    """Of threads: a client may look at it before it sends, over a connection that was never asked for before."""
    seen: list[str] = []

    class Greeted(redis.Connection):
        def on_connect(self) -> None:  # what a handshake calls before 6.0
            super().on_connect()
            self.greeting = "hello"

        def on_connect_check_health(self, check_health: bool = True) -> None:
            super().on_connect_check_health(check_health)
            self.greeting = "hello"

    class Client(redis.Redis):
        def _send_command_parse_response(self, conn: Any, *args: Any, **options: Any) -> Any:
            seen.append(conn.greeting)
            return super()._send_command_parse_response(conn, *args, **options)

    with redpool.MultiplexedConnectionPool(connection_class=Greeted, **at) as pool:
        client = Client(connection_pool=pool)
        assert client.ping()
        assert pool.sharing
        assert seen == ["hello"]
        assert pool.stats().in_use == 0  # its own connection was enough, and came back
