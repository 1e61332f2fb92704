"""python-socketio's client managers over redpool's pools.

::

    server = socketio.AsyncServer(client_manager=AsyncRedisManager("redis://localhost:6379/0"))

`redis_options` may have the pool's options, too, and `kind`: "multiplexed", or "dedicated".
"""

from __future__ import annotations

from typing import Any

import socketio

import redpool
import redpool.asyncio

from . import pools

_SENTINEL = "redis+sentinel://"  # it stays python-socketio's matter


class AsyncRedisManager(socketio.AsyncRedisManager):
    """The manager for event loops. Its client stays the same for good, and connects again by itself."""

    def _redis_connect(self) -> None:
        if self.redis_url.startswith(_SENTINEL):
            super()._redis_connect()
        elif self.redis is None:
            pool = pools.pool_async(self.redis_url, **self.redis_options)
            _connected(self, redpool.asyncio.Redis(connection_pool=pool))
        self.connected = True


class RedisManager(socketio.RedisManager):
    """The manager for threads. Its client stays the same for good, and connects again by itself."""

    def _redis_connect(self) -> None:
        if self.redis_url.startswith(_SENTINEL):
            super()._redis_connect()
        elif self.redis is None:
            _connected(self, redpool.Redis(connection_pool=pools.pool(self.redis_url, **self.redis_options)))
        self.connected = True


def _connected(manager: Any, client: Any) -> None:
    manager.redis, manager.pubsub = client, client.pubsub(ignore_subscribe_messages=True)
