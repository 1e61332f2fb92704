"""The pool for event loops under the name, and with the defaults, of redis-py's pool whose callers wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack, overload

from redis.asyncio.connection import Connection, UnixDomainSocketConnection

from ..core.config import MaxConnections
from ..redispy.keywords import BlockingLoopOptions
from .pool import ConnectionPool


class BlockingConnectionPool(ConnectionPool):
    """A pool in the place of `redis.asyncio.BlockingConnectionPool`, with its order of arguments and its defaults.

    It is a `redpool.asyncio.ConnectionPool` otherwise. The defaults are 50 connections, and a `timeout` of 20 seconds.
    `queue_class` is ignored: callers are served first come, first served.
    """

    @overload
    def __init__(
        self,
        max_connections: MaxConnections = ...,
        timeout: float | None = ...,
        connection_class: type[Connection | UnixDomainSocketConnection] = ...,
        queue_class: object = ...,
        **kwargs: Unpack[BlockingLoopOptions],
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
    def __init__(
        self,
        max_connections: MaxConnections = 50,
        timeout: float | None = 20,
        connection_class: Any = Connection,
        queue_class: object = None,  # noqa: ARG002  redis-py's
        **kwargs: Any,
    ) -> None:
        super().__init__(connection_class, max_connections, timeout=timeout, **kwargs)
