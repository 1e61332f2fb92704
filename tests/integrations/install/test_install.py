"""What takes no pool has ours under `redpool run`: Celery's own transport, and a child that RQ spawns."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from celery import Celery
from rq import Queue

import redpool

from ..conftest import Load

PATIENCE = 60.0


@contextmanager
def under_run(folder: Path, *command: str) -> Iterator[None]:
    """Run a Python command under `redpool run`, where the tests' files are."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), *sys.path))}
    run = [sys.executable, "-m", "redpool", "run", "--max-connections", "12", "--", sys.executable, *command]
    process = subprocess.Popen(run, cwd=folder, env=environment)
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_the_lines_on_the_page(load: Load) -> None:
    """They run as they stand."""
    try:
        (startup,) = load("install", "startup")
    finally:
        redpool.uninstall()
    assert startup.client.connection_pool.max_connections == 20


def test_celery_s_own_transport(redis_url: str, base_url: str, tmp_path: Path) -> None:
    """A worker's child stores results over our pool, and says so."""
    (tmp_path / "plain.py").write_text(f"""
from celery import Celery
app = Celery("plain", broker={base_url!r}, backend={base_url!r})

@app.task(name="which")
def which():
    pool = app.backend.client.connection_pool
    return repr((type(pool).__module__, pool.max_connections))
""")
    worker = ("-m", "celery", "-A", "plain", "worker", "-c", "1", "--loglevel", "WARNING")
    with under_run(tmp_path, *worker), Celery("plain", broker=base_url, backend=base_url) as app:
        assert app.send_task("which").get(PATIENCE) == repr(("redpool.sync.pool", 12))


def test_a_child_that_rq_spawns(base_url: str, tmp_path: Path) -> None:
    """Its code says `redis.Redis`, and it has our pool."""
    (tmp_path / "spawned.py").write_text("""
def which():
    from rq import get_current_job
    return type(get_current_job().connection.connection_pool).__module__
""")
    with redis.from_url(base_url) as client:
        job = Queue(connection=client).enqueue("spawned.which")
        code = f"import redis, rq; rq.SpawnWorker(['default'], connection=redis.from_url({base_url!r})).work()"
        with under_run(tmp_path, "-c", code):
            deadline = time.monotonic() + PATIENCE
            while job.return_value() is None and time.monotonic() < deadline:
                time.sleep(0.05)
        assert job.return_value() == "redpool.sync.pool"
