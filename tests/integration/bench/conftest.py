"""A server with the bench's keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.peers.ground import Ground, ground


@pytest.fixture(scope="module")
def place() -> Iterator[Ground]:
    with ground() as made:
        yield made
