"""Clients with redis-py's interface: redis-py's own over a given pool, and those that create their pool."""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from functools import partial
from pkgutil import resolve_name
from typing import Any

import redis
import redis.asyncio

from redpool.bench.contenders import PATIENT

from .peer import Address, Client

POOL_SIZE = 16
"""Connections of the pools in which callers wait. A pool without a limit has one for each caller."""


@contextmanager
def limited(pool: str, address: Address, callers: int) -> Iterator[Client]:
    """Yield a `redis.Redis` over a pool of `POOL_SIZE`; `pool` names its class, such as `redpool:ConnectionPool`."""
    with over_pool(pool, address, callers, max_connections=POOL_SIZE, **PATIENT) as client:
        yield client


@contextmanager
def unlimited(pool: str, address: Address, callers: int) -> Iterator[Client]:
    """Yield a `redis.Redis` over a pool that opens a connection for each caller."""
    with over_pool(pool, address, callers, max_connections=callers) as client:
        yield client


@contextmanager
def over_pool(pool: str, address: Address, callers: int, **options: Any) -> Iterator[Client]:
    """Yield an unmodified `redis.Redis` over a pool with its defaults, apart from `options`."""
    with closing(resolve_name(pool)(host=address.host, port=address.port, **options)) as opened:
        yield _client(redis.Redis(connection_pool=opened))


@contextmanager
def whole(client: str, address: Address, callers: int) -> Iterator[Client]:
    """Yield a client that creates its own pool, with its defaults."""
    with closing(resolve_name(client)(host=address.host, port=address.port)) as opened:
        yield _client(opened)


def _client(client: Any) -> Client:
    return Client(client.get, partial(_pipeline, client))


def _pipeline(client: Any, key: str, count: int) -> Any:
    pipeline = client.pipeline(transaction=False)
    for _ in range(count):
        pipeline.get(key)
    return pipeline.execute()


@asynccontextmanager
async def limited_async(pool: str, address: Address, callers: int) -> AsyncIterator[Client]:
    """Yield a `redis.asyncio.Redis` over a pool of `POOL_SIZE`; `pool` names its class."""
    async with over_pool_async(pool, address, callers, max_connections=POOL_SIZE, **PATIENT) as client:
        yield client


@asynccontextmanager
async def unlimited_async(pool: str, address: Address, callers: int) -> AsyncIterator[Client]:
    """Yield a `redis.asyncio.Redis` over a pool that opens a connection for each caller."""
    async with over_pool_async(pool, address, callers, max_connections=callers) as client:
        yield client


@asynccontextmanager
async def over_pool_async(pool: str, address: Address, callers: int, **options: Any) -> AsyncIterator[Client]:
    """Yield an unmodified `redis.asyncio.Redis` over a pool with its defaults, apart from `options`."""
    async with aclosing(resolve_name(pool)(host=address.host, port=address.port, **options)) as opened:
        yield _client(redis.asyncio.Redis(connection_pool=opened))


@asynccontextmanager
async def whole_async(client: str, address: Address, callers: int) -> AsyncIterator[Client]:
    """Yield a client for event loops that creates its own pool, with its defaults."""
    async with aclosing(resolve_name(client)(host=address.host, port=address.port)) as opened:
        yield _client(opened)
