"""A web service: an answer that is slow to find and therefore cached, a limit for each caller, a health check.

uvicorn --app-dir examples/fastapi app:app
"""

import asyncio
import os
from typing import Any

import redis
from fastapi import Depends, FastAPI, HTTPException, Request, Response

import redpool
from redpool.contrib.fastapi import RedisClient, lifespan

URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
A_MINUTE, PER_MINUTE = 60, 100

app = FastAPI(lifespan=lifespan(URL, name="web", timeout=2.0))


async def limited(request: Request, client: RedisClient) -> None:
    """Turn a caller away that comes too often."""
    address = request.client.host if request.client else "unknown"
    pipe = client.pipeline()
    pipe.set(f"limit:{address}", 0, ex=A_MINUTE, nx=True)
    pipe.incr(f"limit:{address}")
    _, times = await pipe.execute()
    if times > PER_MINUTE:
        raise HTTPException(429, "too many requests in this minute")


@app.get("/squares/{number}", dependencies=[Depends(limited)])
async def square(number: int, client: RedisClient) -> int:
    """Return the square of a number, which takes long the first time."""
    known = await client.get(f"square:{number}")
    if known is None:
        await asyncio.sleep(0.2)
        known = number**2
        await client.set(f"square:{number}", known, ex=A_MINUTE)
    return int(known)


@app.get("/health")
async def health(client: RedisClient, response: Response) -> dict[str, Any]:
    """Say whether the server answers within a second, and what the pool is at."""
    try:
        with redpool.deadline(1.0):
            await client.ping()
        healthy = True
    except redis.RedisError:
        healthy, response.status_code = False, 503
    return {"healthy": healthy, "pool": client.connection_pool.stats().to_dict()}
