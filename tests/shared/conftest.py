"""Both shells and both kinds of clients, and servers to hold them against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from contract.fixtures import at, memory, mute, proxy, refusing, silent, unix_server, watch

from .faces import OwnAsyncio, OwnThreads, Sharing
from .fixtures import any_face, multiplexed_face, threads_face

__all__ = [
    "any_face", "at", "memory", "multiplexed_face", "mute", "proxy", "refusing", "silent", "threads_face",
    "unix_server", "watch",
]  # fmt: skip


@pytest.fixture
def face(multiplexed_face: Sharing) -> Sharing:
    """Each shell, under each client. What the test made is closed after it, and nothing may be left behind."""
    return multiplexed_face


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
