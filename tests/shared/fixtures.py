"""Fixtures for tests of several folders: each kind of pool and client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contract.faces import Face

from .faces import MULTIPLEXED, OF_TASKS, OF_THREADS, Sharing


@pytest.fixture(params=[*OF_THREADS.values(), *OF_TASKS.values()], ids=[*OF_THREADS, *OF_TASKS])
def any_face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """Each kind of pool in each shell, under redis-py's client; and redpool's client."""
    made: Face = request.param()
    yield made
    made.close()


@pytest.fixture(params=OF_THREADS.values(), ids=list(OF_THREADS))
def threads_face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """The same for threads alone."""
    made: Face = request.param()
    yield made
    made.close()


@pytest.fixture(params=MULTIPLEXED, ids=lambda face: face.name)
def multiplexed_face(request: pytest.FixtureRequest) -> Iterator[Sharing]:
    """The multiplexed pool of each shell, under each client."""
    made: Sharing = request.param()
    yield made
    made.close()
