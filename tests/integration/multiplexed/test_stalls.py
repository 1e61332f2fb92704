"""What counts as a dead path: deadlines that end unheard do, and bytes that flow don't."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis

import redpool
from redpool import embedded
from redpool.redispy.multiplexed import Multiplexed
from redpool.testing import ScriptedServer
from support.faces import PATIENCE, Doing, Face, eventually, together
from support.relay import Relay

LARGE = b"x" * 6_000_000


def test_short_deadlines_are_evidence_of_a_silent_path(face: Face, redis_server: embedded.Server) -> None:
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
def narrow(face: Face, server: embedded.Server, connections: int) -> Iterator[Any]:
    """A client behind an uplink on which 6 MB take two seconds, where one second of silence is too long."""
    with Relay(server.host, server.port, uplink=3e6) as relay:
        client = face.client(
            face.pool(
                host=relay.host,
                port=relay.port,
                socket_timeout=1.0,
                socket_connect_timeout=60.0,  # for `TCP_USER_TIMEOUT`: the relay may stand still
                max_connections=connections,
                retry=face.retry(0),
            )
        )
        client.set("key", "value")
        yield client


@pytest.mark.parametrize("connections", [4, 1])
def test_bytes_that_flow_are_progress(face: Face, redis_server: embedded.Server, connections: int) -> None:
    """A large command over a narrow uplink takes its time: `socket_timeout` is for silence, not for the whole of it."""
    with narrow(face, redis_server, connections) as client:
        assert client.set("large", LARGE) is True
        assert client.strlen("large") == len(LARGE)


@pytest.mark.parametrize("connections", [4, 1])
def test_callers_beside_a_large_command(face: Face, redis_server: embedded.Server, connections: int) -> None:
    """They don't fail while its bytes flow: another connection serves them, or they wait where there is no other."""
    with narrow(face, redis_server, connections) as client:
        large = Doing(lambda: client.set("large", LARGE))
        while not large.done:
            assert client.get("key") == b"value"
            time.sleep(0.01)
        assert large.result() is True


def test_the_last_bytes_flow_too() -> None:
    """What a look finds gone was on its way until just before: only silence after that is a sign of a dead path."""
    sizes = iter([0, 300_000, 300_000, 200_000, 0, 0])
    seen = SimpleNamespace(_backlog=0, _pushed=0, _measure_backlog=lambda: next(sizes))
    assert [Multiplexed._note_backlog(seen) for _ in range(6)] == [False, True, False, True, True, False]  # type: ignore[arg-type]  # all it needs
    assert seen._pushed == 3


# -- a server that is slow, or stands still ----------------------------------------------------------------------------


def test_a_late_read_is_not_sent_again_and_again(shell: Face, scripted: ScriptedServer) -> None:
    """Its caller gets the error after `socket_timeout`, though another connection was tried meanwhile."""
    scripted.answer("GET", "never")
    pool = shell.pool(host=scripted.host, port=scripted.port, socket_timeout=2.0, retry=shell.retry(0))
    client = shell.client(pool)
    client.set("key", "value")
    with pytest.raises(redis.TimeoutError):
        client.get("key")
    assert scripted.count("GET") == 1


def test_no_request_leaves_for_a_connection_that_cannot_be_had(shell: Face, own_server: embedded.Server) -> None:
    """While the whole server stands still, a read waits behind a write for its reply, which comes in time."""
    options = {"host": own_server.host, "port": own_server.port, "timeout": 0.5, "socket_timeout": 20.0}
    pool = shell.pool(**options, max_connections=1, retry=shell.retry(0))
    client = shell.client(pool)
    client.set("key", "value")
    own_server.pause()
    try:
        doings = [Doing(lambda: client.incr("n"))]
        assert eventually(lambda: pool.stats().in_flight == 1)
        doings.append(Doing(lambda: client.get("key")))
        assert not eventually(lambda: any(each.done for each in doings), 2.5)
    finally:
        own_server.resume()
    assert [each.result() for each in doings] == [1, b"value"]
    assert pool.stats().connected == 1


def test_a_loop_that_is_held_up_takes_no_reply_to_be_late(at: dict[str, Any]) -> None:
    """What was queued before it could be written, and what is there unread, has its time once the loop goes on."""

    async def run() -> list[Any]:
        client = redpool.asyncio.Redis(**at, socket_timeout=0.1, retry=None)
        await client.set("key", "value")

        async def hold_up() -> None:
            time.sleep(0.3)  # noqa: ASYNC251  that is the point

        await asyncio.gather(*[client.get("key") for _ in range(3)])  # a crowd: from now on a write waits for the turn
        *values, _ = await asyncio.gather(*[client.get("key") for _ in range(3)], hold_up())
        await client.aclose()
        return values

    assert asyncio.run(run()) == 3 * [b"value"]
