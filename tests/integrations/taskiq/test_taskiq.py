"""Brokers, results and schedules of taskiq-redis over our pools, and a worker."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from taskiq import ScheduledTask
from taskiq.receiver import Receiver

import redpool.asyncio
from redpool.contrib import taskiq as ours

from ..conftest import Load

PATIENCE = 60.0


@pytest.fixture
def worker(load: Load, tmp_path: Path) -> Iterator[Any]:
    """Return the page's application, which a worker serves; the worker drops no connection."""
    (tasks,) = load("taskiq", "tasks")
    path = os.pathsep.join((str(tmp_path), *sys.path))
    command = [sys.executable, "-m", "taskiq", "worker", "tasks:broker", "--workers", "1"]
    with (tmp_path / "worker.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, stdout=log, stderr=subprocess.STDOUT
        )
    yield tasks
    process.terminate()
    process.wait(PATIENCE)
    said = (tmp_path / "worker.log").read_text()
    assert "dropped without being given back" not in said, said


def test_the_application_on_the_page(worker: Any, redis_url: str) -> None:
    """Two hundred tasks at once: sent, stored and asked for over a connection each."""

    async def ask() -> tuple[list[int], int]:
        await worker.broker.startup()
        sent = await asyncio.gather(*(worker.add.kiq(n, n) for n in range(200)))
        results = await asyncio.gather(*(task.wait_result(timeout=PATIENCE) for task in sent))
        pools = worker.broker.connection_pool, worker.broker.result_backend.redis_pool
        assert all(type(pool) is redpool.asyncio.MultiplexedConnectionPool for pool in pools)
        most = sum(pool.stats().open for pool in pools)
        await worker.broker.shutdown()
        return [result.return_value for result in results], most

    values, connections = asyncio.run(ask())
    assert (values, connections) == ([2 * n for n in range(200)], 2)


@asynccontextmanager
async def served(broker: Any) -> AsyncIterator[None]:
    """Receive the broker's tasks, in this process."""
    broker.is_worker_process = True
    await broker.startup()
    finish = asyncio.Event()
    receiving = asyncio.create_task(Receiver(broker).listen(finish))
    try:
        yield
    finally:
        finish.set()
        await receiving
        await broker.shutdown()


async def listening(url: str) -> bool:
    """Return whether there is a subscriber, after a moment."""
    await asyncio.sleep(0.02)
    async with redis.asyncio.from_url(url) as asking:
        return dict(await asking.pubsub_numsub("some"))[b"some"] > 0


@pytest.mark.parametrize("broker_class", [ours.ListQueueBroker, ours.PubSubBroker, ours.RedisStreamBroker])
@pytest.mark.parametrize("kind", ["multiplexed", "dedicated"])
def test_each_broker_delivers(broker_class: Any, kind: str, redis_url: str) -> None:
    """With taskiq-redis's arguments, those of redis-py, and the pool's."""

    async def ask() -> Any:
        broker = broker_class(
            redis_url, queue_name="some", max_connection_pool_size=9, kind=kind, max_waiting=7, client_name="taskiq"
        ).with_result_backend(ours.RedisAsyncResultBackend(redis_url, kind=kind))
        pool = broker.connection_pool
        assert (broker.queue_name, pool.max_connections, pool.config.max_waiting) == ("some", 9, 7)

        @broker.task
        async def double(n: int) -> int:
            return 2 * n

        async with served(broker):
            deadline = time.monotonic() + PATIENCE
            while broker_class is ours.PubSubBroker and not await listening(redis_url):
                assert time.monotonic() < deadline
            sent = [await double.kiq(n) for n in range(10)]
            return [(await task.wait_result(timeout=PATIENCE)).return_value for task in sent]

    assert asyncio.run(ask()) == [2 * n for n in range(10)]


def test_schedules_are_kept(redis_url: str) -> None:
    """What a source is given, another one finds."""

    async def keep() -> list[str]:
        sources = [ours.ListRedisScheduleSource(redis_url, max_connection_pool_size=3) for _ in range(2)]
        await sources[0].add_schedule(
            ScheduledTask(task_name="some", labels={}, args=[], kwargs={}, cron="* * * * *", schedule_id="one")
        )
        found = [each.task_name for each in await sources[1].get_schedules()]
        for source in sources:
            assert source._connection_pool.max_connections == 3
            await source._connection_pool.shutdown()
        return found

    assert asyncio.run(keep()) == ["some"]
