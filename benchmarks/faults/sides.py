"""The sides, under the same names: redis-py's pools and redpool's below redis-py's client, and redpool's client."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.retry
from redis.backoff import ExponentialWithJitterBackoff

import redpool
import redpool.asyncio
from redpool import embedded

THEIRS, OURS, SHARED, CLIENT = SIDES = ("theirs", "ours", "shared", "client")
OF_OURS = (OURS, SHARED, CLIENT)
SHARING = (SHARED, CLIENT)
TITLES = {
    THEIRS: f"redis-py {redis.__version__}",
    OURS: f"redpool {redpool.__version__}",
    SHARED: "redpool shared",
    CLIENT: "redpool.Redis",
}


class Address(Protocol):
    """Where a server or a proxy listens."""

    @property
    def host(self) -> str:
        """The host's name or address."""

    @property
    def port(self) -> int:
        """The port."""


@dataclass(frozen=True)
class Pools:
    """The pools and the client of one side, for threads or for event loops; `at` is where they connect to."""

    plain: Any
    waiting: Any
    client_class: Any
    retry_class: Any
    at: Address

    def pool(self, at: Address | None = None, **options: Any) -> Any:
        """Return the side's usual pool: of redis-py's two, the one that doesn't wait."""
        return self._made(self.plain, at, options)

    def waiting_pool(self, at: Address | None = None, **options: Any) -> Any:
        """Return the pool whose callers wait for a connection; redpool's is that of `pool`."""
        return self._made(self.waiting, at, options)

    def client(self, pool: Any = None, **options: Any) -> Any:
        """Return the side's client, over `pool`, or over one with these options."""
        return self.client_class(connection_pool=self.pool(**options) if pool is None else pool)

    def retry(self, retries: int = 10, base: float = 0.01) -> Any:
        """Return the retry policy that `redis.Redis()` has by default; with a `base` of 0 it makes no pauses."""
        return self.retry_class(ExponentialWithJitterBackoff(base=base, cap=1), retries)

    def _made(self, pool_class: Any, at: Address | None, options: dict[str, Any]) -> Any:
        at = at or self.at
        return pool_class(host=at.host, port=at.port, **options)


@dataclass(frozen=True)
class Side:
    """One side, with a server of the row's own."""

    name: str
    server: embedded.Server
    threads: Pools
    tasks: Pools
    deadline: Callable[[float], Any]
    """Bounds all that a call does; without effect on redis-py's side, which has no such thing."""

    def ours(self, **options: Any) -> dict[str, Any]:
        """Return options that only redpool's pools have: on redis-py's side none."""
        return options if self.name in OF_OURS else {}

    def observer(self, **options: Any) -> Any:
        """Return a plain client of redis-py's that no fault concerns, to look at the server."""
        return redis.Redis(host=self.server.host, port=self.server.port, **options)


def side(name: str, server: embedded.Server) -> Side:
    """Return the side of this name, on `server`."""
    if name == THEIRS:
        return Side(name, server, *_theirs(server), _no_deadline)
    return Side(name, server, *_ours(name, server), redpool.deadline)


def _theirs(at: Address) -> tuple[Pools, Pools]:
    aio = redis.asyncio
    return (
        Pools(redis.ConnectionPool, redis.BlockingConnectionPool, redis.Redis, redis.retry.Retry, at),
        Pools(aio.ConnectionPool, aio.BlockingConnectionPool, aio.Redis, aio.retry.Retry, at),
    )


def _ours(name: str, at: Address) -> tuple[Pools, Pools]:
    ours = redpool.asyncio
    threads: Any = redpool.MultiplexedConnectionPool if name in SHARING else redpool.ConnectionPool
    tasks: Any = ours.MultiplexedConnectionPool if name in SHARING else ours.ConnectionPool
    clients: Any = (redpool.Redis, ours.Redis) if name == CLIENT else (redis.Redis, redis.asyncio.Redis)
    return (
        Pools(threads, threads, clients[0], redis.retry.Retry, at),
        Pools(tasks, tasks, clients[1], redis.asyncio.retry.Retry, at),
    )


def _no_deadline(seconds: float) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()
