"""The ways to a server that are compared, each for threads and for tasks: redis-py's, and redpool's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import FullJitterBackoff
from redis.retry import Retry

import redpool
import redpool.asyncio

LIMIT = 8
"""the most connections of a pool in which callers wait for one"""

SOCKET_TIMEOUT = 0.35
# Where each caller connects all the time, a handshake alone may take longer than that.
_LONG_TIMEOUT = 5.0
RETRIES = 10

_REDIS_PY = "redis-py"
_REDPOOL = "redpool"


@dataclass(frozen=True)
class Home:
    """Where the classes for one kind of callers are. Their names are the same for both kinds."""

    redis: Any
    redpool: Any
    retry: Any
    per_command: Any
    """the class of a client without a pool"""

    def options(self, patience: float = SOCKET_TIMEOUT) -> dict[str, Any]:
        """Return what every connection is made with."""
        policy = self.retry(FullJitterBackoff(base=0.02, cap=0.2), RETRIES)
        return {"socket_timeout": patience, "socket_connect_timeout": patience, "retry": policy}


@dataclass(frozen=True)
class Way:
    """A way to a server. `make` returns a client; closing that closes its pool, too."""

    package: str
    name: str
    make: Callable[[Home, str], Any]

    @property
    def ours(self) -> bool:
        """Whether it is one of redpool's."""
        return self.package == _REDPOOL


class PerCommand:
    """A client that connects for each command."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._url = url
        self._options = options

    def get(self, key: str) -> Any:
        """Return the value of `key`."""
        with self._connected() as client:
            return client.get(key)

    def incr(self, key: str) -> Any:
        """Add 1 to `key`."""
        with self._connected() as client:
            return client.incr(key)

    def close(self) -> None:
        """Do nothing: no connection outlives its command."""

    def _connected(self) -> redis.Redis:
        return redis.Redis.from_url(self._url, **self._options)


class AsyncPerCommand:
    """`PerCommand` for tasks."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._url = url
        self._options = options

    async def get(self, key: str) -> Any:
        """Return the value of `key`."""
        async with self._connected() as client:
            return await client.get(key)

    async def incr(self, key: str) -> Any:
        """Add 1 to `key`."""
        async with self._connected() as client:
            return await client.incr(key)

    async def aclose(self) -> None:
        """Do nothing: no connection outlives its command."""

    def _connected(self) -> Any:
        return redis.asyncio.Redis.from_url(self._url, **self._options)


def _per_command(home: Home, url: str) -> Any:
    return home.per_command(url, home.options(_LONG_TIMEOUT))


def _unbounded(home: Home, url: str) -> Any:
    # As `redis.Redis()` makes it. It has no queue: with a limit as low as that of the others most calls would fail.
    return home.redis.Redis.from_pool(home.redis.ConnectionPool.from_url(url, **home.options()))


def _blocking(home: Home, url: str) -> Any:
    pool_class = home.redis.BlockingConnectionPool
    return home.redis.Redis.from_pool(pool_class.from_url(url, max_connections=LIMIT, timeout=5, **home.options()))


def _dedicated(home: Home, url: str) -> Any:
    pool_class = home.redpool.ConnectionPool
    return home.redis.Redis.from_pool(pool_class.from_url(url, max_connections=LIMIT, **home.options()))


def _multiplexed(home: Home, url: str) -> Any:
    pool_class = home.redpool.MultiplexedConnectionPool
    return home.redis.Redis.from_pool(pool_class.from_url(url, max_connections=LIMIT, **home.options()))


def _own_client(home: Home, url: str) -> Any:
    return home.redpool.Redis.from_url(url, max_connections=LIMIT, **home.options())


FOR_THREADS = Home(redis, redpool, Retry, PerCommand)
FOR_TASKS = Home(redis.asyncio, redpool.asyncio, AsyncRetry, AsyncPerCommand)

WAYS = (
    Way(_REDIS_PY, "connection per command", _per_command),
    Way(_REDIS_PY, "ConnectionPool", _unbounded),
    Way(_REDIS_PY, "BlockingConnectionPool", _blocking),
    Way(_REDPOOL, "ConnectionPool", _dedicated),
    Way(_REDPOOL, "MultiplexedConnectionPool", _multiplexed),
    Way(_REDPOOL, "Redis", _own_client),
)
