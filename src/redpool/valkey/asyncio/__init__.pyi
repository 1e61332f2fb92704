"""What type checkers know of `redpool.valkey.asyncio`: redpool's classes, over valkey-py's."""

from collections.abc import Callable
from typing import Any, Self, TypeVar, Unpack, overload

import valkey.asyncio
import valkey.asyncio.cluster
import valkey.asyncio.sentinel
from valkey.asyncio.connection import Connection, UnixDomainSocketConnection

import redpool.asyncio

from .. import DeadlineExceeded as DeadlineExceeded
from .. import Instrument as Instrument
from .. import MultiplexedPoolStats as MultiplexedPoolStats
from .. import PoolClosed as PoolClosed
from .. import PoolDump as PoolDump
from .. import PoolFull as PoolFull
from .. import PoolOverloaded as PoolOverloaded
from .. import PoolStats as PoolStats
from .. import PoolTimeout as PoolTimeout
from .. import ReplyLate as ReplyLate
from .. import ReplyLost as ReplyLost
from .. import deadline as deadline
from .. import priority as priority
from ..keywords import (
    BlockingLoopOptions,
    LoopClientOptions,
    LoopClientUrlOptions,
    LoopOptions,
    LoopUrlOptions,
    SharedLoopOptions,
    SharedLoopUrlOptions,
)

_Client = TypeVar("_Client")

class ConnectionPool(redpool.asyncio.ConnectionPool, valkey.asyncio.ConnectionPool):  # type: ignore[misc, override]  # to its users it is one
    @overload
    def __init__(
        self,
        connection_class: type[Connection | UnixDomainSocketConnection] = ...,
        max_connections: int | None = ...,
        **kwargs: Unpack[LoopOptions],
    ) -> None: ...
    @overload
    def __init__(
        self, connection_class: Callable[..., Any], max_connections: int | None = ..., **kwargs: Any
    ) -> None: ...
    @overload  # type: ignore[override]  # it refuses what would fail
    @classmethod
    def from_url(cls, url: str, **kwargs: Unpack[LoopUrlOptions]) -> Self: ...
    @overload
    @classmethod
    def from_url(cls, url: str, *, connection_class: Callable[..., Any], **kwargs: Any) -> Self: ...

class BlockingConnectionPool(ConnectionPool):
    @overload
    def __init__(
        self,
        max_connections: int | None = ...,
        timeout: float | None = ...,
        connection_class: type[Connection | UnixDomainSocketConnection] = ...,
        queue_class: object = ...,
        **kwargs: Unpack[BlockingLoopOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        max_connections: int | None = ...,
        timeout: float | None = ...,
        *,
        connection_class: Callable[..., Any],
        queue_class: object = ...,
        **kwargs: Any,
    ) -> None: ...

class MultiplexedConnectionPool(redpool.asyncio.MultiplexedConnectionPool, ConnectionPool):  # type: ignore[misc, override]  # as above
    @overload
    def __init__(
        self,
        connection_class: type[Connection | UnixDomainSocketConnection] = ...,
        max_connections: int | None = ...,
        **kwargs: Unpack[SharedLoopOptions],
    ) -> None: ...
    @overload
    def __init__(
        self, connection_class: Callable[..., Any], max_connections: int | None = ..., **kwargs: Any
    ) -> None: ...
    @overload  # type: ignore[override]  # as above
    @classmethod
    def from_url(cls, url: str, **kwargs: Unpack[SharedLoopUrlOptions]) -> Self: ...
    @overload
    @classmethod
    def from_url(cls, url: str, *, connection_class: Callable[..., Any], **kwargs: Any) -> Self: ...

class Valkey(valkey.asyncio.Valkey):
    def __init__(self, **kwargs: Unpack[LoopClientOptions]) -> None: ...
    @overload  # type: ignore[override]  # as above
    @classmethod
    def from_url(
        cls,
        url: str,
        single_connection_client: bool = ...,
        auto_close_connection_pool: bool | None = ...,
        **kwargs: Unpack[SharedLoopUrlOptions],
    ) -> Self: ...
    @overload
    @classmethod
    def from_url(cls, url: str, *, connection_class: Callable[..., Any], **kwargs: Any) -> Self: ...
    @classmethod
    def from_pool(cls, connection_pool: Any) -> Self: ...

class ValkeyCluster(valkey.asyncio.cluster.ValkeyCluster):
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Self: ...

class Sentinel(valkey.asyncio.sentinel.Sentinel):
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

def from_url(url: str, **options: Unpack[LoopClientUrlOptions]) -> Valkey: ...
