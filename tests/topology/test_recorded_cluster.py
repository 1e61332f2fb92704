"""With redis-py's OpenTelemetry recording on, redpool's cluster clients record what redis-py's do, for less."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from redpool import DeadlineExceeded, deadline
from support.faces import Face

from .servers import Cluster

pytestmark = pytest.mark.needs("OpenTelemetry recording on event loops")

DURATION, ERRORS = "db.client.operation.duration", "redis.client.errors"


@contextmanager
def client_of(package: Any, face: Face, cluster: Cluster, **options: Any) -> Iterator[Any]:
    """A client of redis-py's or of redpool's that has been used before."""
    client = face._wrap(package.RedisCluster(host=cluster.servers[0].host, port=cluster.servers[0].port, **options))
    try:
        client.ping(target_nodes=client.ALL_NODES)
        client.flushall(target_nodes=client.PRIMARIES)
        yield client
    finally:
        client.close()


def mislead(client: Any, key: bytes) -> None:
    """Have the client take another node for the one that has a key."""
    slots, slot = client.nodes_manager.slots_cache, key_slot(key)
    slots[slot] = next(nodes for nodes in slots.values() if nodes != slots[slot])


def commands(client: Any) -> None:
    """Commands of several kinds: with and without a callback, to one node and to several, with an error."""
    for number in range(6):
        client.set(f"text:{number}", number)
        client.get(f"text:{number}")
    client.hset("hash", "field", "value")
    client.hgetall("hash")
    client.mget_nonatomic("text:1", "text:2")
    client.rpush("list", 1, 2)
    with suppress(redis.ResponseError):
        client.incr("list")


def redirections(client: Any) -> None:
    """A command whose key has moved: the one that follows goes straight to its node."""
    client.set("key", "value")
    mislead(client, b"key")
    client.get("key")
    client.get("key")


def failing_callback(client: Any) -> None:
    """A reply that the user's callback can't take."""
    client.set_response_callback("GET", lambda reply, **_: int(reply))
    client.set("key", "value")
    with suppress(ValueError):
        client.get("key")


@pytest.mark.parametrize("program", [commands, redirections, failing_callback])
def test_the_same_is_recorded(face: Face, cluster: Cluster, recorded: Any, program: Callable[[Any], None]) -> None:
    """Names, units, attributes, boundaries and counts are redis-py's own."""
    seen = []
    for package in (face.redis, face.redpool):
        with client_of(package, face, cluster) as client:
            recorded.begin()
            program(client)
            found = recorded.read()
            seen.append({name: found.get(name) for name in (DURATION, ERRORS)})
            recorded.end()
    assert seen[0] == seen[1]
    assert seen[0][DURATION]


def test_the_short_way_is_kept(face: Face, cluster: Cluster, recorded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks no node's client for a connection."""
    with client_of(face.redpool, face, cluster) as client:
        client.get("key")
        recorded.begin()
        monkeypatch.setattr(getattr(client, "_target", client).__class__, "_execute_command", None)
        client.get("key")
        monkeypatch.undo()
        assert recorded.count() == 1


def test_a_first_try_counts_into_the_duration(
    face: Face, cluster: Cluster, recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it was made before redis-py's own clock for the call begins."""
    shell = "asyncio" if face.asynchronous else "sync"
    module = importlib.import_module(f"redpool.{shell}.cluster")
    with client_of(face.redpool, face, cluster) as client:
        client.get("key")
        mislead(client, b"key")
        recorded.begin()
        monkeypatch.setattr(module, "_monotonic", count(0.0, 100.0).__next__)
        client.get("key")
        shortest = [least for (least,) in recorded.read(lambda point: (getattr(point, "min", None),))[DURATION][1:]]
        assert min(shortest) >= 100
        assert recorded.count() == 2


def test_a_call_that_is_out_of_time_is_recorded(face: Face, cluster: Cluster, recorded: Any) -> None:
    """As one that has failed, for its caller."""
    with client_of(face.redpool, face, cluster) as client:
        client.get("key")
        recorded.begin()
        with pytest.raises(DeadlineExceeded), deadline(0.0):
            client.get("key")
        assert recorded.count() == 1
        assert [point[1] for point in recorded.read()[ERRORS][1:]] == [1]
