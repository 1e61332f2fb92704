"""saq over redpool: what its page says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ..conftest import Load

pytest.importorskip("saq", reason="saq is not installed: `make fresh` does it")


@pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")  # saq calls redis-py by old names
def test_jobs_are_done(load: Load) -> None:
    """By a worker over the same client, and their callers get what they return."""
    (jobs,) = load("saq", "jobs")
    assert asyncio.run(doubled(jobs, range(20))) == [2 * number for number in range(20)]


async def doubled(jobs: Any, numbers: range) -> list[int]:
    queue = jobs.connect()
    pool = queue.redis.connection_pool
    worker = jobs.worker(queue, concurrency=4)
    at_work = asyncio.create_task(worker.start())
    results = await asyncio.gather(*(queue.apply("double", number=number, timeout=20) for number in numbers))
    await worker.stop()
    await at_work
    await queue.disconnect()
    leases = pool.dump().leases
    assert [lease.last_command for lease in leases] in ([], ["PUNSUBSCRIBE"])  # saq leaves its subscriber open
    return results
