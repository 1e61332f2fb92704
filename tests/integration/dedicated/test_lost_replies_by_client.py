"""What becomes of a command whose reply is lost is the same however its client was made. Notes 7 and 9."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import redis

import redpool
from support.faces import Face
from support.mute import Mute, check_lost


def _by_url(face: Face, mute: Mute) -> Any:
    return face.client(face.pool_from_url(mute.proxy.url, retry=face.retry(3)))


def _by_its_own_pool(face: Face, mute: Mute) -> Any:
    return face.client_from_pool(face.pool(**mute.at, retry=face.retry(3)))


def _by_position(face: Face, mute: Mute) -> Any:
    return face.client(face.pool(face.redis.Connection, 5, **mute.at, retry=face.retry(3)))


def _by_a_factory(face: Face, mute: Mute) -> Any:
    return face.client(face.pool(partial(face.redis.Connection), **mute.at, retry=face.retry(3)))


def _by_a_policy_set_before(face: Face, mute: Mute) -> Any:
    client = face.client(face.pool(**mute.at))
    client.set_retry(face.retry(3))
    return client


def _by_a_policy_set_with_a_connection_open(face: Face, mute: Mute) -> Any:
    client = face.client(face.pool(**mute.at))
    client.ping()
    client.set_retry(face.retry(3))
    return client


def _by_errors_to_retry_on(face: Face, mute: Mute) -> Any:
    return face.client(face.pool(**mute.at, retry=face.retry(3), retry_on_error=[redis.RedisError]))


@pytest.mark.needs("retries by default")
@pytest.mark.parametrize(
    "made",
    [
        _by_url, _by_its_own_pool, _by_position, _by_a_factory, _by_a_policy_set_before,
        _by_a_policy_set_with_a_connection_open, _by_errors_to_retry_on,
    ],
)  # fmt: skip
def test_the_rule_is_the_same_however_a_client_was_made(
    face: Face, mute: Mute, made: Callable[[Face, Mute], Any]
) -> None:
    """INCR is sent once, and GET as often as the policy allows."""
    client = made(face, mute)
    mute.withhold("INCRBY")
    check_lost(mute.lose("hang-up", lambda: client.incr("n")).ended(), "INCRBY")
    assert mute.heard == 1
    mute.withhold("GET", times=3)
    assert mute.lose("hang-up", lambda: client.get("n"), times=3).result() == b"value"


@pytest.fixture
def cluster(mute: Mute) -> Iterator[Any]:
    """redis-py's client for clusters, of one node that has all slots; there is none for loops that takes a pool."""
    mute.server.answer("CLUSTER", [[0, 16383, [mute.proxy.host, mute.proxy.port]]])
    mute.server.answer("INFO", b"cluster_enabled:1\r\n")
    mute.server.answer("COMMAND", [[name, -2, [], 1, 1, 1] for name in ("get", "incrby")])
    made = redis.RedisCluster.from_url(mute.proxy.url, connection_pool_class=redpool.ConnectionPool)
    yield made
    made.close()
    for each in made.get_nodes():
        each.redis_connection.connection_pool.close()


@pytest.mark.needs("clusters that keep a node that failed")
def test_the_rule_is_the_same_in_a_cluster(cluster: Any, mute: Mute) -> None:
    """Its client tries again by itself what a connection has lost, but not a `ReplyLost`."""
    assert cluster.get("n") == b"value"
    mute.withhold("INCRBY")
    check_lost(mute.lose("hang-up", lambda: cluster.incr("n")).ended(), "INCRBY")
    assert mute.heard == 1
    mute.withhold("GET")
    assert mute.lose("hang-up", lambda: cluster.get("n")).result() == b"value"
