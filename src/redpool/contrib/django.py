"""A cache backend for Django: one pool for each process and URL, and no thread behind `await cache.aget()`.

::

    CACHES = {"default": {"BACKEND": "redpool.contrib.django.RedisCache", "LOCATION": "redis://localhost:6379/0"}}

It is Django's own Redis backend otherwise, keys and values included. `OPTIONS` are the pool's, redis-py's, Django's
`serializer`, and `kind`: "multiplexed", or "dedicated".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.core.cache.backends import redis as theirs
from django.core.cache.backends.base import DEFAULT_TIMEOUT

import redpool
import redpool.asyncio

from . import pools


class RedisCacheClient(theirs.RedisCacheClient):
    """Django's client over the process's pools, where Django makes one for each thread."""

    def __init__(self, servers: Any, serializer: Any = None, kind: str = "multiplexed", **options: Any) -> None:
        super().__init__(servers, serializer, **options)
        self._client, self._kind = redpool.Redis, kind
        self._pool_options = options  # without the parser that Django adds, which is one for threads
        self.dumps, self.loads = self._serializer.dumps, self._serializer.loads

    def _get_connection_pool(self, write: bool) -> Any:
        return pools.pool(self._url(write), self._kind, **self._pool_options)

    def aclient(self, *, write: bool = False) -> redpool.asyncio.Redis:
        """Return a client for event loops."""
        pool = pools.pool_async(self._url(write), self._kind, **self._pool_options)
        return redpool.asyncio.Redis(connection_pool=pool)

    def _url(self, write: bool) -> str:
        url: str = self._servers[self._get_connection_pool_index(write)]
        return url


class RedisCache(theirs.RedisCache):
    """Django's Redis cache over redpool's pools."""

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = RedisCacheClient

    # -- what Django has a thread do -----------------------------------------------------------------------------------

    async def aadd(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Set a value where there is none. Return whether it was set."""
        client, key, seconds = self._to_write(key, timeout, version)
        added = bool(await client.set(key, self._cache.dumps(value), nx=True, ex=seconds or None))
        if added and seconds == 0:
            await client.delete(key)
        return added

    async def aget(self, key: Any, default: Any = None, version: Any = None) -> Any:
        """Return the value, or `default`."""
        value = await self._cache.aclient().get(self.make_and_validate_key(key, version=version))
        return default if value is None else self._cache.loads(value)

    async def aset(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> None:
        """Set a value; with a timeout of 0, delete it."""
        client, key, seconds = self._to_write(key, timeout, version)
        value = self._cache.dumps(value)
        await (client.delete(key) if seconds == 0 else client.set(key, value, ex=seconds))

    async def atouch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Set a key's timeout. Return whether it exists."""
        client, key, seconds = self._to_write(key, timeout, version)
        return bool(await (client.persist(key) if seconds is None else client.expire(key, seconds)))

    async def adelete(self, key: Any, version: Any = None) -> bool:
        """Delete a key. Return whether it existed."""
        client, key, _ = self._to_write(key, None, version)
        return bool(await client.delete(key))

    async def aget_many(self, keys: Iterable[Any], version: Any = None) -> dict[Any, Any]:
        """Return the values that there are, by one command."""
        names = {self.make_and_validate_key(key, version=version): key for key in keys}
        values = await self._cache.aclient().mget(names) if names else ()
        pairs = zip(names.values(), values, strict=True)
        return {key: self._cache.loads(value) for key, value in pairs if value is not None}

    async def ahas_key(self, key: Any, version: Any = None) -> bool:
        """Return whether a key exists."""
        return bool(await self._cache.aclient().exists(self.make_and_validate_key(key, version=version)))

    async def aincr(self, key: Any, delta: int = 1, version: Any = None) -> int:
        """Add to a number, and return it. Raises `ValueError` where the key doesn't exist."""
        client, key, _ = self._to_write(key, None, version)
        if not await client.exists(key):
            raise ValueError(f"Key '{key}' not found.")
        value: int = await client.incr(key, delta)
        return value

    async def aset_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> list[Any]:
        """Set all the values, in one transaction. Return the keys that failed: none."""
        if not data:
            return []
        client, _, seconds = self._to_write("", timeout, version)
        values = {self.make_and_validate_key(key, version=version): self._cache.dumps(data[key]) for key in data}
        pipeline = client.pipeline().mset(values)
        for name in values if seconds is not None else ():
            pipeline.expire(name, seconds)
        await pipeline.execute()
        return []

    async def adelete_many(self, keys: Iterable[Any], version: Any = None) -> None:
        """Delete keys, by one command."""
        names = [self.make_and_validate_key(key, version=version) for key in keys]
        if names:
            await self._cache.aclient(write=True).delete(*names)

    async def aclear(self) -> bool:
        """Delete all that the server's database holds."""
        return bool(await self._cache.aclient(write=True).flushdb())

    def _to_write(self, key: Any, timeout: Any, version: Any) -> tuple[Any, str, int | None]:
        """Return a client, the key as the server has it, and the timeout in seconds."""
        name: str = self.make_and_validate_key(key, version=version)
        return self._cache.aclient(write=True), name, self.get_backend_timeout(timeout)
