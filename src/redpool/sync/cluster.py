"""redis-py's cluster client for threads, with a pool of ours for each node."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self, Unpack, overload

import redis.client
import redis.cluster as theirs
from redis.exceptions import ReadOnlyError, RedisClusterException, RedisError

from ..deadline import current
from ..errors import DeadlineExceeded, ReplyLost
from ..forks import begin_in_child, in_child, same_process
from ..redispy import clients, internals, packing, recording, sharing
from ..redispy.cluster import EARLIER, FIRST, OF_THE_CALLER, ShortcutCluster, tries_again
from ..redispy.keywords import ClusterOptions, ClusterUrlOptions
from ..redispy.options import as_redis, check_cluster_names
from ..redispy.sentinel import check_settled
from ..wire.pipeline import Request
from .connections import Reentered
from .multiplexed import MultiplexedConnectionPool
from .virtual import VirtualConnection

_get, _monotonic = dict.get, time.monotonic
_same_process = same_process
_recorder, _theirs, _client_class = internals.RECORDER, theirs.RedisCluster, redis.client.Redis
_execute = internals.original(_theirs, "execute_command")
_parse = internals.original(_client_class, "parse_response")


class RedisCluster(ShortcutCluster, theirs.RedisCluster):
    """redis-py's `redis.RedisCluster` over shared connections; every command and option of it works.

    Each node has a `redpool.MultiplexedConnectionPool`, whose options are taken beside redis-py's:
    `redpool.RedisCluster(host="localhost", port=7000, max_connections=20)` allows 20 connections to each node. A
    `connection_pool_class` takes its place, as in redis-py. What a pipeline has sent is sent again only where
    `retry_sent` allows it.
    """

    @overload
    def __init__(
        self,
        host: str | None = ...,
        port: int = ...,
        startup_nodes: Sequence[theirs.ClusterNode] | None = ...,
        *args: Any,
        **kwargs: Unpack[ClusterOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        host: str | None = ...,
        port: int = ...,
        startup_nodes: Sequence[theirs.ClusterNode] | None = ...,
        *args: Any,
        connection_pool_class: Callable[..., Any],
        **kwargs: Any,
    ) -> None: ...
    def __init__(
        self, host: str | None = None, port: int = 6379, startup_nodes: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        sharing_names: frozenset[str] = frozenset()
        if kwargs.get("url") is not None:
            kwargs["url"] = as_redis(kwargs["url"])
        if "connection_pool_class" not in kwargs:
            sharing_names = sharing.sharing_names(kwargs.get("shareable_commands", ()))
            names = MultiplexedConnectionPool.option_names()
            if kwargs.get("max_connections") != "auto":  # else redis-py makes of it what each node is to have
                names -= {"max_connections"}
            check_cluster_names(kwargs, names)
            MultiplexedConnectionPool.check_options(kwargs)  # else redis-py would say that no node can be reached
            options = {name: kwargs.pop(name) for name in names if name in kwargs}
            kwargs["connection_pool_class"] = partial(
                _node_pool, options, kwargs.get("url") is not None, tries_again(kwargs)
            )
            if kwargs.get("url") is None and (host is not None or startup_nodes):
                # redis-py asks for the class only where it was given a URL.
                first = (host, port) if host is not None else (startup_nodes[0].host, startup_nodes[0].port)
                kwargs["url"] = "redis://[{}]:{}".format(*first) if ":" in first[0] else "redis://{}:{}".format(*first)
                startup_nodes = list(startup_nodes or ())
        super().__init__(host, port, startup_nodes, *args, **kwargs)
        handler = getattr(self, "_oss_cluster_maint_notifications_handler", None)
        if handler is not None:
            handler.cluster_client = weakref.proxy(self)
        self._prepare(sharing_names, theirs.RedisCluster)
        _living.add(self)

    @overload  # type: ignore[override]  # it refuses what would fail
    @classmethod
    def from_url(cls, url: str, **kwargs: Unpack[ClusterUrlOptions]) -> Self: ...
    @overload
    @classmethod
    def from_url(cls, url: str, *, connection_pool_class: Callable[..., Any], **kwargs: Any) -> Self: ...
    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Self:
        """Return a client for the cluster of the server at `url`, as in redis-py."""
        return cls(url=url, **kwargs)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command and return its reply, as in redis-py."""
        if (
            _theirs.execute_command is not _execute
            or _client_class.parse_response is not _parse
            or (node := self._node_of(args, options)) is None
            or (client := node.redis_connection) is None
            or not ((pool := client.connection_pool).sharing or pool.may_share())
        ):
            if not _same_process[0]:
                begin_in_child()
            return super().execute_command(*args, **options)
        started = None if _recorder._provider_manager is None else _monotonic()
        request = Request(args, packing.pack(args))
        try:
            reply = pool._engine.multiplexed.execute(request, current())
            if type(reply) not in packing.USUAL:
                if isinstance(reply, ReadOnlyError) and pool.starts_over(request):
                    reply = pool._engine.multiplexed.execute(request.again(), current())
                reply = packing.reply(reply)
        except OF_THE_CALLER as error:
            _note(pool, args[0], started, error)
            raise
        except Reentered:
            first = []
        except Exception as error:
            first = [(node, client, error)]
        else:
            name = args[0]
            callback, further = _get(client.response_callbacks, name), _get(self.cluster_response_callbacks, name)
            try:
                if callback is not None or further is not None:
                    reply = _called(callback, further, reply, options)
            except Exception as error:
                _note(pool, name, started, error)
                raise
            if started is not None:
                _note(pool, name, started)
            return reply
        earlier = EARLIER.set(0.0 if started is None else _monotonic() - started)
        try:
            return super().execute_command(*args, **{**options, FIRST: first})
        finally:
            EARLIER.reset(earlier)
            first.clear()  # else the error and this frame, which holds the pool, would keep each other

    def _record_command_metric(self, command_name: str, duration_seconds: float, *about: Any, **more: Any) -> None:
        super()._record_command_metric(command_name, duration_seconds + EARLIER.get(), *about, **more)

    def _execute_command(self, target_node: Any, *args: Any, **options: Any) -> Any:
        """Go on from what the shorter way has met, where it has tried first."""
        if first := options.pop(FIRST, None):
            target_node = _Answered(*first.pop())
        try:
            return super()._execute_command(target_node, *args, **options)
        except RedisClusterException as error:  # no node tells who has which slots now
            met = error.__context__
            if isinstance(met, ReplyLost | DeadlineExceeded):
                raise met from met.__cause__
            raise

    def get_redis_connection(self, node: Any) -> Any:
        """Return the client of a node, as in redis-py."""
        return node.client() if type(node) is _Answered else super().get_redis_connection(node)

    def close(self) -> None:
        """Close the client, as in redis-py: commands in flight are answered, and the next command connects again."""
        super().close()
        if (nodes := getattr(self, "nodes_manager", None)) is None:  # it was refused before it had any
            return
        for node in list(nodes.nodes_cache.values()):
            pool = None if node.redis_connection is None else node.redis_connection.connection_pool
            if isinstance(pool, _NodePool):
                pool.close()

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> theirs.ClusterPipeline:
        """Return a pipeline, as in redis-py."""
        if not _same_process[0]:
            begin_in_child()
        pipe: theirs.ClusterPipeline = super().pipeline(transaction, shard_hint)
        pipe._execution_strategy = _TransactionStrategy(pipe) if transaction else _PipelineStrategy(pipe)
        return pipe


_living: weakref.WeakSet[RedisCluster] = weakref.WeakSet()


def _begin_in_child() -> None:
    for client in list(_living):
        internals.renew_locks(client)


in_child(_begin_in_child)


def _note(pool: Any, name: str, started: float | None, error: Exception | None = None) -> None:
    """Record a command that went straight to its node, if redis-py's recorder was on as it began."""
    commands = None if started is None else recording.commands_of(pool._engine.multiplexed, pool._template, False)
    if commands is not None and started is not None:
        commands.ended(name, _monotonic() - started, error)


def _called(callback: Any, further: Any, reply: Any, options: dict[str, Any]) -> Any:
    options.pop("keys", None)
    if callback is not None:
        reply = callback(reply, **options)
    return reply if further is None else further(reply, **options)


class _Answered:
    """A node that has answered: the first command that redis-py sends it meets what was met there before."""

    def __init__(self, node: Any, client: Any, error: Exception) -> None:
        self._node, self._client, self._met = node, client, [error]

    def client(self) -> Any:
        return _AnsweredClient(self._client.connection_pool, self._met.pop()) if self._met else self._client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)


class _AnsweredClient:
    """What redis-py takes for the client of such a node: it has a connection, which takes no command."""

    def __init__(self, pool: Any, error: Exception) -> None:
        self.connection_pool = pool
        self.connection = pool._virtual(pool._engine.multiplexed)
        self.connection.met = error


class _EagerConnection(VirtualConnection):
    """Sends a pipeline before it is asked for the replies: those to several nodes are under way together."""

    met: Exception | None = None
    """what its first command has met already"""

    def send_command(self, *args: Any, **options: Any) -> None:
        if self.met is not None:
            error, self.met = self.met, None
            try:
                raise error
            finally:
                del error  # else it and this frame, which holds the pool, would keep each other
        super().send_command(*args, **options)

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        super().send_packed_command(command, check_health)
        if self._request is not None:
            self._send()


class _NodePool(MultiplexedConnectionPool):
    _virtual_class = _EagerConnection


def _node_pool(options: dict[str, Any], from_url: bool, again: bool, **asked: Any) -> _NodePool:
    """Make a node's pool, from what redis-py would make a pool with, or a client that tries `again` or not."""
    asked["redis_connect_func"] = _weakly(asked["redis_connect_func"])
    pool: _NodePool
    if from_url:
        pool = _NodePool(**{**asked, **options})
    else:
        pool = clients.make_pool(_client_class, _NodePool, (), {**asked, **options})
    if again:
        pool.retried_by_client()
    return pool


def _weakly(on_connect: Any) -> Any:
    """Not to keep the cluster's client, which keeps the pools, for the sake of their connections."""
    known = weakref.WeakMethod(on_connect)

    def call(connection: Any) -> None:
        (known() or type(connection).on_connect)(connection)

    return call


class _PipelineStrategy(internals.PipelineStrategy):
    """redis-py's, which would take each error of a connection for a reason to send everything again."""

    def send_cluster_commands(
        self, stack: Any, raise_on_error: bool = True, allow_redirections: bool = True
    ) -> list[Any]:
        begun = time.monotonic()
        results: list[Any] = super().send_cluster_commands(stack, False, allow_redirections)
        if raise_on_error:
            internals.raise_first_error(self, stack, begun)
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


class _TransactionStrategy(internals.TransactionStrategy):
    def _reinitialize_on_error(self, error: Any, *count: Any) -> None:
        check_settled(error)
        super()._reinitialize_on_error(error, *count)
