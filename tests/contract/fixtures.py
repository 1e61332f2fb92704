"""Fixtures for tests of several folders: both shells, and servers to hold them against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from redpool import embedded
from redpool.testing import FaultProxy, MemoryServer

from .faces import Asyncio, Face, Listener, Threads, Watch
from .mute import Mute


@pytest.fixture(params=[Threads, Asyncio], ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """Each shell in turn. Whatever the test made is closed after it, and nothing may be left behind."""
    made: Face = request.param()
    yield made
    made.close()


@pytest.fixture
def threads() -> Iterator[Face]:
    """The shell for threads alone."""
    made = Threads()
    yield made
    made.close()


@pytest.fixture(scope="session")
def unix_server() -> Iterator[embedded.Server]:
    """A server on a Unix socket for the whole run."""
    with embedded.start(unix=True) as server:
        yield server


@pytest.fixture
def at(redis_server: embedded.Server, redis_url: str) -> dict[str, Any]:
    """Where the shared server is, as a connection's keywords."""
    return {"host": redis_server.host, "port": redis_server.port}


@pytest.fixture
def watch(redis_url: str) -> Iterator[Watch]:
    """The shared server's own view."""
    made = Watch(redis_url)
    yield made
    made.close()


@pytest.fixture
def refusing() -> Iterator[Listener]:
    """A port at which every connection is refused."""
    made = Listener(answering=False)
    yield made
    made.close()


@pytest.fixture
def silent() -> Iterator[Listener]:
    """A port at which connections open and no caller ever answers."""
    made = Listener(answering=True)
    yield made
    made.close()


@pytest.fixture
def memory() -> Iterator[MemoryServer]:
    """A server in memory, which does as the test says."""
    with MemoryServer() as server:
        yield server


@pytest.fixture
def proxy(memory: MemoryServer) -> Iterator[FaultProxy]:
    """A proxy before the server in memory."""
    with FaultProxy(memory.host, memory.port) as proxy:
        yield proxy


@pytest.fixture
def mute(memory: MemoryServer) -> Iterator[Mute]:
    """The same, as a server of which nothing is withheld yet."""
    with FaultProxy(memory.host, memory.port) as proxy:
        yield Mute(memory, proxy)
