"""Each library on the page that takes what redis-py has works with redpool's."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

import redpool
import redpool.asyncio

from ..conftest import Load, write_page

# What the libraries do, and redis-py's own word on its client over several databases.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:MultiDBClient is an experimental:UserWarning"),
]


@pytest.fixture(autouse=True)
def _empty(base_url: str) -> None:
    with redis.Redis.from_url(f"{base_url}/0") as client:
        client.flushall()


@pytest.mark.parametrize("name", ["django", "django-redis"])
def test_caches_of_django(name: str, base_url: str, tmp_path: Path) -> None:
    """A cache keeps and counts over the pool that its settings name."""
    write_page("others", tmp_path, base_url)
    code = f"""
import caches, django, redpool
from django.conf import settings
settings.configure(CACHES={{"default": caches.CACHES[{name!r}]}})
from django.core.cache import cache
cache.set("key", {{"a": 1}}, 60)
assert cache.get("key") == {{"a": 1}} and cache.add("n", 1) and cache.incr("n") == 2
client = cache._cache.get_client(None, write=True) if {name!r} == "django" else cache.client.get_client()
assert type(client.connection_pool) is redpool.MultiplexedConnectionPool, client.connection_pool
assert client.connection_pool.config.timeout == 2
assert type(client) is (redpool.Redis if {name!r} == "django-redis" else __import__("redis").Redis)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), *sys.path))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


def test_caches(load: Load) -> None:
    """A region of dogpile's and cashews keep what they are given."""
    (page,) = load("others", "caching")
    assert [page.region.get_or_create("key", lambda: 1) for _ in range(2)] == [1, 1]
    assert page.pool.stats().open == 1
    page.pool.shutdown()

    async def main() -> None:
        await page.cashews.set("key", {"a": 1}, expire=60)
        assert await page.cashews.get("key") == {"a": 1}
        await page.cashews.close()

    asyncio.run(main())


def test_caches_of_tasks(load: Load) -> None:
    """Both caches keep what they are given; 200 callers of aiocache share a connection."""
    (page,) = load("others", "aio_caching")

    async def main() -> None:
        await page.aiocached.set("key", "value")
        assert await asyncio.gather(*(page.aiocached.get("key") for _ in range(200))) == ["value"] * 200
        pool = page.aiocached.client.connection_pool
        assert type(pool) is redpool.asyncio.MultiplexedConnectionPool
        assert pool.stats().open == 1
        await page.aiocached.close()
        await pool.shutdown()
        page.startup()
        backend = page.FastAPICache.get_backend()
        await backend.set("key", b"value", expire=60)
        assert await backend.get("key") == b"value"
        await backend.redis.aclose()

    asyncio.run(main())


def test_queues(load: Load) -> None:
    """A task of dramatiq, one of huey, and a job of APScheduler are done."""
    import dramatiq
    from apscheduler.schedulers.background import BackgroundScheduler

    (page,) = load("others", "queues")
    done: list[str] = []
    actor = dramatiq.actor(actor_name="actor")(lambda: done.append("dramatiq"))
    worker = dramatiq.Worker(page.broker, worker_timeout=100, worker_threads=2)
    worker.start()
    try:
        actor.send()
        page.broker.join(actor.queue_name, timeout=30_000)
        worker.join()
    finally:
        worker.stop()
        page.broker.close()
    task = page.huey.task()(lambda: done.append("huey"))
    result = task()
    page.huey.execute(page.huey.dequeue())
    assert result() is None
    scheduler = BackgroundScheduler(jobstores={"default": page.jobstore})
    scheduler.start(paused=True)
    scheduler.add_job("os:getpid", id="job", trigger="interval", hours=1)
    assert [job.id for job in page.jobstore.get_all_jobs()] == ["job"]
    scheduler.shutdown()
    assert done == ["dramatiq", "huey"]


def test_objects(load: Load) -> None:
    """A dictionary of pottery's and a hash of walrus's hold what is put into them."""
    (page,) = load("others", "objects")
    page.pottery["key"] = 1
    page.walrus.Hash("hash").update(key="value")
    assert page.pottery["key"] == 1
    assert page.walrus.Hash("hash")["key"] == b"value"
    assert page.walrus.lock("lock").acquire(block=False)


def test_flask_redis(load: Load) -> None:
    """It makes the client that it is told."""
    (page,) = load("others", "flask_app")
    with page.app.app_context():
        assert page.redis.incr("visits") == 1
    assert type(page.redis._redis_client) is redpool.Redis


def test_several_databases(load: Load) -> None:
    """The first database is asked over the pool that was given."""
    (page,) = load("others", "databases")
    assert page.client.set("key", "value")
    assert page.client.get("key") == b"value"
    values: list[Any] = [redis.Redis(connection_pool=pool).get("key") for pool in page.pools]
    assert values == [b"value", None]
    page.client.close()
