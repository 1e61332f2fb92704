"""What type checkers know of `redpool.valkey`: redpool's classes, over valkey-py's connections, clients and errors."""

from collections.abc import Callable
from typing import Any, Self, TypeVar, Unpack, overload

import valkey
import valkey.cluster
import valkey.sentinel
from valkey.connection import Connection, UnixDomainSocketConnection
from valkey.exceptions import MaxConnectionsError

import redpool

from ..budget import Budget as Budget
from ..core.config import MaxConnections
from ..core.instrument import Instrument as Instrument
from ..core.stats import MultiplexedPoolStats as MultiplexedPoolStats
from ..core.stats import PoolDump as PoolDump
from ..core.stats import PoolStats as PoolStats
from ..deadline import deadline as deadline
from ..priority import priority as priority
from .keywords import (
    BlockingThreadOptions,
    ClientOptions,
    ClientUrlOptions,
    SharedThreadOptions,
    SharedThreadUrlOptions,
    ThreadOptions,
    ThreadUrlOptions,
)

_Client = TypeVar("_Client")

class PoolTimeout(MaxConnectionsError): ...
class PoolFull(MaxConnectionsError): ...
class PoolOverloaded(MaxConnectionsError): ...
class PoolClosed(valkey.ConnectionError): ...

class ReplyLost(valkey.ConnectionError):
    sent: bool
    command: str
    def __init__(self, message: str = "", command: str = "") -> None: ...

class ReplyLate(ReplyLost, valkey.TimeoutError): ...

class DeadlineExceeded(valkey.TimeoutError):
    sent: bool
    def __init__(self, message: str = "", sent: bool = False) -> None: ...

class ConnectionPool(redpool.ConnectionPool, valkey.ConnectionPool):  # type: ignore[misc, override]  # to its users it is one
    @overload
    def __init__(
        self,
        connection_class: type[Connection | UnixDomainSocketConnection] = ...,
        max_connections: MaxConnections = ...,
        **kwargs: Unpack[ThreadOptions],
    ) -> None: ...
    @overload
    def __init__(
        self, connection_class: Callable[..., Any], max_connections: MaxConnections = ..., **kwargs: Any
    ) -> None: ...
    @overload  # type: ignore[override]  # it refuses what would fail
    @classmethod
    def from_url(cls, url: str, **kwargs: Unpack[ThreadUrlOptions]) -> Self: ...
    @overload
    @classmethod
    def from_url(cls, url: str, *, connection_class: Callable[..., Any], **kwargs: Any) -> Self: ...

class BlockingConnectionPool(ConnectionPool):
    @overload
    def __init__(
        self,
        max_connections: MaxConnections = ...,
        timeout: float | None = ...,
        connection_class: type[Connection | UnixDomainSocketConnection] = ...,
        queue_class: object = ...,
        **kwargs: Unpack[BlockingThreadOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        max_connections: MaxConnections = ...,
        timeout: float | None = ...,
        *,
        connection_class: Callable[..., Any],
        queue_class: object = ...,
        **kwargs: Any,
    ) -> None: ...

class MultiplexedConnectionPool(redpool.MultiplexedConnectionPool, ConnectionPool):  # type: ignore[misc, override]  # as above
    @overload
    def __init__(
        self,
        connection_class: type[Connection | UnixDomainSocketConnection] = ...,
        max_connections: MaxConnections = ...,
        **kwargs: Unpack[SharedThreadOptions],
    ) -> None: ...
    @overload
    def __init__(
        self, connection_class: Callable[..., Any], max_connections: MaxConnections = ..., **kwargs: Any
    ) -> None: ...
    @overload  # type: ignore[override]  # as above
    @classmethod
    def from_url(cls, url: str, **kwargs: Unpack[SharedThreadUrlOptions]) -> Self: ...
    @overload
    @classmethod
    def from_url(cls, url: str, *, connection_class: Callable[..., Any], **kwargs: Any) -> Self: ...

class Valkey(valkey.Valkey):
    def __init__(self, *args: Any, **kwargs: Unpack[ClientOptions]) -> None: ...
    def __enter__(self) -> Self: ...
    @overload  # type: ignore[override]  # as above
    @classmethod
    def from_url(cls, url: str, **kwargs: Unpack[ClientUrlOptions]) -> Self: ...
    @overload
    @classmethod
    def from_url(cls, url: str, *, connection_class: Callable[..., Any], **kwargs: Any) -> Self: ...
    @classmethod
    def from_pool(cls, connection_pool: Any) -> Self: ...

class ValkeyCluster(valkey.cluster.ValkeyCluster):
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Self: ...

class Sentinel(valkey.sentinel.Sentinel):
    def __init__(self, sentinels: Any, *args: Any, **kwargs: Any) -> None: ...
    @overload
    def master_for(
        self, service_name: str, valkey_class: Callable[..., _Client], *args: Any, **kwargs: Any
    ) -> _Client: ...
    @overload
    def master_for(
        self, service_name: str, valkey_class: Any = ..., connection_pool_class: Any = ..., **kwargs: Any
    ) -> Valkey: ...
    @overload
    def slave_for(
        self, service_name: str, valkey_class: Callable[..., _Client], *args: Any, **kwargs: Any
    ) -> _Client: ...
    @overload
    def slave_for(
        self, service_name: str, valkey_class: Any = ..., connection_pool_class: Any = ..., **kwargs: Any
    ) -> Valkey: ...
    replica_for = slave_for

def from_url(url: str, **options: Unpack[ClientUrlOptions]) -> Valkey: ...
