"""A server that obeys, and a proxy in front of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from redpool.testing import FaultProxy, ScriptedServer


@pytest.fixture
def server(scripted: ScriptedServer) -> ScriptedServer:
    """The test's own."""
    return scripted


@pytest.fixture
def proxy(server: ScriptedServer) -> Iterator[FaultProxy]:
    """A proxy of the test's own, in front of that server."""
    with FaultProxy(server.host, server.port) as proxy:
        yield proxy
