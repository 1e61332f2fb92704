"""redis-py's Sentinel for threads, whose clients share their connections to the master or to the replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, Unpack, overload

import redis.sentinel as theirs
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError

from ..deadline import deadline
from ..redispy.keywords import SentinelOptions
from ..redispy.sentinel import Demoted, SentinelPool, Service, Watchful, as_theirs
from ..wire.pipeline import Request
from .client import Redis
from .connection import MultiplexedConnection
from .connections import MultiplexedConnections
from .multiplexed import MultiplexedConnectionPool

_Client = TypeVar("_Client")


class ManagedConnection(theirs.SentinelManagedConnection):
    """redis-py's connection to the address that Sentinel gives; what a demoted master rejects may be sent again."""

    def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """Connect as redis-py does, but ask Sentinel again where a broken connection connects anew."""
        if retry_socket_connect:
            self._connect_retry()
        else:
            super().connect_check_health(check_health, retry_socket_connect)

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read a reply as redis-py does."""
        try:
            return super().read_response(*args, **kwargs)
        except RedisConnectionError as error:
            if isinstance(error.__context__, ReadOnlyError):
                raise Demoted from error
            raise


class ManagedSSLConnection(ManagedConnection, theirs.SentinelManagedSSLConnection):
    """redis-py's connection over TLS to the address that Sentinel gives; see `ManagedConnection`."""


class _Service(Service, theirs.SentinelConnectionPoolProxy):
    def get_master_address(self) -> Any:
        """Return where the master is now."""
        return self._found(self.sentinel_manager.discover_master(self.service_name))

    def _pool(self) -> Any:
        return self.connection_pool_ref()

    def reset(self) -> None:
        """Know nothing."""
        theirs.SentinelConnectionPoolProxy.reset(self)


class _MultiplexedConnections(Watchful, MultiplexedConnections):
    def refused(self, connection: MultiplexedConnection, args: tuple[Any, ...], reply: Any) -> Any:
        self._seen(reply, Request(args, b""), connection.connection._redpool.slot.generation)
        return super().refused(connection, args, reply)

    def execute(self, request: Request, limit: deadline | None) -> Any:
        before = self._generation()
        return self._seen(super().execute(request, limit), request, before)

    def wait(self, connection: MultiplexedConnection, request: Request) -> Any:
        before = connection.connection._redpool.slot.generation
        return self._seen(super().wait(connection, request), request, before)


class SentinelConnectionPool(SentinelPool, MultiplexedConnectionPool):
    """redis-py's `redis.sentinel.SentinelConnectionPool`, with shared connections: to a master or its replicas.

    Options: those of `MultiplexedConnectionPool`, and redis-py's `is_master` (True), `check_connection` (False) and
    `ssl` (False). Once there is another master, the pool replaces its connections to the last one.
    """

    _multiplexed_class = _MultiplexedConnections
    _service_class = _Service
    _connection_classes = ManagedConnection, ManagedSSLConnection

    def make_multiplexed(self) -> Any:
        """Return what a new engine shares."""
        multiplexed: Any = super().make_multiplexed()
        multiplexed.service = self._service
        return multiplexed


class Sentinel(theirs.Sentinel):
    """redis-py's `redis.sentinel.Sentinel`, with clients that follow the master.

    Options of the pool may stand beside those of the connections, here and in `master_for` and `slave_for`:

        sentinel = redpool.Sentinel([("localhost", 26379)], socket_timeout=0.5, max_connections=20)
        master = sentinel.master_for("mymaster")
    """

    def __init__(
        self,
        sentinels: Sequence[tuple[str, int]],
        min_other_sentinels: int = 0,
        sentinel_kwargs: Mapping[str, Any] | None = None,
        force_master_ip: str | None = None,
        **kwargs: Unpack[SentinelOptions],
    ) -> None:
        options = as_theirs(force_master_ip, kwargs)
        super().__init__(sentinels, min_other_sentinels, sentinel_kwargs, **options)
        self.sentinels = [Redis(host=host, port=port, **self.sentinel_kwargs) for host, port in sentinels]

    @overload  # type: ignore[override]  # it refuses what would fail
    def master_for(self, service_name: str, **kwargs: Unpack[SentinelOptions]) -> Redis: ...
    @overload
    def master_for(
        self, service_name: str, redis_class: Callable[..., _Client], **kwargs: Unpack[SentinelOptions]
    ) -> _Client: ...
    @overload
    def master_for(self, service_name: str, *, connection_pool_class: Callable[..., Any], **kwargs: Any) -> Redis: ...
    @overload
    def master_for(
        self,
        service_name: str,
        redis_class: Callable[..., _Client],
        connection_pool_class: Callable[..., Any],
        **kwargs: Any,
    ) -> _Client: ...
    def master_for(
        self,
        service_name: str,
        redis_class: Any = Redis,
        connection_pool_class: Any = SentinelConnectionPool,
        **kwargs: Any,
    ) -> Any:
        """Return a client of the master, wherever that is, as in redis-py."""
        return super().master_for(service_name, redis_class, connection_pool_class, **kwargs)

    @overload  # type: ignore[override]  # it refuses what would fail
    def slave_for(self, service_name: str, **kwargs: Unpack[SentinelOptions]) -> Redis: ...
    @overload
    def slave_for(
        self, service_name: str, redis_class: Callable[..., _Client], **kwargs: Unpack[SentinelOptions]
    ) -> _Client: ...
    @overload
    def slave_for(self, service_name: str, *, connection_pool_class: Callable[..., Any], **kwargs: Any) -> Redis: ...
    @overload
    def slave_for(
        self,
        service_name: str,
        redis_class: Callable[..., _Client],
        connection_pool_class: Callable[..., Any],
        **kwargs: Any,
    ) -> _Client: ...
    def slave_for(
        self,
        service_name: str,
        redis_class: Any = Redis,
        connection_pool_class: Any = SentinelConnectionPool,
        **kwargs: Any,
    ) -> Any:
        """Return a client of the replicas, as in redis-py; each new connection goes to the next one."""
        return super().slave_for(service_name, redis_class, connection_pool_class, **kwargs)

    replica_for = slave_for  # type: ignore[assignment]  # as above
