"""Client-side caching and a cluster over the pool for threads: redis-py has neither hook for event loops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.cache import CacheConfig, CacheInterface
from redis.connection import CacheProxyConnection

import redpool
from redpool import embedded
from redpool.testing import Raw, ScriptedServer
from support.faces import PATIENCE, Doing, Face, Watch, eventually, together


@pytest.fixture
def any_server_may_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py wants a newer server than it needs."""
    monkeypatch.setattr(CacheProxyConnection, "MIN_ALLOWED_VERSION", "6.0.0")


@pytest.mark.needs("client-side caching")
@pytest.mark.usefixtures("any_server_may_cache")
def test_hits_are_served_from_the_cache(threads: Face, at: dict[str, Any], watch: Watch) -> None:
    """With `cache_config` a second read of a key does not reach the server."""
    pool = threads.pool(**at, protocol=3, cache_config=CacheConfig(max_size=100))
    client = threads.client(pool)
    client.set("foo", "bar")
    assert client.get("foo") == b"bar"
    before = watch.calls("get")
    assert [client.get("foo") for _ in range(5)] == [b"bar"] * 5
    assert watch.calls("get") == before
    assert pool.cache.size == 1


@pytest.mark.needs("client-side caching")
@pytest.mark.usefixtures("any_server_may_cache")
def test_a_change_invalidates_the_cache(threads: Face, at: dict[str, Any], watch: Watch) -> None:
    """A key that another client has changed is read anew."""
    pool = threads.pool(**at, protocol=3, cache_config=CacheConfig(), max_connections=2)
    client = threads.client(pool)
    for number in range(20):
        watch.client.set("foo", number)
        assert eventually(lambda number=number: client.get("foo") == b"%d" % number)  # type: ignore[misc]


@pytest.mark.needs("client-side caching")
@pytest.mark.usefixtures("any_server_may_cache")
def test_a_cache_under_many_threads(threads: Face, at: dict[str, Any]) -> None:
    """Many threads over few connections and one cache: every read is of the key asked for, and no caller hangs."""
    pool = threads.pool(**at, protocol=3, cache_config=CacheConfig(), max_connections=4)
    client = threads.client(pool)
    client.mset({f"key:{number}": number for number in range(8)})

    def read(number: int) -> None:
        for turn in range(40):
            assert client.get(f"key:{number}") == b"%d" % number
            if turn % 10 == 9:
                client.set(f"key:{number}", number)

    assert [doing.error for doing in together(8, read)] == [None] * 8
    assert pool.stats().in_use == 0


@pytest.mark.needs("client-side caching")
@pytest.mark.parametrize(
    ("server", "version", "may"),
    [("redis", "7.2.5", False), ("redis", "7.4.0", True), ("redis", "8.2.3", True), ("valkey", "7.2.11", False),
     ("valkey", "8.0.0", True), ("valkey", "9.1.2", True), ("redict", "7.3.6", False)],
)  # fmt: skip
@pytest.mark.parametrize("decode", [False, True], ids=["bytes", "text"])
def test_a_cache_needs_a_server_that_is_able_to(
    threads: Face, scripted: ScriptedServer, server: str, version: str, may: bool, decode: bool
) -> None:
    """Redis from 7.4 on, as redis-py has it, and Valkey from 8.0 on; of others the error tells what they are."""
    facts = f"%3\r\n+server\r\n+{server}\r\n+version\r\n+{version}\r\n+proto\r\n:3\r\n"
    scripted.answer("HELLO", Raw(facts.encode()))
    at = {"host": scripted.host, "port": scripted.port}
    pool = threads.pool(**at, cache_config=CacheConfig(), protocol=3, decode_responses=decode)
    if may:
        assert threads.client(pool).set("key", "value")
    else:
        with pytest.raises(redis.ConnectionError, match=rf"Valkey 8.*{server} {version}"):
            threads.client(pool).set("key", "value")
    assert pool.stats().in_use == 0


@pytest.mark.needs("client-side caching")
def test_a_cache_needs_the_newer_protocol(threads: Face, at: dict[str, Any]) -> None:
    """A cache with RESP2, or one that is none, is refused at construction."""
    with pytest.raises(redis.RedisError, match="protocol"):
        threads.pool(**at, protocol=2, cache_config=CacheConfig())
    with pytest.raises((ValueError, TypeError), match="cache"):
        threads.pool(**at, protocol=3, cache={})
    assert isinstance(threads.pool(**at, protocol=3, cache_config=CacheConfig()).cache, CacheInterface)


# -- cluster -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster_server() -> Iterator[embedded.Server]:
    """A cluster of one node that has all slots."""
    with (
        embedded.start(args=("--cluster-enabled", "yes")) as server,
        redis.Redis.from_url(server.url, decode_responses=True) as node,
    ):
        node.execute_command("CLUSTER ADDSLOTS", *range(16384))
        assert eventually(lambda: "cluster_state:ok" in str(node.execute_command("CLUSTER INFO")) or _ok(node))
        yield server


def _ok(node: Any) -> bool:
    info = node.execute_command("CLUSTER INFO")
    return isinstance(info, dict) and info.get("cluster_state") == "ok"


@pytest.mark.filterwarnings("ignore:.*cluster_error_retry_attempts:DeprecationWarning")  # of redis-py 6.0's own
def test_a_cluster_over_our_pool(cluster_server: embedded.Server) -> None:
    """`connection_pool_class=` gives each node a pool of ours: commands, pipelines and many threads work."""
    cluster = redis.RedisCluster.from_url(
        cluster_server.url, connection_pool_class=redpool.ConnectionPool, max_connections=3, timeout=PATIENCE
    )
    try:
        cluster.set("foo", "bar")
        assert cluster.get("foo") == b"bar"
        with cluster.pipeline() as pipe:
            pipe.set("a", 1).set("b", 2).get("a")
            assert pipe.execute() == [True, True, b"1"]
        doings = together(12, lambda _: [cluster.incr("n") for _ in range(20)])
        assert [doing.error for doing in doings] == [None] * 12
        assert cluster.get("n") == b"240"
        (node,) = cluster.get_primaries()
        pool = node.redis_connection.connection_pool
        assert isinstance(pool, redpool.ConnectionPool)
        assert pool.stats().open <= 3
        assert pool.stats().in_use == 0
    finally:
        cluster.close()
        for node in cluster.get_nodes():
            node.redis_connection.connection_pool.close()


def test_pub_sub_in_a_cluster(cluster_server: embedded.Server) -> None:
    """A subscription takes a connection of the node's pool and gives it back."""
    cluster = redis.RedisCluster.from_url(cluster_server.url, connection_pool_class=redpool.ConnectionPool)
    try:
        with cluster.pubsub() as pubsub:
            pubsub.subscribe("news")
            assert pubsub.get_message(timeout=10)["type"] == "subscribe"
            publishing = Doing(lambda: cluster.publish("news", "one"))
            assert eventually(lambda: (pubsub.get_message(timeout=1) or {}).get("data") == b"one")
            publishing.result()
    finally:
        cluster.close()
        for node in cluster.get_nodes():
            node.redis_connection.connection_pool.close()
