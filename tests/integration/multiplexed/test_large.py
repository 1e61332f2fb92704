"""What is large, or long, has a connection of its kind to share, so that it holds up no quick caller: note 62."""

from __future__ import annotations

from typing import Any

import pytest

from redpool import embedded
from redpool.testing import FaultProxy
from support.faces import Doing, Face, Watch, eventually

FIVE_MEGABYTES = b"x" * 5_000_000


def test_a_large_value(shell: Face, at: dict[str, Any]) -> None:
    """It arrives as it is, over one more connection, which others of its kind share."""
    pool = shell.pool(**at)
    client = shell.client(pool)
    client.set("small", "value")
    for _ in range(3):
        client.set("large", FIVE_MEGABYTES)
        assert client.get("large") == FIVE_MEGABYTES
        assert client.get("small") == b"value"
    assert eventually(lambda: pool.stats().open == 2)
    assert pool.stats().connected == 2


def test_the_small_ones_are_not_held_up(shell: Face, own_server: embedded.Server) -> None:
    """Once it is known that a reply is large, others are answered while it is still under way."""
    with FaultProxy(own_server.host, own_server.port) as proxy:
        pool = shell.pool(host=proxy.host, port=proxy.port, socket_timeout=60.0)
        client = shell.client(pool)
        client.set("small", "value")
        client.set("large", b"x" * 300_000)
        for _ in range(2):
            client.get("large")
        assert eventually(lambda: len(_multiplexed(pool)) == 2)
        own_server.pause()
        large = Doing(lambda: client.get("large"))
        assert eventually(lambda: pool.stats().in_flight == 1)
        small = [Doing(lambda: client.get("small")) for _ in range(3)]
        assert eventually(lambda: pool.stats().in_flight == 4)
        loads = sorted(each.pipeline.load for each in _multiplexed(pool))
        own_server.resume()
        assert loads == [1, 3]
        assert [each.result() for each in small] == [b"value"] * 3
        assert len(large.result()) == 300_000


def _multiplexed(pool: Any) -> list[Any]:
    pool = getattr(pool, "_target", pool)
    engine = pool._engine if hasattr(pool, "_engine") else pool._here
    return list(engine.multiplexed.in_use())


@pytest.mark.parametrize("count", [501, 3_000])
def test_a_long_pipeline(shell: Face, at: dict[str, Any], count: int) -> None:
    """It goes where the large ones go, and is answered in order."""
    pool = shell.pool(**at)
    client = shell.client(pool)
    client.get("small")
    for _ in range(2):
        pipe = client.pipeline(transaction=False)
        target = getattr(pipe, "_target", pipe)
        for number in range(count):
            target.echo(str(number))
        assert pipe.execute() == [str(number).encode() for number in range(count)]
        assert eventually(lambda: pool.stats().open == 2)
    assert client.get("small") is None


def test_where_there_is_no_place_for_it(shell: Face, at: dict[str, Any], watch: Watch) -> None:
    """Then it goes with the others: the bulk connection is never one that a caller waits for."""
    pool = shell.pool(**at, max_connections=1)
    client = shell.client(pool)
    before = watch.connected()
    for _ in range(3):
        client.set("large", b"x" * 300_000)
        assert len(client.get("large")) == 300_000
    assert watch.connected() == before + 1
    assert pool.stats().timeouts == 0
