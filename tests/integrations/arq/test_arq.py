"""arq over redpool: what its page says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ..conftest import Load

pytest.importorskip("arq", reason="arq is not installed: `make fresh` does it")


@pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")  # arq calls redis-py by old names
def test_jobs_are_done(load: Load) -> None:
    """By a worker over the same client, and their callers get what they return; the pool ends with nothing in use."""
    (jobs,) = load("arq", "jobs")
    assert asyncio.run(doubled(jobs, range(20))) == [2 * number for number in range(20)]


async def doubled(jobs: Any, numbers: range) -> list[int]:
    client = jobs.connect()
    pool = client.connection_pool
    queued = [await client.enqueue_job("double", number) for number in numbers]
    worker = jobs.worker(client, burst=True, handle_signals=False, poll_delay=0.01)
    await worker.main()
    results = [await job.result(timeout=20, poll_delay=0.01) for job in queued]
    await worker.close()  # which closes the client
    assert (pool.stats().open, pool.stats().in_use) == (0, 0)
    return results
