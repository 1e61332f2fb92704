"""Both shells, and servers to hold them against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from redpool.testing import FaultProxy, MemoryServer

from .fixtures import at, face, refusing, silent, threads, unix_server, watch
from .mute import Mute

__all__ = ["at", "face", "refusing", "silent", "threads", "unix_server", "watch"]


@pytest.fixture
def mute() -> Iterator[Mute]:
    """Nothing is withheld yet."""
    with MemoryServer() as server, FaultProxy(server.host, server.port) as proxy:
        yield Mute(server, proxy)


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def mute_at(request: pytest.FixtureRequest, mute: Mute) -> dict[str, Any]:
    """Where the mute server is, as a pool's keywords, with each protocol."""
    return {**mute.at, "protocol": request.param}


@pytest.fixture
def protocol(request: pytest.FixtureRequest) -> int:
    """The newer one, where both are not asked for."""
    return getattr(request, "param", 3)
