"""`max_connections="auto"` on a real server: under each shell the pool grows for its callers, and says why."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from support.faces import PATIENCE, Doing, Face, eventually


def test_a_pool_grows_for_callers_that_wait(face: Face, at: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Six callers keep a connection each; it began with two. Each decision stands in the dump and in the debug log."""
    caplog.set_level(logging.DEBUG, "redpool")
    pool = face.pool(**at, max_connections="auto", limits=(2, 6), timeout=PATIENCE, name="own size")
    assert pool.max_connections == 2
    taken = [Doing(pool.get_connection) for _ in range(6)]
    connections = [doing.result() for doing in taken]
    assert pool.max_connections == 6
    assert pool.stats().max_connections == 6
    seventh = Doing(pool.get_connection)
    assert eventually(lambda: pool.stats().waiting == 1)
    decisions = [decision.what for decision in pool.dump().decisions]
    assert decisions[-1].startswith("6 connections are allowed in place of 5: a caller waits for")
    assert f"own size: {decisions[-1]}" in caplog.messages
    for connection in connections:
        pool.release(connection)
    pool.release(seventh.result())
    with pytest.raises(ValueError, match="the pool sizes itself"):
        pool.resize(3)


def test_it_warms_up_as_far_as_its_upper_limit(face: Face, at: dict[str, Any]) -> None:
    """It allows so many connections, and says so."""
    pool = face.pool(**at, max_connections="auto", limits=(2, 6), timeout=PATIENCE)
    pool.warm_up(5)
    assert (pool.max_connections, pool.stats().idle) == (5, 5)
    assert "warm_up(5) asks for them" in pool.dump().decisions[0].what
    with pytest.raises(ValueError, match=r"n=7 is more than limits\[1\]=6"):
        pool.warm_up(7)


def test_a_url_can_ask_for_it(face: Face, redis_url: str) -> None:
    """As for any option; the limits have defaults."""
    pool = face.pool_from_url(f"{redis_url}?max_connections=auto")
    assert pool.max_connections == 2
    assert pool.config.limits == (2, 50)


def test_a_client_of_ours_can_ask_for_it(shell: Face, at: dict[str, Any]) -> None:
    """redis-py's clients, from which it takes the other options, don't know it."""
    client = shell.own(**at, max_connections="auto", limits=(1, 4))
    assert client.ping()
    assert client.connection_pool.config.limits == (1, 4)


def test_large_replies_have_a_connection_of_their_own(shell: Face, at: dict[str, Any]) -> None:
    """Though the pool begins with one, which all share: it grows for it, and the one that is shared stays."""
    client = shell.own(**at, max_connections="auto", limits=(1, 4))
    pool = client.connection_pool
    client.set("large", b"x" * 1_000_000)

    def grown() -> bool:
        client.get("large")
        return bool(pool.max_connections >= 2 and pool.stats().open >= 2)

    assert eventually(grown)
    assert pool.stats().closed.get("surplus", 0) == 0
