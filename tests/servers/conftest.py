"""Every kind of pool and client, against servers that behave as some do in the field."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contract.faces import Asyncio, Face, Threads
from contract.fixtures import at
from redpool.testing import MemoryServer
from shared.faces import OwnAsyncio, OwnThreads, SharingAsyncio, SharingThreads

__all__ = ["at"]

_KINDS = {
    "threads": Threads,
    "asyncio": Asyncio,
    "threads, multiplexed": SharingThreads,
    "asyncio, multiplexed": SharingAsyncio,
    "threads, client": OwnThreads,
    "asyncio, client": OwnAsyncio,
}


@pytest.fixture(params=list(_KINDS.values()), ids=list(_KINDS))
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """Each kind of pool in each shell, under redis-py's client; and redpool's client."""
    made: Face = request.param()
    yield made
    made.close()


@pytest.fixture
def memory() -> Iterator[MemoryServer]:
    """A server in memory, which does as the test says."""
    with MemoryServer() as server:
        yield server
