"""limits over redpool: what its page says."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from ..conftest import Load

pytest.importorskip("limits", reason="limits is not installed")

CALLERS, ALLOWED = 60, 25


@pytest.fixture(autouse=True)
def _empty(base_url: str) -> None:
    with redis.Redis.from_url(f"{base_url}/0") as client:
        client.flushdb()


def test_threads_share_a_limit(load: Load) -> None:
    """As many pass as may, however many ask at once; they do so over one connection."""
    import limits

    (page,) = load("limits", "limiters")
    limiter, rate = page.limiter(), limits.parse(f"{ALLOWED}/hour")
    with ThreadPoolExecutor(CALLERS) as threads:
        passed = list(threads.map(lambda _: limiter.hit(rate, "caller"), range(CALLERS)))
    assert sum(passed) == ALLOWED
    pool = limiter.storage.storage.connection_pool
    assert pool.stats().open == 1
    pool.shutdown()


def test_tasks_share_a_limit(load: Load) -> None:
    """The same."""
    import limits

    (page,) = load("limits", "limiters")
    rate = limits.parse(f"{ALLOWED}/hour")

    async def main() -> None:
        limiter = page.limiter_of_tasks()
        passed = await asyncio.gather(*(limiter.hit(rate, "caller") for _ in range(CALLERS)))
        assert sum(passed) == ALLOWED
        pool = limiter.storage.bridge.get_connection().connection_pool
        assert pool.stats().open == 1
        await pool.shutdown()

    asyncio.run(main())
