"""A server, and a proxy in front of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from redpool.testing import FaultProxy, MemoryServer


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    """An in-memory server of the test's own."""
    with MemoryServer() as server:
        yield server


@pytest.fixture
def proxy(server: MemoryServer) -> Iterator[FaultProxy]:
    """A proxy of the test's own, in front of that server."""
    with FaultProxy(server.host, server.port) as proxy:
        yield proxy
