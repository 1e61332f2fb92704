"""The two layers of channels_redis over redpool's pools.

::

    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "redpool.contrib.channels.RedisChannelLayer",
            "CONFIG": {"hosts": ["redis://localhost:6379/0"]},
        }
    }

`RedisPubSubChannelLayer` is the other one. A host that is a dictionary may have the pool's options, too.
"""

from __future__ import annotations

import asyncio
from typing import Any

from channels_redis import core, pubsub, utils

import redpool.asyncio
from redpool.asyncio.sentinel import SentinelConnectionPool


def create_pool(host: dict[str, Any]) -> Any:
    """Return a pool for a host, as channels_redis describes one."""
    options = dict(host)
    if "address" in options:
        return redpool.asyncio.MultiplexedConnectionPool.from_url(options.pop("address"), **options)
    if options.get("master_name") is None:
        return redpool.asyncio.MultiplexedConnectionPool(**options)
    name, sentinels = options.pop("master_name"), options.pop("sentinels")
    sentinel = redpool.asyncio.Sentinel(sentinels, sentinel_kwargs=options.pop("sentinel_kwargs", None))
    return SentinelConnectionPool(name, sentinel, **options)


class RedisChannelLayer(core.RedisChannelLayer):
    """channels_redis's layer: what it sends shares a connection, and each channel it awaits has one of its own."""

    def create_pool(self, index: int) -> Any:
        """Return a pool for one of the hosts."""
        return create_pool(self.hosts[index])


class _Shard(pubsub.RedisSingleShardConnection):
    _redis: redpool.asyncio.Redis | None
    _pubsub: Any

    def _ensure_redis(self) -> None:
        if self._redis is None:
            self._redis = redpool.asyncio.Redis(connection_pool=create_pool(self.host))
            self._pubsub = self._redis.pubsub()

    async def flush(self) -> None:
        """Close what is open; channels_redis forgets the connection by which it has listened."""
        subscriber = self._pubsub
        await super().flush()
        if subscriber is not None:
            await subscriber.aclose()


class _LoopLayer(pubsub.RedisPubSubLoopLayer):
    def __init__(self, hosts: Any = None, **kwargs: Any) -> None:
        super().__init__(hosts, **kwargs)
        self._shards = [_Shard(host, self) for host in utils.decode_hosts(hosts)]


class RedisPubSubChannelLayer(pubsub.RedisPubSubChannelLayer):
    """channels_redis's layer by pub/sub: one connection listens, and one publishes."""

    def _get_layer(self) -> Any:
        loop = asyncio.get_running_loop()
        if loop not in self._layers:
            self._layers[loop] = _LoopLayer(*self._args, **self._kwargs, channel_layer=self)
            utils._wrap_close(self, loop)
        return self._layers[loop]
