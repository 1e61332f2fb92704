"""`shed="codel"` under an unmodified client, and under ours: which caller fails, and that no policy tries again."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from redpool import PoolOverloaded, deadline
from redpool.core.config import MultiplexedConfig
from redpool.core.shedding import Shedding
from redpool.redispy import routing
from redpool.testing import Clock
from support.faces import PATIENCE, Doing, Face, eventually
from support.mute import Mute


def test_a_caller_that_would_come_too_late_fails_at_once(
    face: Face, at: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uses last 100 s, one caller waits already, and this one has 50 s: it fails long before its deadline."""
    monkeypatch.setattr(Shedding, "usual_use", property(lambda _: 100.0))
    pool = face.pool(**at, max_connections=1, timeout=None, shed="codel", retry=face.retry(3))
    with pool.connection():
        waiting = Doing(pool.get_connection)
        assert eventually(lambda: pool.stats().waiting == 1)
        with deadline(50.0), pytest.raises(face.redpool.PoolOverloaded, match="overloaded") as raised:
            pool.get_connection()
        assert isinstance(raised.value, redis.exceptions.MaxConnectionsError)
        assert pool.stats().shed == 1
    pool.release(waiting.result())


def test_so_is_one_that_would_wait_too_long_for_room(shell: Face, mute: Mute) -> None:
    """Over a shared connection: the first that waits for room has waited longer than this caller may wait at all."""
    pool = shell.pool(**mute.at, max_in_flight=1, socket_timeout=30.0, timeout=PATIENCE, shed="codel")
    client = shell.client(pool)
    client.set("key", "value")
    mute.proxy.half_open()
    calls = [Doing(lambda: client.get("key"))]
    assert eventually(lambda: mute.server.count("GET") == 1)
    calls.append(Doing(lambda: client.get("key")))
    assert eventually(lambda: pool.stats().oldest_wait > 0.3)
    with deadline(0.3), pytest.raises(shell.redpool.PoolOverloaded, match="1 commands in flight, 1 waiting"):
        client.incr("n")
    assert pool.stats().shed == 1
    mute.proxy.heal()
    mute.proxy.reset()  # what was held back is lost
    for call in calls:
        call.ended()
    assert mute.server.count("INCRBY") == 0


@pytest.mark.parametrize(("rate", "stands"), [(8_000, False), (100_000, True)])
def test_the_queue_for_room_stands_by_the_time_for_which_commands_are_in_flight(
    rate: int, stands: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first always waits for 30 ms, six times the least target: no reason where commands are in flight for 50."""
    clock = Clock(60.0)
    monkeypatch.setattr(routing, "_monotonic", clock)
    pipeline: Any = SimpleNamespace(in_flight=400, waiting=9, oldest_wait=lambda _now: 0.03)
    shared: Any = routing.Routing(MultiplexedConfig(shed="codel"), SimpleNamespace(decodes=False))
    shared._start_empty(nullcontext())
    shared.in_use = lambda: [SimpleNamespace(pipeline=pipeline)]
    shared.answers = lambda: round(clock() * rate)
    with pytest.raises(PoolOverloaded, match="400 commands in flight") if stands else nullcontext():
        for _ in range(50):
            clock.advance(0.01)
            shared.check_queue(pipeline)
