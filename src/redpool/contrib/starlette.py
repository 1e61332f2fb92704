"""Starlette over one pool for each application: a lifespan, and what a request gets the client from.

::

    app = Starlette(routes=[...], lifespan=lifespan("redis://localhost:6379/0"))

    async def page(request):
        await client(request).incr("visits")
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, TypeAlias

from starlette.requests import HTTPConnection

from redpool.asyncio import MultiplexedConnectionPool, Redis

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]


def lifespan(
    url: str, inner: Lifespan | None = None, *, pool_class: type[Any] = MultiplexedConnectionPool, **options: Any
) -> Lifespan:
    """Return a lifespan with a pool for the server at `url`, which is shut down at its end.

    `options` are the pool's, and redis-py's. The application's own lifespan may stand within, as `inner`: its state is
    kept, and it finds the client in `app.state.redis`.
    """

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[Mapping[str, Any]]:
        async with pool_class.from_url(url, **options) as pool:
            app.state.redis = Redis(connection_pool=pool)
            async with nullcontext() if inner is None else inner(app) as state:
                yield {} if state is None else state

    return run


def client(connection: HTTPConnection) -> Redis:
    """Return the application's client, for a request or a WebSocket."""
    found: Redis = connection.app.state.redis
    return found
