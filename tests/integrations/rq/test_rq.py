"""Queues, workers, the scheduler and the worker pool over our pools, in every process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import redis
from rq import SimpleWorker
from rq.scheduler import RQScheduler
from rq.worker_pool import WorkerPool

import redpool
from redpool.contrib.rq import Redis

from ..conftest import Load

OURS = repr(redpool.MultiplexedConnectionPool)


def rq(folder: Path, *arguments: str) -> str:
    """Run RQ's command line where the page's application is, and return what its processes have logged."""
    path = os.pathsep.join((str(folder), *sys.path))
    command = [sys.executable, "-c", "import sys; from rq.cli import main; sys.exit(main())", *arguments]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    assert "dropped without being given back" not in done.stderr, done.stderr
    return done.stderr


def test_the_application_on_the_page(load: Load, base_url: str, tmp_path: Path) -> None:
    """A worker runs its jobs, those that its scheduler has let wait among them."""
    (jobs,) = load("rq", "jobs")
    asked = [jobs.queue.enqueue(jobs.add, n, n) for n in range(10)]
    later = jobs.queue.enqueue_in(timedelta(seconds=0), jobs.add, 1, 2)
    where = jobs.queue.enqueue(jobs.pool)
    records = jobs.queue.enqueue(
        "builtins.eval", "len(__import__('redpool').fleet.ask_records(__import__('os').getppid()))"
    )
    rq(tmp_path, "worker", "-c", "settings", "--burst", "--with-scheduler", "--connection-class",
       "redpool.contrib.rq.Redis", "--url", base_url)  # fmt: skip
    assert [job.return_value() for job in asked] == [2 * n for n in range(10)]
    assert records.return_value() >= 1
    assert (later.return_value(), where.return_value()) == (3, OURS)


def test_the_children_of_a_worker_pool(load: Load, base_url: str, tmp_path: Path) -> None:
    """They are given a pool of redis-py's by RQ, and have ours."""
    (jobs,) = load("rq", "jobs")
    asked = [jobs.queue.enqueue(jobs.pool) for _ in range(6)]
    run = """
import logging, jobs
from rq.worker_pool import WorkerPool
WorkerPool(["default"], connection=jobs.queue.connection, num_workers=2).start(burst=True)
"""
    path = os.pathsep.join((str(tmp_path), *sys.path))
    done = subprocess.run(
        [sys.executable, "-c", run], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    assert "dropped without being given back" not in done.stderr, done.stderr
    assert [job.return_value() for job in asked] == [OURS] * 6


def test_what_is_rebuilt_is_the_pool_that_there_is(redis_url: str) -> None:
    """With its options; and a new one of our kind where RQ's options are of no known pool."""
    client = Redis.from_url(redis_url, timeout=2)
    worker = SimpleWorker(["some"], connection=client)
    scheduler = RQScheduler(["some"], connection=worker.connection)
    assert scheduler.connection.connection_pool is client.connection_pool
    assert client.connection_pool.config.timeout == 2
    for_pool = WorkerPool(["some"], connection=client)
    rebuilt = redis.ConnectionPool(connection_class=for_pool._pool_class, **{**for_pool._pool_kwargs, "db": 1})
    other = Redis(connection_pool=rebuilt)
    assert type(other.connection_pool) is redpool.MultiplexedConnectionPool
    assert other.connection_pool.connection_kwargs["db"] == 1
    assert other.ping()


def test_threads_share_a_connection(load: Load, base_url: str) -> None:
    """However many of them enqueue."""
    (jobs,) = load("rq", "jobs")

    def enqueue() -> None:
        for n in range(10):
            jobs.queue.enqueue(jobs.add, n, n)

    threads = [threading.Thread(target=enqueue) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert jobs.queue.count == 160
    assert jobs.queue.connection.connection_pool.stats().open == 1
