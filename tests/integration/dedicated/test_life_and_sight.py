"""Leaks, life cycle and what can be seen: notes 53, 54, 56, 57 and 58."""

from __future__ import annotations

import gc
import socket
import time
from typing import Any

import pytest

from support.faces import Face, Listener, Recorder, eventually


def _faulty(face: Face, failures: int) -> Any:
    made = []

    class Faulty(face.redis.Connection):  # type: ignore[misc, name-defined]
        def __init__(self, **kwargs: Any) -> None:
            made.append(1)
            if len(made) <= failures:
                raise ZeroDivisionError
            super().__init__(**kwargs)

        def __del__(self) -> None:
            """One that was never made has nothing to end."""

    return Faulty


def test_a_failing_constructor_costs_no_place(face: Face, at: dict[str, Any]) -> None:
    """Note 53: the connection's constructor fails 3 times with `max_connections=3`; then the pool works."""
    pool = face.pool(_faulty(face, 3), 3, **at)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            pool.get_connection()
        assert eventually(lambda: (pool.stats().open, pool.stats().connecting) == (0, 0))
    taken = [pool.get_connection() for _ in range(3)]
    assert pool.stats().in_use == 3
    for connection in taken:
        pool.release(connection)


def test_close_is_bounded(face: Face, at: dict[str, Any], silent: Listener) -> None:
    """Note 54: closing many connections, and connects that lead nowhere, ends in time."""
    pool = face.pool(**at, max_connections=40)
    pool.warm_up(40)
    began = time.monotonic()
    pool.close()
    assert time.monotonic() - began < 15
    assert pool.stats().closed == {"pool closed": 40}
    dead = face.pool(host="127.0.0.1", port=silent.port, timeout=0.01, socket_timeout=1.0)
    with pytest.raises(face.redpool.PoolTimeout):
        dead.get_connection()
    began = time.monotonic()
    dead.shutdown(timeout=0.1)
    assert time.monotonic() - began < 15


def test_gauges_equal_the_truth(face: Face, at: dict[str, Any]) -> None:
    """Note 56: after any sequence of use, failure and upkeep the numbers are what the connections are."""
    recorder = Recorder()
    pool = face.pool(**at, max_connections=3, timeout=0.01, instruments=[recorder])
    pool.warm_up(3)
    client = face.client(pool)
    for turn in range(50):
        client.incr("n")
        with pool.connection() as connection:
            if turn % 7 == 0:
                connection.send_command("GET", "n")
            stats = pool.stats()
            assert (stats.in_use, stats.open) == (1, stats.idle + 1)
            assert len(pool._available_connections) == stats.idle
            assert len(pool._in_use_connections) == 1
        pool.warm_up(3)
    stats = pool.stats()
    assert (stats.open, stats.idle, stats.in_use) == (3, 3, 0)
    assert stats.closed == {"error": 8}
    assert stats.connected == 11 == len(recorder.named("connected"))
    assert stats.acquired == stats.released == stats.use.count == 100
    assert sum(stats.closed.values()) == len(recorder.named("closed"))


def test_who_holds_it(face: Face, at: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Note 57: the log and `dump()` name who took a connection, and where."""
    recorder = Recorder()
    pool = face.pool(**at, leak_after=0.02, instruments=[recorder])
    borrower = face.borrower(pool, "the culprit")
    assert eventually(lambda: recorder.named("leaked"))
    (lease,) = pool.dump().leases
    assert "the culprit" in lease.borrower
    assert "takes_one" in lease.taken_at
    assert "the culprit" in caplog.text
    assert "takes_one" in caplog.text
    borrower.release()


def test_no_system_call_where_a_connection_is_fresh(
    threads: Face, at: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Note 58: checkout and release of a connection that was just used touch neither its socket nor any selector."""
    pool = threads.pool(**at, validate_after_idle=3600.0)
    connection = pool.get_connection()
    pool.release(connection)

    class Untouchable:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} of the socket was touched")

    sock, connection._sock = connection._sock, Untouchable()
    monkeypatch.setattr(socket.socket, "recv", None)
    monkeypatch.setattr("select.poll", None)
    monkeypatch.setattr("select.select", None)
    try:
        for _ in range(100):
            assert pool.get_connection() is connection
            pool.release(connection)
    finally:
        connection._sock = sock
        monkeypatch.undo()
    assert pool.stats().connected == 1


def test_nothing_is_left_of_a_checkout(threads: Face, at: dict[str, Any]) -> None:
    """Note 58: checkout and release create no object that survives them."""
    pool = threads.pool(**at, validate_after_idle=3600.0)

    def use(times: int) -> None:
        for _ in range(times):
            pool.release(pool.get_connection())

    use(1000)
    gc.collect()
    before = len(gc.get_objects())
    use(1000)
    gc.collect()
    assert len(gc.get_objects()) - before < 100
