"""What these tests have in common."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import redpool
from redpool.fleet import FleetView, Publisher, Reader

PERIOD = 0.3
"""Seconds between two reports, where there must be several; a busy machine may hold a process up for three of them."""


@pytest.fixture
def publish(redis_url: str) -> Iterator[Callable[..., Publisher]]:
    """Report once, unless a test wants more; it ends with the test."""
    gc.collect()
    made: list[Publisher] = []

    def begin(*args: Any, **options: Any) -> Publisher:
        values: dict[str, Any] = {"service": "checkout", "period": 60.0}
        made.append(redpool.publish(*args, **values | options))
        return made[-1]

    yield begin
    for each in made:
        each.close()


@pytest.fixture
def reader(redis_url: str) -> Iterator[Reader]:
    """What sees them."""
    made = Reader(redis_url)
    yield made
    made.close()


@pytest.fixture
def pool(redis_url: str) -> Iterator[Any]:
    """A pool of threads, with one connection."""
    with redpool.ConnectionPool.from_url(redis_url, name="cache") as made:
        redis.Redis(connection_pool=made).ping()
        yield made


def processes(view: FleetView) -> set[str]:
    """The keys of those that are there."""
    assert view.error is None, view.error
    return {process.key for process in view.processes}
