"""Servers for tests: one shared, and one a test may break."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from redpool import embedded


@pytest.fixture(scope="session")
def redis_server() -> Iterator[embedded.Server]:
    """One server for the whole run; tests must leave it running and its configuration alone."""
    with embedded.start() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: embedded.Server) -> str:
    """URL of the shared server, which is empty when the test begins."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def own_server() -> Iterator[embedded.Server]:
    """A server of the test's own, to kill, pause, restart or configure."""
    with embedded.start() as server:
        yield server
