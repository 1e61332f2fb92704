"""Both shells and both kinds of clients, and servers to hold them against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from contract.fixtures import at, silent, unix_server, watch
from contract.mute import Mute
from redpool.testing import FaultProxy, MemoryServer

from .faces import OwnAsyncio, OwnThreads, Sharing, SharingAsyncio, SharingThreads

__all__ = ["at", "silent", "unix_server", "watch"]


@pytest.fixture(params=[SharingThreads, SharingAsyncio, OwnThreads, OwnAsyncio], ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Iterator[Sharing]:
    """Each shell, under each client. What the test made is closed after it, and nothing may be left behind."""
    made: Sharing = request.param()
    yield made
    made.close()


@pytest.fixture(params=[OwnThreads, OwnAsyncio], ids=lambda face: face.name)
def shell(request: pytest.FixtureRequest) -> Iterator[Sharing]:
    """Each shell, where the client makes no difference."""
    made: Sharing = request.param()
    yield made
    made.close()


@pytest.fixture
def threads() -> Iterator[OwnThreads]:
    """The shell for threads alone."""
    made = OwnThreads()
    yield made
    made.close()


@pytest.fixture
def attentive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool looks at its shared connections ten times as often as it would."""
    monkeypatch.setattr("redpool.sync.engine._LONGEST_SLEEP", 0.1)
    monkeypatch.setattr("redpool.asyncio.connections._LOOK_EVERY", 0.1)


@pytest.fixture
def pool(face: Sharing, at: dict[str, Any]) -> Any:
    """A pool with few places."""
    return face.pool(**at, max_connections=4)


@pytest.fixture
def client(face: Sharing, pool: Any) -> Any:
    """A client over it."""
    return face.client(pool)


@pytest.fixture
def memory() -> Iterator[MemoryServer]:
    """A server in memory, which does as the test says."""
    with MemoryServer() as server:
        yield server


@pytest.fixture
def mute(memory: MemoryServer) -> Iterator[Mute]:
    """Nothing is withheld yet."""
    with FaultProxy(memory.host, memory.port) as proxy:
        yield Mute(memory, proxy)
