"""The brokers, result backend and schedule source of taskiq-redis over redpool's pools.

They take the arguments of those whose names they have, and pools' options beside redis-py's::

    broker = ListQueueBroker("redis://localhost:6379/0").with_result_backend(
        RedisAsyncResultBackend("redis://localhost:6379/0")
    )
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator
from typing import Any, ClassVar

import taskiq_redis as theirs

from redpool.asyncio import Redis
from redpool.installation import of_kind


class _Pooled:
    """Makes its own pool where taskiq-redis has made redis-py's."""

    _pool_name: ClassVar[str] = "connection_pool"
    connection_pool: Any

    def __init__(self, *args: Any, kind: str = "multiplexed", **kwargs: Any) -> None:
        make: Any = super().__init__
        said = inspect.signature(make).bind(*args, **kwargs).arguments
        options: dict[str, Any] = said.pop("connection_kwargs", {})
        make(**said)
        url, most = next(iter(said.values())), said.get("max_connection_pool_size")
        pool = of_kind(kind).pool_async.from_url(url, max_connections=most, **options)
        setattr(self, self._pool_name, pool)


class ListQueueBroker(_Pooled, theirs.ListQueueBroker):
    """taskiq-redis's broker by a list."""


class PubSubBroker(_Pooled, theirs.PubSubBroker):
    """taskiq-redis's broker by pub/sub, which gives back the connection by which it has listened."""

    async def listen(self) -> AsyncGenerator[bytes, None]:
        """Yield the messages of all tasks."""
        async with Redis(connection_pool=self.connection_pool).pubsub() as subscriber:
            await subscriber.subscribe(self.queue_name)
            async for message in subscriber.listen():
                if message["type"] == "message":
                    yield message["data"]


class RedisStreamBroker(_Pooled, theirs.RedisStreamBroker):
    """taskiq-redis's broker by a stream."""


class RedisAsyncResultBackend(_Pooled, theirs.RedisAsyncResultBackend):
    """taskiq-redis's result backend."""

    _pool_name = "redis_pool"


class ListRedisScheduleSource(_Pooled, theirs.ListRedisScheduleSource):
    """taskiq-redis's source of schedules."""

    _pool_name = "_connection_pool"
