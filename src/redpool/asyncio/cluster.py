"""redis-py's cluster client for event loops, with a pool of ours for each node.

redis-py's nodes keep connections of their own there. Here they keep virtual ones, which cost nothing while unused.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from contextvars import ContextVar
from typing import Any, Self, Unpack

import redis.asyncio.cluster as theirs
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..deadline import current
from ..redispy import internals, packing, recording, sharing
from ..redispy.cluster import EARLIER, FIRST, OF_THE_CALLER, REFUSED, ShortcutCluster, tries_again
from ..redispy.keywords import LoopClusterOptions
from ..redispy.options import as_redis
from ..redispy.sentinel import check_settled
from ..wire.pipeline import Request
from .connections import MultiplexedConnections
from .multiplexed import MultiplexedConnectionPool
from .virtual import VirtualConnection

_get = dict.get
_monotonic = time.monotonic
_recorder, _theirs, _node_class = internals.RECORDER, theirs.RedisCluster, theirs.ClusterNode
_execute = internals.original(_theirs, "execute_command")
_execute_at_node = internals.original(_node_class, "execute_command")

# The pool over which the running task has said ASKING: redis-py has it and the command in two calls.
_guarded: ContextVar[object] = ContextVar("redpool_asking", default=None)


class RedisCluster(ShortcutCluster, theirs.RedisCluster):  # type: ignore[misc]  # redis-py's own bases disagree
    """redis-py's `redis.asyncio.RedisCluster` over shared connections; every command and option of it works.

    Each node has a `redpool.asyncio.MultiplexedConnectionPool`, whose options are taken beside redis-py's:
    `redpool.asyncio.RedisCluster(host="localhost", port=7000, max_connections=20)` allows 20 connections to each node.
    What a pipeline has sent is sent again only where `retry_sent` allows it.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | str = 6379,
        startup_nodes: list[theirs.ClusterNode] | None = None,
        *args: Any,
        **kwargs: Unpack[LoopClusterOptions],
    ) -> None:
        names, others = MultiplexedConnectionPool.option_names(), dict[str, Any](kwargs)
        options = {name: others.pop(name) for name in names if name in others}
        MultiplexedConnectionPool.check_options(options)  # else redis-py would say that no node can be reached
        others["max_connections"] = sys.maxsize  # the nodes' pools have a limit of their own
        super().__init__(host, port, startup_nodes, *args, **others)
        self._pools = _Pools(self.connection_kwargs["connection_class"], options, tries_again(others))
        self.connection_kwargs["connection_class"] = self._pools
        for node in self.nodes_manager.startup_nodes.values():
            node.connection_class = self._pools
        self._prepare(sharing.sharing_names(options.get("shareable_commands", ())), theirs.RedisCluster)

    @classmethod
    def from_url(cls, url: str, **kwargs: Unpack[LoopClusterOptions]) -> Self:  # type: ignore[override]  # fewer
        """Return a client for the cluster of the server at `url`, as in redis-py."""
        options: dict[str, Any] = dict(kwargs)
        client = super().from_url(as_redis(url), **options)
        assert isinstance(client, cls)
        return client

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command and return its reply, as in redis-py."""
        if (
            self._initialize
            or _theirs.execute_command is not _execute
            or _node_class.execute_command is not _execute_at_node
            or (node := self._node_of(args, options)) is None
            or (pool := self._pools.by_name.get(node.name)) is None
            or not (pool.sharing or pool.may_share())
        ):
            return await super().execute_command(*args, **options)
        started = None if _recorder._provider_manager is None else _monotonic()
        request = Request(args, packing.pack(args))
        try:
            reply = await pool.multiplexed_here().execute(request, current())
            if type(reply) not in packing.USUAL:
                if isinstance(reply, ReadOnlyError) and pool.starts_over(request):
                    reply = await pool.multiplexed_here().execute(request.again(), current())
                reply = packing.reply(reply)
        except OF_THE_CALLER as error:
            _note(pool, args[0], started, error)
            raise
        except Exception as error:
            first = [(node, error, self.nodes_manager.slots_cache)]
        else:
            callback = _get(node.response_callbacks, args[0])
            try:
                if callback is not None:
                    options.pop("keys", None)
                    reply = callback(reply, **options)
            except Exception as error:
                _note(pool, args[0], started, error)
                raise
            if started is not None:
                _note(pool, args[0], started)
            return reply
        earlier = EARLIER.set(0.0 if started is None else _monotonic() - started)
        try:
            return await super().execute_command(*args, **{**options, FIRST: first})
        finally:
            EARLIER.reset(earlier)
            first.clear()  # else the error and this frame, which holds the pool, would keep each other

    async def _record_command_metric(
        self, command_name: str, duration_seconds: float, *about: Any, **more: Any
    ) -> None:
        await super()._record_command_metric(command_name, duration_seconds + EARLIER.get(), *about, **more)

    async def _execute_command(self, target_node: Any, *args: Any, **options: Any) -> Any:
        """Go on from what the shorter way has met, where it has tried first and no table was read anew since."""
        if first := options.pop(FIRST, None):
            node, error, slots = first.pop()
            try:
                if slots is self.nodes_manager.slots_cache:
                    target_node = _Answered(node, error)
                elif not isinstance(error, REFUSED):
                    raise error
            finally:
                del error
        return await super()._execute_command(target_node, *args, **options)

    async def aclose(self) -> None:
        """Close the client, as in redis-py: commands in flight are answered."""
        await super().aclose()
        for pool in list(self._pools.by_name.values()):
            await pool.aclose()

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> theirs.ClusterPipeline:
        """Return a pipeline, as in redis-py."""
        pipe = super().pipeline(transaction, shard_hint)
        pipe._execution_strategy = _TransactionStrategy(pipe) if transaction else _PipelineStrategy(pipe)
        return pipe


def _note(pool: Any, name: str, started: float | None, error: Exception | None = None) -> None:
    """Record a command that went straight to its node, if redis-py's recorder was on as it began."""
    commands = None if started is None else recording.commands_of(pool.multiplexed, pool._template, True)
    if commands is not None and started is not None:
        commands.ended(name, _monotonic() - started, error)


class _Pools:
    """The nodes' pools; in the place of a connection class it makes virtual connections over them."""

    def __init__(self, connection_class: Any, options: dict[str, Any], again: bool) -> None:
        self.by_name: dict[str, MultiplexedConnectionPool] = {}  # as redis-py names the nodes
        self._connection_class, self._options, self._again = connection_class, options, again

    def __call__(self, **kwargs: Any) -> NodeConnection:
        host, port = kwargs["host"], kwargs["port"]
        name = f"{host}:{port}"
        if name not in self.by_name:
            options = {**internals.node_options(kwargs), **self._options}
            pool = MultiplexedConnectionPool(connection_class=self._connection_class, **options)
            if self._again:
                pool.retried_by_client()
            self.by_name[name] = pool
        connection: NodeConnection = _kept(self.by_name[name], host, port)
        return connection


class _Answered:
    """A node that has answered: the first command that redis-py sends it meets what was met there before."""

    def __init__(self, node: Any, error: Exception) -> None:
        self._node, self._met = node, [error]

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if self._met:
            raise self._met.pop()
        return await self._node.execute_command(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)


class NodeConnection(VirtualConnection):
    """A virtual connection that a node of redis-py's keeps, and uses for one call after another."""

    _subscribes = False
    """it is a subscriber's, who has a last word to say to its connection once that is closed"""

    def __init__(self, pool: MultiplexedConnectionPool, host: Any, port: Any) -> None:
        self.pool = pool
        self.host, self.port, self.db, self.retry = host, port, 0, pool.retry_guard
        self.command, self.simple = None, True

    def __getattr__(self, name: str) -> Any:
        return self._of_bound(name)

    @property
    def _multiplexed(self) -> MultiplexedConnections:  # type: ignore[override]  # others, maybe, at each call
        return self.pool.multiplexed_here()

    # -- as a connection that a node keeps ---------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether it has a connection of its own."""
        return self.bound is not None

    def should_reconnect(self) -> bool:
        """Return whether anything is left of a call; redis-py asks between any two of them."""
        return bool(self.bound is not None or self.command or self._request or self._sent or self._ahead)

    def mark_for_reconnect(self) -> None:
        """As in redis-py; what others share is looked after by the pool."""
        if self.bound is not None:
            self.bound.mark_for_reconnect()

    async def connect(self) -> None:
        """As in redis-py: a subscriber needs a connection of its own."""
        await self._own()
        self._subscribes = True

    async def disconnect(self, *args: Any, **options: Any) -> None:
        """Return to the pool what a call had that is over, or has failed. A subscriber leaves it first."""
        if self._subscribes and self.bound is not None:
            self._subscribes = False
            await self.bound.disconnect(*args, **options)
        else:
            await self.pool.release(self)

    # Fieldsets are prepared over one connection, so that one that has none of its own has prepared none.

    @property
    def himport_registry(self) -> Any:  # type: ignore[override]  # an attribute in redis-py
        """redis-py's registry of fieldsets, where there are any."""
        registry = self.pool.connection_kwargs.get("himport_registry")
        return registry if registry is not None and registry.revision else None

    @property
    def _himport_prepared(self) -> Any:
        return {} if self.bound is None else self.bound._himport_prepared

    @property
    def _himport_reconciled_revision(self) -> Any:
        return self.himport_registry.revision if self.bound is None else self.bound._himport_reconciled_revision

    @_himport_reconciled_revision.setter
    def _himport_reconciled_revision(self, revision: Any) -> None:
        self.bound._himport_reconciled_revision = revision

    # -- a call ------------------------------------------------------------------------------------------------------

    def pack_command(self, *args: Any) -> Any:
        """As in redis-py; it is packed when it is sent."""
        return args

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """As in redis-py; what goes wrong is told with the replies, so that other nodes are waited for."""
        if type(command) is tuple:
            await self.send_command(*command)
            return
        expected = len(self._packed[1]) if self._packed is not None else 1
        try:
            await self._take_own_unless_shared()
            await super().send_packed_command(command, check_health)
        except (RedisConnectionError, RedisTimeoutError) as error:
            await self.disconnect()
            self._answer([error] * expected)

    async def send_command(self, *args: Any, **options: Any) -> None:
        """As in redis-py, but for what it says to a connection of which there may be others now."""
        if args[0] == "ASKING":
            _guarded.set(self.pool)
            self._answer([b"OK"])
        elif args[0] == "AUTH":
            self.pool.drain()
            self._answer([b"OK"])
        elif _guarded.get() is self.pool:
            _guarded.set(None)
            own = await self._own()
            await own.send_command("ASKING")
            await own.read_response()
            await own.send_command(*args)
        else:
            await self._take_own_unless_shared()
            await super().send_command(*args, **options)

    def _answer(self, replies: list[Any]) -> None:
        """Have these read next."""
        self._ahead, self.simple = deque(replies), False

    async def _take_own_unless_shared(self) -> None:
        if not (self.pool.sharing or self.pool.may_share()):
            await self._own()


_kept = internals.kept_by_nodes(NodeConnection)


class _PipelineStrategy(internals.AsyncPipelineStrategy):
    """redis-py's, which would take each error of a connection for a reason to send everything again."""

    def is_settled(self, error: object) -> bool:
        """Return whether no other node is to be asked after this error."""
        return sharing.settled(error)

    async def execute(self, raise_on_error: bool = True, allow_redirections: bool = True) -> list[Any]:
        stack, client = self._command_queue, self._pipe.cluster_client
        await super().execute(False, allow_redirections)
        for command in stack:
            if isinstance(command.result, client.ERRORS_ALLOW_RETRY) and not sharing.settled(command.result):
                try:
                    command.result = await client.execute_command(*command.args, **command.kwargs)
                except RedisError as error:
                    command.result = error
        for command in stack if raise_on_error else ():
            if isinstance(command.result, Exception):
                raised, place = command.result, command.position + 1
                self._annotate_exception(raised, place, command.args)
                raise raised
        return [command.result for command in stack]


class _TransactionStrategy(internals.AsyncTransactionStrategy):
    async def _reinitialize_on_error(self, error: Any, *count: Any) -> None:
        check_settled(error)
        await super()._reinitialize_on_error(error, *count)
