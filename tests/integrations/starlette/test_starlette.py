"""Applications over FastAPI and Starlette: one pool for each, from its start to its end."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
import redis
from fastapi import Depends, FastAPI, WebSocket
from starlette.testclient import TestClient

import redpool
import redpool.asyncio
from redpool.contrib.fastapi import RedisClient, client, lifespan

from ..conftest import Load


def test_the_application_on_the_page(load: Load) -> None:
    """It counts, and its pool is shut down at the end."""
    (app,) = load("fastapi", "app")
    with TestClient(app.app) as visitor:
        assert [visitor.get("/visits").json() for _ in range(3)] == [1, 2, 3]
        pool = app.app.state.redis.connection_pool
        assert pool.config.timeout == 2
    with pytest.raises(redpool.PoolClosed):
        asyncio.run(app.app.state.redis.ping())


def test_the_metrics_of_the_application_on_the_page(load: Load) -> None:
    """They are those of its pool."""
    (measured,) = load("fastapi", "measured")
    with TestClient(measured.app) as visitor:
        assert 'redpool_connections_max{pool="visits"} 50.0' in visitor.get("/metrics/").text


def test_starlette_alone(load: Load) -> None:
    """The application's own lifespan stands within, with the client, and keeps its state."""
    (plain,) = load("fastapi", "plain")
    with TestClient(plain.app) as visitor:
        assert [visitor.get("/visits").text for _ in range(2)] == ["1", "2"]
        assert visitor.app_state["warm"] is True


def test_two_hundred_requests_share_one_connection(redis_url: str) -> None:
    """They are under way together, as many as there are."""
    app = FastAPI(lifespan=lifespan(redis_url))

    @app.get("/")
    async def count(redis: RedisClient) -> Any:
        await redis.ping()
        return await redis.incr("requests")

    async def ask() -> tuple[list[int], int]:
        async with app.router.lifespan_context(app):
            transport = httpx2.ASGITransport(app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://app") as visitor:
                replies = await asyncio.gather(*(visitor.get("/") for _ in range(200)))
            return sorted(reply.json() for reply in replies), app.state.redis.connection_pool.stats().open

    assert asyncio.run(ask()) == (list(range(1, 201)), 1)


def test_dependencies_and_websockets_have_it_too(redis_url: str) -> None:
    """And the kind of pool can be chosen, and its options be given."""
    app = FastAPI(
        lifespan=lifespan(
            redis_url, pool_class=redpool.asyncio.ConnectionPool, max_connections=3, decode_responses=True
        )
    )

    async def user(redis: RedisClient) -> Any:
        return await redis.get("user")

    @app.websocket("/ws")
    async def talk(websocket: WebSocket, redis: RedisClient, name: str = Depends(user)) -> None:
        assert redis is client(websocket)
        await websocket.accept()
        await websocket.send_text(name)
        await websocket.close()

    with redis.from_url(redis_url) as setting:
        setting.set("user", "someone")
    with TestClient(app) as visitor, visitor.websocket_connect("/ws") as websocket:
        assert websocket.receive_text() == "someone"
        assert app.state.redis.connection_pool.max_connections == 3
        assert type(app.state.redis.connection_pool) is redpool.asyncio.ConnectionPool
