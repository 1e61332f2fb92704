"""Litestar over one pool for each application: a dependency for handlers, and stores.

::

    redis = RedisPlugin("redis://localhost:6379/0")
    app = Litestar([...], plugins=[redis], stores={"response_cache": redis.store("responses")})
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from litestar.config.app import AppConfig
from litestar.di import NamedDependency, Provide
from litestar.plugins import InitPlugin
from litestar.stores.redis import RedisStore

from redpool.asyncio import Redis
from redpool.installation import of_kind

RedisClient: TypeAlias = NamedDependency[Redis]
"""The plugin's client, as an argument of a handler or of another dependency."""


class RedisPlugin(InitPlugin):
    """A client for the server at `url`, which handlers get as `redis`, or by another `name`.

    `kind` is "multiplexed" or "dedicated", `options` are the pool's, and redis-py's. When the application ends, so do
    the pool's connections.
    """

    def __init__(self, url: str, kind: str = "multiplexed", name: str = "redis", **options: Any) -> None:
        self.client = Redis(connection_pool=of_kind(kind).pool_async.from_url(url, **options))
        self._name = name

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the dependency, and what the application does at its end."""
        app_config.dependencies[self._name] = Provide(lambda: self.client, sync_to_thread=False)
        app_config.signature_types.append(Redis)
        app_config.lifespan.append(self._lifespan)
        return app_config

    def store(self, namespace: str) -> RedisStore:
        """Return a store that keeps its keys apart by `namespace`, over the same pool."""
        return RedisStore(self.client, namespace)

    @asynccontextmanager
    async def _lifespan(self, _: object) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self.client.aclose(close_connection_pool=True)
