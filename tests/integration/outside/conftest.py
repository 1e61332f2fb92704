"""All kinds of pool and client, by threads and by tasks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import faces
from support.faces import OwnAsyncio, OwnThreads, Sharing, SharingAsyncio, SharingThreads


class DedicatedThreads(Sharing, faces.Threads):
    """redis-py's client over the pool of connections for one caller each."""

    name = "threads, dedicated"


class DedicatedAsyncio(Sharing, faces.Asyncio):
    """The same on an event loop."""

    name = "asyncio, dedicated"


KINDS: list[type[Sharing]] = [
    DedicatedThreads, SharingThreads, OwnThreads, DedicatedAsyncio, SharingAsyncio, OwnAsyncio,
]  # fmt: skip


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Iterator[Sharing]:
    """A kind of pool and client."""
    made: Sharing = request.param()
    yield made
    made.close()
