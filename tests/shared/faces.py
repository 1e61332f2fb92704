"""Both shells over shared connections, each under redis-py's client and under redpool's own."""

from __future__ import annotations

from typing import Any, ClassVar

import redpool
import redpool.asyncio as redpool_asyncio
from contract import faces


class Sharing(faces.Face):
    """A face whose pools share connections."""

    own_client: ClassVar[bool] = False
    """whether its clients are redpool's"""

    def client(self, pool: Any, **options: Any) -> Any:
        """A client over `pool`."""
        kind = self.redpool.Redis if self.own_client else self.redis.Redis
        return self._wrap(kind(connection_pool=faces._unwrapped(pool), **options))

    def own(self, *args: Any, **options: Any) -> Any:
        """A `redpool.Redis` with a pool of its own."""
        client = self._wrap(self.redpool.Redis(*args, **options))
        self._made.append(client.connection_pool)
        return client


class SharingThreads(Sharing, faces.Threads):
    """redis-py's client over the pool for threads."""

    name = "threads"
    pool_class = redpool.MultiplexedConnectionPool


class SharingAsyncio(Sharing, faces.Asyncio):
    """redis-py's client over the pool for event loops."""

    name = "asyncio"
    pool_class = redpool_asyncio.MultiplexedConnectionPool


class OwnThreads(SharingThreads):
    """redpool.Redis."""

    name = "threads, own client"
    own_client = True


class OwnAsyncio(SharingAsyncio):
    """redpool.asyncio.Redis."""

    name = "asyncio, own client"
    own_client = True


# Each kind of pool in each shell, under redis-py's client; and redpool's client.
OF_THREADS: dict[str, type[faces.Face]] = {
    "threads": faces.Threads,
    "threads, multiplexed": SharingThreads,
    "threads, client": OwnThreads,
}
OF_TASKS: dict[str, type[faces.Face]] = {
    "asyncio": faces.Asyncio,
    "asyncio, multiplexed": SharingAsyncio,
    "asyncio, client": OwnAsyncio,
}
MULTIPLEXED: list[type[Sharing]] = [SharingThreads, SharingAsyncio, OwnThreads, OwnAsyncio]
