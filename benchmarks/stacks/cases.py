"""The libraries. Each case yields what one of many callers calls; `ours` says over whose pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias
from urllib.parse import urlsplit

import redis.asyncio

import redpool
import redpool.asyncio

Call: TypeAlias = Callable[[], Awaitable[object]]
Case: TypeAlias = Callable[[str, bool, int], AbstractAsyncContextManager[Call]]


@asynccontextmanager
async def over_aiocache(url: str, ours: bool, callers: int) -> AsyncIterator[Call]:
    """Set and get a value of a cache."""
    from aiocache import Cache

    at = urlsplit(url)
    options = {"connection_pool_class": redpool.asyncio.MultiplexedConnectionPool} if ours else {}
    async with Cache(Cache.REDIS, endpoint=at.hostname, port=at.port, **options) as cache:

        async def call() -> None:
            await cache.set("key", "value")
            assert await cache.get("key") == "value"

        yield call


@asynccontextmanager
async def over_limits(url: str, ours: bool, callers: int) -> AsyncIterator[Call]:
    """Ask a rate limit, from a thread for each caller."""
    from limits import parse
    from limits.storage import RedisStorage
    from limits.strategies import MovingWindowRateLimiter

    pool = redpool.MultiplexedConnectionPool.from_url(url) if ours else None
    limiter = MovingWindowRateLimiter(RedisStorage(url, connection_pool=pool))
    rate = parse("1000000/minute")
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(callers) as threads:

        async def call() -> None:
            assert await loop.run_in_executor(threads, limiter.hit, rate, "caller")

        yield call


@asynccontextmanager
async def over_saq(url: str, ours: bool, callers: int) -> AsyncIterator[Call]:
    """Put jobs into a queue."""
    from saq.queue.redis import RedisQueue

    made = redpool.asyncio.Redis.from_url(url) if ours else redis.asyncio.from_url(url)
    queue = RedisQueue(made)

    async def call() -> None:
        assert await queue.enqueue("job") is not None

    yield call
    await made.aclose()


@asynccontextmanager
async def over_fastapi(url: str, ours: bool, callers: int) -> AsyncIterator[Call]:
    """Visit a web application that counts its visits."""
    from fastapi import FastAPI
    from httpx import ASGITransport, AsyncClient

    client = redpool.asyncio.Redis.from_url(url) if ours else redis.asyncio.from_url(url)
    app = FastAPI()

    async def page() -> int:
        return int(await client.incr("visits"))

    app.get("/")(page)
    async with AsyncClient(transport=ASGITransport(app), base_url="http://app") as browser:

        async def call() -> None:
            (await browser.get("/")).raise_for_status()

        yield call
    await client.aclose()


CASES: dict[str, Case] = {
    "aiocache": over_aiocache,
    "limits": over_limits,
    "saq": over_saq,
    "fastapi": over_fastapi,
}
