"""coredis and valkey-glide, with their defaults."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any

from redpool.bench.contenders import PATIENT

from .peer import Address, Client

# As for the pools' callers: one that waits long shall show as waiting, not as failing.
_REQUEST_TIMEOUT = int(1000 * PATIENT["timeout"])  # milliseconds


@asynccontextmanager
async def coredis(address: Address, callers: int) -> AsyncIterator[Client]:
    """Yield a `coredis.Redis`."""
    from coredis import Redis

    async with Redis(host=address.host, port=address.port) as client:

        async def pipeline(key: str, count: int) -> list[Any]:
            async with client.pipeline(transaction=False) as batch:
                replies = [batch.get(key) for _ in range(count)]
            return [await reply for reply in replies]

        yield Client(client.get, pipeline)


@asynccontextmanager
async def glide(address: Address, callers: int) -> AsyncIterator[Client]:
    """Yield valkey-glide's `GlideClient` for asyncio."""
    from glide import Batch, GlideClient, GlideClientConfiguration, NodeAddress

    options = GlideClientConfiguration([NodeAddress(*address)], request_timeout=_REQUEST_TIMEOUT)
    client = await GlideClient.create(options)

    async def pipeline(key: str, count: int) -> Any:
        return await client.exec(_gets(Batch, key, count), raise_on_error=True)

    try:
        yield Client(client.get, pipeline)
    finally:
        await asyncio.shield(client.close())


@contextmanager
def glide_sync(address: Address, callers: int) -> Iterator[Client]:
    """Yield valkey-glide's `GlideClient` for threads."""
    from glide_sync import Batch, GlideClient, GlideClientConfiguration, NodeAddress

    options = GlideClientConfiguration([NodeAddress(*address)], request_timeout=_REQUEST_TIMEOUT)

    def pipeline(key: str, count: int) -> Any:
        return client.exec(_gets(Batch, key, count), raise_on_error=True)

    with closing(GlideClient.create(options)) as client:
        yield Client(client.get, pipeline)


def _gets(batch_class: Any, key: str, count: int) -> Any:
    batch = batch_class(is_atomic=False)
    for _ in range(count):
        batch.get(key)
    return batch
