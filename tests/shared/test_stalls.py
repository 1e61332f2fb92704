"""What counts as a dead path: deadlines that end unheard do, and bytes that flow don't."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

import redpool
from contract.faces import PATIENCE, Doing, together
from redpool import embedded

from .faces import Sharing
from .relay import Relay

LARGE = b"x" * 6_000_000


def test_short_deadlines_are_evidence_of_a_silent_path(face: Sharing, redis_server: embedded.Server) -> None:
    """Callers whose deadlines end without a byte heard are served over a new connection after a few failures each."""
    most = 10
    with Relay(redis_server.host, redis_server.port) as relay:
        client = face.client(face.pool(host=relay.host, port=relay.port, max_connections=8))
        client.set("key", "value")
        relay.silence()

        def call(_: int) -> int:
            failures, end = 0, time.monotonic() + PATIENCE
            while time.monotonic() < end:
                try:
                    with redpool.deadline(0.2):
                        assert client.get("key") == b"value"
                    return failures
                except redis.RedisError:
                    failures += 1
                    time.sleep(0.01)
            raise AssertionError("never served again")

        failures = [doing.result() for doing in together(8, call)]
    assert max(failures) <= most, f"calls that failed until a caller was served, by caller: {failures}"


@contextlib.contextmanager
def narrow(face: Sharing, server: embedded.Server, connections: int) -> Iterator[Any]:
    """A client behind an uplink on which 6 MB take two seconds, where half a second of silence is too long."""
    with Relay(server.host, server.port, uplink=3e6) as relay:
        client = face.client(
            face.pool(
                host=relay.host, port=relay.port, socket_timeout=0.5, max_connections=connections, retry=face.retry(0)
            )
        )
        client.set("key", "value")
        yield client


@pytest.mark.parametrize("connections", [4, 1])
def test_bytes_that_flow_are_progress(face: Sharing, redis_server: embedded.Server, connections: int) -> None:
    """A large command over a narrow uplink takes its time: `socket_timeout` is for silence, not for the whole of it."""
    with narrow(face, redis_server, connections) as client:
        assert client.set("large", LARGE) is True
        assert client.strlen("large") == len(LARGE)


@pytest.mark.parametrize("connections", [4, 1])
def test_callers_beside_a_large_command(face: Sharing, redis_server: embedded.Server, connections: int) -> None:
    """They don't fail while its bytes flow: another connection serves them, or they wait where there is no other."""
    with narrow(face, redis_server, connections) as client:
        large = Doing(lambda: client.set("large", LARGE))
        while not large.done:
            assert client.get("key") == b"value"
            time.sleep(0.01)
        assert large.result() is True
