"""The keywords that type checkers know are those that pools, clients and redis-py's connections take."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster

from redpool.core.config import MultiplexedConfig, PoolConfig
from redpool.redispy import keywords

# A pool gives these to its connections by itself.
OWN = {
    "maint_notifications_config", "maint_notifications_pool_handler", "maintenance_state",
    "maintenance_notification_hash", "orig_host_address", "orig_socket_timeout", "orig_socket_connect_timeout",
    "oss_cluster_maint_notifications_handler",
}  # fmt: skip
# What pools take beside what is for connections.
POOLS = {"cache", "cache_config", "queue_class"}
# What redis-py before 6.0 has of old, under other names.
OLD = {"charset", "errors"}
# An earlier redis-py lacks some of the names.
COMPLETE = redis.VERSION >= (8, 1)


def named(options: Any) -> set[str]:
    return set(options.__annotations__)


def taken(*callables: Any) -> set[str]:
    """The names of what these take by name."""
    several = (inspect.signature(each).parameters.values() for each in callables)
    return {each.name for found in several for each in found if each.kind is not each.VAR_KEYWORD} - {"self"}


@pytest.mark.parametrize(
    ("options", "module"),
    [(keywords.ThreadOptions, redis.connection), (keywords.LoopOptions, redis.asyncio.connection)],
    ids=["threads", "tasks"],
)
def test_those_of_connections(options: Any, module: Any) -> None:
    """None is missing, and none is made up."""
    classes = (module.AbstractConnection, module.Connection, module.SSLConnection, module.UnixDomainSocketConnection)
    theirs = taken(*(each.__init__ for each in classes)) - OWN
    ours = named(options) - PoolConfig.names()
    assert theirs <= ours
    assert not COMPLETE or ours - theirs <= POOLS | {"encoder_class"}


@pytest.mark.parametrize(
    ("options", "config"), [(keywords.PoolOptions, PoolConfig), (keywords.SharingOptions, MultiplexedConfig)]
)
def test_those_of_pools(options: Any, config: Any) -> None:
    """With the types that the configuration has, or wider ones where it takes more at the door."""
    wider = {
        "name": "str | None",
        "service": "str | None",
        "instruments": "Iterable[object]",
        "shareable_commands": "Iterable[str]",
    }
    base = set() if config is PoolConfig else PoolConfig.names()
    known = {each.name: each.type for each in fields(config) if each.name not in base | {"max_connections"}}
    found = {name: each.__forward_arg__ for name, each in options.__annotations__.items()}
    assert found == {name: wider.get(name, kind) for name, kind in known.items()}


@pytest.mark.parametrize(
    ("options", "client"),
    [(keywords.ClientOptions, redis.Redis), (keywords.LoopClientOptions, redis.asyncio.Redis)],
    ids=["threads", "tasks"],
)
def test_those_of_clients(options: Any, client: Any) -> None:
    """All that redis-py's client takes, and the pool's."""
    assert taken(client.__init__) - {"oss_cluster_maint_notifications_handler"} - OLD <= named(options)
    assert MultiplexedConfig.names() <= named(options)


@pytest.mark.parametrize(
    ("options", "module", "further"),
    [
        (keywords.ClusterOptions, redis.cluster, {*redis.cluster.REDIS_ALLOWED_KEYS}),
        (keywords.LoopClusterOptions, redis.asyncio.cluster, set[str]()),
    ],
    ids=["threads", "tasks"],
)
def test_those_of_clusters(options: Any, module: Any, further: set[str]) -> None:
    """All that redis-py's client takes, but for its nodes and for what has no meaning there, and the pools'."""
    elsewhere = {"host", "port", "startup_nodes", "connection_pool", "connection_pool_class"}
    senseless = {"unix_socket_path", "nodes_flag"}
    theirs = taken(module.RedisCluster.__init__) | further
    assert not COMPLETE or theirs - elsewhere - senseless <= named(options)
    assert MultiplexedConfig.names() <= named(options)
    assert not COMPLETE or named(options) - MultiplexedConfig.names() <= theirs


@pytest.mark.parametrize(
    ("options", "connections"),
    [
        (keywords.SentinelOptions, keywords.SharedThreadOptions),
        (keywords.LoopSentinelOptions, keywords.SharedLoopOptions),
    ],
    ids=["threads", "tasks"],
)
def test_those_of_sentinel(options: Any, connections: Any) -> None:
    """All of a pool, but for where the server is: that is what Sentinel says."""
    assert named(connections) - named(options) == {"host", "port", "path", "queue_class"}
    assert named(options) - named(connections) == {
        "check_connection", "ssl", "max_connections", "maint_notifications_config",
    }  # fmt: skip
