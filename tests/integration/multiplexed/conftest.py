"""Multiplexed pools in both shells, under redis-py's client and under redpool's."""

from __future__ import annotations

from typing import Any

import pytest

from redpool.wire.routing import Spread
from support.faces import Face, OwnThreads


@pytest.fixture
def face(multiplexed_face: Face) -> Face:
    """Each shell, under each client. What the test made is closed after it, and nothing may be left behind."""
    return multiplexed_face


@pytest.fixture
def threads(multiplexed_threads: OwnThreads) -> OwnThreads:
    """The shell for threads alone."""
    return multiplexed_threads


@pytest.fixture
def attentive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool looks at its shared connections ten times as often as it would."""
    monkeypatch.setattr("redpool.sync.engine._LONGEST_SLEEP", 0.1)
    monkeypatch.setattr("redpool.asyncio.connections._LOOK_EVERY", 0.1)


class _AtOnce(Spread):
    """As many as may be, whether they pay or not."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.kept = self.wanted = self.taking = most

    def look(self, now: float, answered: int, under_way: int, there: int) -> None:
        pass


@pytest.fixture
def spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool opens all of `shared_connections`, one at each look, of which there are a hundred a second."""
    monkeypatch.setattr("redpool.redispy.routing.Spread", _AtOnce)
    monkeypatch.setattr("redpool.sync.connections._LONGEST_SLEEP", 0.01)
    monkeypatch.setattr("redpool.asyncio.connections._LOOK_EVERY", 0.01)


@pytest.fixture
def pool(face: Face, at: dict[str, Any]) -> Any:
    """A pool with few places."""
    return face.pool(**at, max_connections=4)


@pytest.fixture
def client(face: Face, pool: Any) -> Any:
    """A client over it."""
    return face.client(pool)
