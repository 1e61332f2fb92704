"""Both shells, and servers to hold them against."""

from __future__ import annotations

from typing import Any

import pytest

from shared.fixtures import any_face

from .fixtures import at, face, memory, mute, proxy, refusing, silent, threads, unix_server, watch
from .mute import Mute

__all__ = [
    "any_face", "at", "face", "memory", "mute", "proxy", "refusing", "silent", "threads", "unix_server", "watch",
]  # fmt: skip


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def mute_at(request: pytest.FixtureRequest, mute: Mute) -> dict[str, Any]:
    """Where the mute server is, as a pool's keywords, with each protocol."""
    return {**mute.at, "protocol": request.param}


@pytest.fixture
def protocol(request: pytest.FixtureRequest) -> int:
    """The newer one, where both are not asked for."""
    return getattr(request, "param", 3)
