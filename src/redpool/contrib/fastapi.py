"""FastAPI over one pool for each application: a lifespan, and a dependency.

::

    app = FastAPI(lifespan=lifespan("redis://localhost:6379/0"))

    @app.get("/")
    async def page(redis: RedisClient) -> int:
        return await redis.incr("visits")
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import Depends

from redpool.asyncio import Redis

from .starlette import client, lifespan

__all__ = ["RedisClient", "client", "lifespan"]

RedisClient: TypeAlias = Annotated[Redis, Depends(client)]
"""The application's client, as an argument of a path operation or of another dependency."""
