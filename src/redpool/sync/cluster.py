"""redis-py's cluster client for threads, with a pool of ours for each node."""

from __future__ import annotations

import time
import weakref
from functools import partial
from typing import Any

import redis.client
import redis.cluster as theirs
from redis.exceptions import RedisError

from ..redispy import clients, sharing
from ..redispy.sentinel import check_settled
from .multiplexed import MultiplexedConnectionPool
from .virtual import VirtualConnection


class RedisCluster(theirs.RedisCluster):
    """redis-py's `redis.RedisCluster` over shared connections; every command and option of it works.

    Each node has a `redpool.MultiplexedConnectionPool`, whose options are taken beside redis-py's:
    `redpool.RedisCluster(host="localhost", port=7000, max_connections=20)` allows 20 connections to each node. A
    `connection_pool_class` takes its place, as in redis-py. What a pipeline has sent is sent again only where
    `retry_sent` allows it.
    """

    def __init__(
        self, host: str | None = None, port: int = 6379, startup_nodes: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        if "connection_pool_class" not in kwargs:
            names = MultiplexedConnectionPool.option_names() - {"max_connections"}
            options = {name: kwargs.pop(name) for name in names if name in kwargs}
            kwargs["connection_pool_class"] = partial(_node_pool, options, kwargs.get("url") is not None)
            if kwargs.get("url") is None and (host is not None or startup_nodes):
                # redis-py asks for the class only where it was given a URL.
                first = (host, port) if host is not None else (startup_nodes[0].host, startup_nodes[0].port)
                kwargs["url"] = "redis://[{}]:{}".format(*first) if ":" in first[0] else "redis://{}:{}".format(*first)
                startup_nodes = list(startup_nodes or ())
        super().__init__(host, port, startup_nodes, *args, **kwargs)
        if self._oss_cluster_maint_notifications_handler is not None:
            self._oss_cluster_maint_notifications_handler.cluster_client = weakref.proxy(self)

    def close(self) -> None:
        """Close the client, as in redis-py: commands in flight are answered, and the next command connects again."""
        super().close()
        for node in self.nodes_manager.nodes_cache.values():
            pool = None if node.redis_connection is None else node.redis_connection.connection_pool
            if isinstance(pool, _NodePool):
                pool.close()

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> theirs.ClusterPipeline:
        """Return a pipeline, as in redis-py."""
        pipe: theirs.ClusterPipeline = super().pipeline(transaction, shard_hint)
        pipe._execution_strategy = _TransactionStrategy(pipe) if transaction else _PipelineStrategy(pipe)
        return pipe


class _EagerConnection(VirtualConnection):
    """Sends a pipeline before it is asked for the replies: those to several nodes are under way together."""

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        super().send_packed_command(command, check_health)
        if self.request is not None:
            self._send()


class _NodePool(MultiplexedConnectionPool):
    _virtual_class = _EagerConnection


def _node_pool(options: dict[str, Any], from_url: bool, **asked: Any) -> _NodePool:
    """Make a node's pool, from what redis-py would make a pool with, or a client."""
    asked["redis_connect_func"] = _weakly(asked["redis_connect_func"])
    if from_url:
        return _NodePool(**asked, **options)
    pool: _NodePool = clients.make_pool(redis.client.Redis, _NodePool, (), {**asked, **options})
    return pool


def _weakly(on_connect: Any) -> Any:
    """Not to keep the cluster's client, which keeps the pools, for the sake of their connections."""
    known = weakref.WeakMethod(on_connect)

    def call(connection: Any) -> None:
        (known() or type(connection).on_connect)(connection)

    return call


class _PipelineStrategy(theirs.PipelineStrategy):
    """redis-py's, which would take each error of a connection for a reason to send everything again."""

    def send_cluster_commands(
        self, stack: Any, raise_on_error: bool = True, allow_redirections: bool = True
    ) -> list[Any]:
        begun = time.monotonic()
        results: list[Any] = super().send_cluster_commands(stack, False, allow_redirections)
        if raise_on_error:
            self._raise_first_error(stack, begun)
        return results

    def _send_cluster_commands(
        self,
        stack: Any,
        raise_on_error: bool = True,  # noqa: ARG002  redis-py's signature
        allow_redirections: bool = True,
    ) -> list[Any]:
        super()._send_cluster_commands(stack, False, False)
        for command in stack if allow_redirections else ():
            if isinstance(command.result, self._pipe.ERRORS_ALLOW_RETRY) and not sharing.settled(command.result):
                try:
                    command.result = self._pipe.parent_execute_command(*command.args, **command.options)
                except RedisError as error:
                    command.result = error
        return [command.result for command in stack]


class _TransactionStrategy(theirs.TransactionStrategy):
    def _reinitialize_on_error(self, error: Any, failure_count: int) -> None:
        check_settled(error)
        super()._reinitialize_on_error(error, failure_count)
