"""Applications over Litestar: handlers and stores over one pool."""

from __future__ import annotations

import redis
from litestar import Litestar, get
from litestar.testing import TestClient

import redpool.asyncio
from redpool.contrib.litestar import RedisClient, RedisPlugin

from ..conftest import Load


def test_the_application_on_the_page(load: Load) -> None:
    """It counts, its cache is in the server, and at its end no connection is left; it may begin again."""
    (app,) = load("litestar", "app")
    for begun in (1, 3):
        with TestClient(app.app) as visitor:
            assert [visitor.get("/visits").json() for _ in range(2)] == [begun, begun + 1]
            assert [visitor.get("/slow").json() for _ in range(3)] == [1, 1, 1]
    pool = app.plugin.client.connection_pool
    assert pool.config.timeout == 2
    assert (pool.stats().open, pool.stats().in_use) == (0, 0)


def test_two_plugins_of_an_application(redis_url: str) -> None:
    """Each has its name, its kind, and its options."""

    @get("/")
    async def ask(cache: RedisClient, jobs: RedisClient) -> list[bool]:
        return [bool(await cache.ping()), type(jobs.connection_pool) is redpool.asyncio.ConnectionPool]

    plugins = [RedisPlugin(redis_url, name="cache"), RedisPlugin(redis_url, "dedicated", "jobs", max_connections=3)]
    with TestClient(Litestar([ask], plugins=plugins)) as visitor:
        assert visitor.get("/").json() == [True, True]
    assert plugins[1].client.connection_pool.max_connections == 3


def test_a_store_keeps_what_it_is_given(redis_url: str) -> None:
    """Under its namespace, and deletes no other one's."""
    plugin = RedisPlugin(redis_url)
    store, other = plugin.store("some"), plugin.store("other")

    @get("/")
    async def use() -> list[str | None]:
        await store.set("key", "value")
        await other.set("key", "other", expires_in=50)
        await store.delete_all()
        return [str(await store.get("key")), str(await other.get("key", renew_for=50))]

    with TestClient(Litestar([use], plugins=[plugin])) as visitor:
        assert visitor.get("/").json() == ["None", "b'other'"]
    with redis.from_url(redis_url) as asking:
        assert asking.keys("*") == [b"other:key"]
