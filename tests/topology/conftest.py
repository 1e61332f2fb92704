"""One of each for the whole run: tests leave them whole, but who is the master, and of which slots, may change."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import servers


@pytest.fixture(scope="session")
def guarded() -> Iterator[servers.Guarded]:
    """A master, its replica and a Sentinel."""
    with servers.guarded() as found:
        yield found


@pytest.fixture(scope="session")
def pair() -> Iterator[servers.Pair]:
    """Two servers that change roles when a test wants it."""
    with servers.pair() as found:
        yield found


@pytest.fixture(scope="session")
def cluster() -> Iterator[servers.Cluster]:
    """Three masters."""
    with servers.cluster() as found:
        yield found
