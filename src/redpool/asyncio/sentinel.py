"""redis-py's Sentinel for event loops, whose clients share their connections to the master or to the replicas."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar, overload

import redis.asyncio.sentinel as theirs
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError

from ..deadline import deadline
from ..redispy import sharing
from ..wire.pipeline import Request
from .client import Redis
from .connection import MultiplexedConnection
from .connections import MultiplexedConnections
from .engine import Engine
from .multiplexed import MultiplexedConnectionPool

_Client = TypeVar("_Client")


class ManagedConnection(theirs.SentinelManagedConnection):
    """redis-py's connection to wherever Sentinel says; what a demoted master has refused may be sent again."""

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """As in redis-py, but that the address is asked for, too, where a broken connection is opened again."""
        if retry_socket_connect:
            await self._connect_retry()  # type: ignore[no-untyped-call]
        else:
            await super().connect_check_health(check_health, retry_socket_connect)

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """As in redis-py."""
        try:
            return await super().read_response(*args, **kwargs)
        except RedisConnectionError as error:
            if isinstance(error.__context__, ReadOnlyError):
                raise sharing.Demoted from error
            raise


class ManagedSSLConnection(ManagedConnection, theirs.SentinelManagedSSLConnection):
    """The same over TLS."""


class _Service:
    """What a pool's connections ask for the address when they are connected."""

    rotate_slaves: Any = theirs.SentinelConnectionPool.rotate_slaves

    def __init__(
        self, pool: SentinelConnectionPool, is_master: bool, check_connection: bool, name: str, sentinel: Any
    ) -> None:
        self.pool = weakref.ref(pool)
        self.is_master, self.check_connection = is_master, check_connection
        self.service_name, self.sentinel_manager = name, sentinel
        self.reset()

    def reset(self) -> None:
        """Nothing is known."""
        self.master_address: Any = None
        self.slave_rr_counter: int | None = None

    async def get_master_address(self) -> Any:
        """Where the master is now; where it is another one, the connections to the last one are replaced."""
        address = await self.sentinel_manager.discover_master(self.service_name)
        before, self.master_address = self.master_address, address
        pool = self.pool()
        if self.is_master and before not in (None, address) and pool is not None:
            pool.drain()
        return address


class _MultiplexedConnections(MultiplexedConnections):
    """They notice that the master has become a replica."""

    service: _Service

    async def execute(self, request: Request, limit: deadline | None) -> Any:
        before = self._generation()
        return self._looked_at(await super().execute(request, limit), request, before)

    async def wait(self, connection: MultiplexedConnection, request: Request) -> Any:
        before = connection.connection._redpool.slot.generation
        return self._looked_at(await super().wait(connection, request), request, before)

    def _looked_at(self, replies: Any, request: Request, before: int | None) -> Any:
        if self.service.is_master and sharing.refused(replies):
            pool = self.service.pool()
            if pool is not None and before == self._generation():  # else a caller has seen to it
                pool.drain()
                self.service.reset()  # the next connect has nothing to replace
            if sharing.may_start_over(request, replies, self.config.retry_sent):
                raise sharing.Demoted
        return replies

    def _generation(self) -> int | None:
        core = self._core()
        return None if core is None else core.generation


class SentinelConnectionPool(MultiplexedConnectionPool):
    """redis-py's `redis.asyncio.sentinel.SentinelConnectionPool`, with shared connections.

    Options: those of `MultiplexedConnectionPool`, and redis-py's `is_master` (True), `check_connection` (False) and
    `ssl` (False). Once there is another master, what goes to the last one is replaced.
    """

    _multiplexed_class = _MultiplexedConnections

    def __init__(self, service_name: str, sentinel_manager: Any, **kwargs: Any) -> None:
        self.service_name, self.sentinel_manager = service_name, sentinel_manager
        self.is_master = kwargs.pop("is_master", True)
        self.check_connection = kwargs.pop("check_connection", False)
        self._service = _Service(self, self.is_master, self.check_connection, service_name, sentinel_manager)
        self.get_master_address = self._service.get_master_address
        self.rotate_slaves = self.rotate_replicas = self._service.rotate_slaves
        if kwargs.get("name") is None:
            kwargs["name"] = f"{service_name}{'' if self.is_master else ' replicas'}/{kwargs.get('db', 0)}"
        kwargs.setdefault("connection_class", ManagedSSLConnection if kwargs.pop("ssl", False) else ManagedConnection)
        super().__init__(**kwargs, connection_pool=self._service)

    def _class_shares(self) -> bool:
        return issubclass(self.connection_class, ManagedConnection) and not self._factory.tracking_class.foreign

    def make_multiplexed(self, engine: Engine) -> Any:
        """Return what a new engine shares."""
        multiplexed: Any = super().make_multiplexed(engine)
        multiplexed.service = self._service
        return multiplexed

    def reset(self) -> None:
        """Begin anew, with no connection, and no master known."""
        super().reset()
        self._service.reset()

    def starts_over(self, request: Request | None) -> bool:
        """Return that nothing does: Sentinel says when there is another master, and a replica refuses all writes."""
        return False

    @property
    def master_address(self) -> Any:
        """Host and port of the master that was found last; `None` before."""
        return self._service.master_address


class Sentinel(theirs.Sentinel):
    """redis-py's `redis.asyncio.sentinel.Sentinel`; its clients are `redpool.asyncio.Redis` over a pool that follows.

    Options of the pool may stand beside those of the connections, here and in `master_for` and `slave_for`::

        sentinel = redpool.asyncio.Sentinel([("localhost", 26379)], socket_timeout=0.5, max_connections=20)
        master = sentinel.master_for("mymaster")
    """

    def __init__(self, sentinels: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sentinels, *args, **kwargs)  # type: ignore[no-untyped-call]
        self.sentinels = [Redis(host=host, port=port, **self.sentinel_kwargs) for host, port in sentinels]

    @overload
    def master_for(
        self, service_name: str, redis_class: Callable[..., _Client], *args: Any, **kwargs: Any
    ) -> _Client: ...

    @overload
    def master_for(
        self, service_name: str, redis_class: Any = ..., connection_pool_class: Any = ..., **kwargs: Any
    ) -> Redis: ...

    def master_for(
        self,
        service_name: str,
        redis_class: Any = Redis,
        connection_pool_class: Any = SentinelConnectionPool,
        **kwargs: Any,
    ) -> Any:
        """As in redis-py: a client of the master, wherever it is."""
        return super().master_for(service_name, redis_class, connection_pool_class, **kwargs)

    @overload
    def slave_for(
        self, service_name: str, redis_class: Callable[..., _Client], *args: Any, **kwargs: Any
    ) -> _Client: ...

    @overload
    def slave_for(
        self, service_name: str, redis_class: Any = ..., connection_pool_class: Any = ..., **kwargs: Any
    ) -> Redis: ...

    def slave_for(
        self,
        service_name: str,
        redis_class: Any = Redis,
        connection_pool_class: Any = SentinelConnectionPool,
        **kwargs: Any,
    ) -> Any:
        """As in redis-py: a client of the replicas, each new connection going to the next one."""
        return super().slave_for(service_name, redis_class, connection_pool_class, **kwargs)

    replica_for = slave_for
