"""`pool.healthy()`: whether the server answers in time, over each kind of pool."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from redpool.testing import ScriptedServer
from support.faces import Face, Listener

SOON = 0.2
"""Seconds that a check gets which ends in vain."""
AT_ONCE = 10.0
"""Seconds after which even a slow machine has seen an answer."""


def test_a_server_that_answers_is_healthy(any_face: Face, at: dict[str, Any]) -> None:
    """The check leaves nothing behind: no connection on lease, and the same one is used for the next."""
    pool = any_face.pool(**at)
    for _ in range(3):
        assert pool.healthy() is True
        assert pool.healthy(timeout=AT_ONCE) is True
    assert pool.stats().connected == 1
    assert not [each for each in pool.dump().leases if "all who share it" not in each.borrower]


def test_a_check_over_shared_connections_takes_no_other(multiplexed_face: Face, at: dict[str, Any]) -> None:
    """So that it doesn't take the only slot from those who share."""
    pool = multiplexed_face.pool(**at, max_connections=1)
    client = multiplexed_face.client(pool)
    client.set("foo", "bar")
    assert pool.healthy() is True
    client.get("foo")
    assert (pool.stats().connected, sum(pool.stats().closed.values())) == (1, 0)


def test_a_server_that_can_not_be_reached_is_not(any_face: Face, refusing: Listener) -> None:
    """That is said at once."""
    assert any_face.pool(host="127.0.0.1", port=refusing.port).healthy(AT_ONCE) is False


def test_a_server_that_is_silent_is_not(any_face: Face, scripted: ScriptedServer) -> None:
    """In time, whatever the timeouts of the pool and the retry policy; nor is it where a connection is open."""
    pool = any_face.pool(host=scripted.host, port=scripted.port, retry=any_face.retry(100))
    assert pool.healthy(AT_ONCE) is True
    scripted.pause()
    began = time.monotonic()
    assert pool.healthy(SOON) is False
    assert SOON * 0.9 <= time.monotonic() - began < AT_ONCE
    scripted.resume()


def test_a_pool_that_was_shut_down_is_not(any_face: Face, at: dict[str, Any]) -> None:
    """No command would work over it; after a `reset()` they do."""
    pool = any_face.pool(**at)
    pool.shutdown()
    assert pool.healthy(AT_ONCE) is False
    pool.reset()
    assert pool.healthy(AT_ONCE) is True


def test_a_pool_without_a_connection_to_give_is_not(face: Face, at: dict[str, Any]) -> None:
    """The check waits its turn, as every command does."""
    pool = face.pool(**at, max_connections=1)
    with pool.connection():
        assert pool.healthy(SOON) is False
    assert pool.healthy(AT_ONCE) is True


@pytest.mark.parametrize(
    ("error", "healthy"), [("NOPERM no", True), ("LOADING later", False)], ids=["NOPERM", "LOADING"]
)
def test_an_error_is_an_answer(any_face: Face, scripted: ScriptedServer, error: str, healthy: bool) -> None:
    """The user may not be allowed to PING. A server that is still loading its data can't serve."""
    scripted.answer("PING", redis.ResponseError(error))
    assert any_face.pool(host=scripted.host, port=scripted.port).healthy() is healthy
