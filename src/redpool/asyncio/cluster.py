"""redis-py's cluster client for event loops, with a pool of ours for each node.

redis-py's nodes keep connections of their own there. Here they keep virtual ones, which cost nothing while unused.
"""

from __future__ import annotations

import sys
from collections import deque
from contextvars import ContextVar
from typing import Any

import redis.asyncio.cluster as theirs
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..redispy import sharing
from ..redispy.sentinel import check_settled
from .connections import MultiplexedConnections
from .multiplexed import MultiplexedConnectionPool
from .virtual import VirtualConnection

# The pool over which the running task has said ASKING: redis-py has it and the command in two calls.
_guarded: ContextVar[object] = ContextVar("redpool_asking", default=None)


class RedisCluster(theirs.RedisCluster):
    """redis-py's `redis.asyncio.RedisCluster` over shared connections; every command and option of it works.

    Each node has a `redpool.asyncio.MultiplexedConnectionPool`, whose options are taken beside redis-py's:
    `redpool.asyncio.RedisCluster(host="localhost", port=7000, max_connections=20)` allows 20 connections to each node.
    What a pipeline has sent is sent again only where `retry_sent` allows it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names = MultiplexedConnectionPool.option_names()
        options = {name: kwargs.pop(name) for name in names if name in kwargs}
        super().__init__(*args, **kwargs, max_connections=sys.maxsize)  # type: ignore[misc]  # not in `args`
        self._pools = _Pools(self.connection_kwargs["connection_class"], options)
        self.connection_kwargs["connection_class"] = self._pools
        for node in self.startup_nodes:
            node.connection_class = self._pools  # type: ignore[assignment]  # it is only called

    async def aclose(self) -> None:
        """Close the client, as in redis-py: commands in flight are answered."""
        await super().aclose()
        for pool in self._pools.by_address.values():
            await pool.aclose()

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> theirs.ClusterPipeline:
        """Return a pipeline, as in redis-py."""
        pipe = super().pipeline(transaction, shard_hint)
        pipe._execution_strategy = _TransactionStrategy(pipe) if transaction else _PipelineStrategy(pipe)
        return pipe


class _Pools:
    """The nodes' pools; in the place of a connection class it makes virtual connections over them."""

    def __init__(self, connection_class: Any, options: dict[str, Any]) -> None:
        self.by_address: dict[Any, MultiplexedConnectionPool] = {}
        self._connection_class, self._options = connection_class, options

    def __call__(self, **kwargs: Any) -> NodeConnection:
        address = kwargs["host"], kwargs["port"]
        if address not in self.by_address:
            pool = MultiplexedConnectionPool(connection_class=self._connection_class, **kwargs, **self._options)
            self.by_address[address] = pool
        return NodeConnection(self.by_address[address], *address)


class NodeConnection(VirtualConnection):
    """A virtual connection that a node of redis-py's keeps, and uses for one call after another."""

    _subscribes = False
    """it is a subscriber's, who has a last word to say to its connection once that is closed"""

    def __init__(self, pool: MultiplexedConnectionPool, host: Any, port: Any) -> None:
        self.pool = pool
        self.host, self.port, self.db, self.retry = host, port, 0, pool.retry_guard

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
        return bool(self.bound is not None or self._request or self._sent or self._ahead)

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
            self._ahead = deque([error] * expected)

    async def send_command(self, *args: Any, **options: Any) -> None:
        """As in redis-py, but for what it says to a connection of which there may be others now."""
        if args[0] == "ASKING":
            _guarded.set(self.pool)
            self._ahead = deque([b"OK"])
        elif args[0] == "AUTH":
            self.pool.drain()
            self._ahead = deque([b"OK"])
        elif _guarded.get() is self.pool:
            _guarded.set(None)
            own = await self._own()
            await own.send_command("ASKING")
            await own.read_response()
            await own.send_command(*args)
        else:
            await self._take_own_unless_shared()
            await super().send_command(*args, **options)

    async def _take_own_unless_shared(self) -> None:
        if not (self.pool.sharing or self.pool.may_share()):
            await self._own()


class _PipelineStrategy(theirs.PipelineStrategy):
    """redis-py's, which would take each error of a connection for a reason to send everything again."""

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


class _TransactionStrategy(theirs.TransactionStrategy):
    async def _reinitialize_on_error(self, error: Any, failure_count: int) -> None:
        check_settled(error)
        await super()._reinitialize_on_error(error, failure_count)
