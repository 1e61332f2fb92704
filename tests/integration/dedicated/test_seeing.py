"""What can be seen of a pool: its stats, who has what, its hooks, leaks, and the views that other libraries read."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import sys
import threading
from typing import Any

import pytest

import redpool
from redpool import embedded
from support.faces import PATIENCE, Asyncio, Doing, Face, Listener, Recorder, eventually, on_loop


def test_stats_of_a_new_pool(face: Face, at: dict[str, Any]) -> None:
    """Before its first use everything is 0, and a pool can be asked."""
    stats = face.pool(**at, max_connections=7, name="new").stats()
    assert (stats.name, stats.max_connections) == ("new", 7)
    gauges = (stats.open, stats.idle, stats.in_use, stats.connecting, stats.waiting)
    counters = (stats.acquired, stats.waited, stats.timeouts, stats.rejected, stats.connected, stats.connect_failures)
    assert (*gauges, *counters, stats.released, stats.leaks) == (0,) * 13
    assert (stats.closed, stats.wait.count, stats.use.count, stats.connect.count) == ({}, 0, 0, 0)


def test_stats_are_exact(face: Face, at: dict[str, Any]) -> None:
    """Gauges and counters say what happened."""
    pool = face.pool(**at, max_connections=2, timeout=0.01)
    pool.warm_up(2)
    held = [pool.get_connection(), pool.get_connection()]
    with pytest.raises(face.redpool.PoolTimeout):
        pool.get_connection()
    stats = pool.stats()
    assert (stats.open, stats.idle, stats.in_use, stats.waiting) == (2, 0, 2, 0)
    assert (stats.acquired, stats.released, stats.timeouts, stats.connected) == (2, 0, 1, 2)
    for connection in held:
        pool.release(connection)
    stats = pool.stats()
    assert (stats.open, stats.idle, stats.in_use, stats.released) == (2, 2, 0, 2)
    assert (stats.use.count, stats.connect.count, stats.wait.count) == (2, 2, 2)
    assert 0 < stats.connect.mean <= stats.connect.max
    assert stats.use.p50 <= stats.use.p90 <= stats.use.p99 <= stats.use.p999 <= stats.use.max
    assert 0 < stats.utilization <= 1


def test_stats_are_frozen_and_plain(face: Face, at: dict[str, Any]) -> None:
    """A `PoolStats` can't be changed, and `to_dict()` is fit for JSON."""
    pool = face.pool(**at)
    face.client(pool).ping()
    stats = pool.stats()
    assert isinstance(stats, redpool.PoolStats)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(stats, "open", 9)  # noqa: B010
    plain = json.loads(json.dumps(stats.to_dict()))
    assert (plain["open"], plain["connected"], plain["use"]["count"]) == (1, 1, 1)
    assert set(plain) == {field.name for field in dataclasses.fields(stats)}


def test_open_is_always_idle_and_in_use(face: Face, at: dict[str, Any]) -> None:
    """`open == idle + in_use` at any moment, also while everything happens at once."""
    pool = face.pool(**at, max_connections=4, max_idle_time=0.02, max_lifetime=0.05, ping_after_idle=0.01, timeout=60)
    client = face.client(pool)

    def use() -> None:
        for _ in range(30):
            client.incr("n")

    doings = [Doing(use) for _ in range(8)]
    seen = [pool.stats()]
    while not all(doing.done for doing in doings):
        seen.append(pool.stats())
    assert [doing.ended() for doing in doings] == [None] * 8
    assert all(stats.open == stats.idle + stats.in_use for stats in seen)
    assert all(0 <= stats.open <= 4 and stats.idle >= 0 and stats.in_use >= 0 for stats in seen)
    assert client.get("n") == b"240"
    assert pool.stats().acquired == pool.stats().released == 241


def test_dump(face: Face, at: dict[str, Any]) -> None:
    """`dump()` tells who has what since when, its last command, and who waits how long."""
    pool = face.pool(**at, max_connections=1, timeout=60, name="dumped")
    client = face.client(pool)
    client.set("foo", "bar")
    borrower = face.borrower(pool, "the borrower")
    second = Doing(pool.get_connection, name="the waiter")
    assert eventually(lambda: pool.stats().waiting == 1)
    dump = pool.dump()
    (lease,), (waiter,) = dump.leases, dump.waiters
    assert "the borrower" in lease.borrower
    assert lease.last_command == "ECHO"
    assert lease.age >= waiter.age >= 0
    if not face.asynchronous:
        assert "the waiter" in waiter.borrower
    assert "takes_one" in (lease.taken_at or "") or "_borrow" in (lease.taken_at or "")
    text = str(dump)
    assert "dumped: 1 in use, 1 waiting" in text
    assert "the borrower" in text
    assert "ECHO" in text
    borrower.release()
    pool.release(second.result())
    assert (pool.dump().leases, pool.dump().waiters) == ((), ())


def test_dump_knows_where_it_was_taken(face: Face, at: dict[str, Any]) -> None:
    """With `leak_after` set, the dump has the very stack that took the connection."""
    pool = face.pool(**at, leak_after=3600)
    borrower = face.borrower(pool, "the borrower")
    (lease,) = pool.dump().leases
    assert "takes_one" in lease.taken_at
    borrower.release()


def test_a_dump_shows_where_a_connection_was_taken_and_not_where_its_holder_is(
    face: Face, at: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frames of other threads are never looked at: that crashes CPython 3.11."""
    monkeypatch.setattr(sys, "_current_frames", None)
    pool = face.pool(**at)
    borrower = face.borrower(pool, "the borrower")
    (lease,) = pool.dump().leases
    assert "takes_one" in lease.taken_at
    borrower.release()


def test_what_was_not_noted_is_not_shown(threads: Face, at: dict[str, Any]) -> None:
    """redis-py's client notes nothing for a single command, so the dump says nothing of the place."""
    pool = threads.pool(**at)
    client = threads.client(pool)
    blocked = Doing(lambda: client.blpop("nothing", timeout=2))
    assert eventually(lambda: [lease.last_command for lease in pool.dump().leases] == ["BLPOP"])
    (lease,) = pool.dump().leases
    assert lease.taken_at is None
    client.lpush("nothing", "something")
    assert blocked.result() == (b"nothing", b"something")


def test_a_dump_from_another_thread_touches_no_frame_of_a_stuck_loop(at: dict[str, Any]) -> None:
    """The loop runs code of its own meanwhile; what was noted is shown all the same."""
    face = Asyncio()
    pool = face.pool(**at)
    stuck, go_on = threading.Event(), threading.Event()
    taken: list[Any] = []

    async def take_and_block() -> None:
        taken.append(await pool._target.get_connection())
        engine = pool._target._here
        for slot in engine.core.leased():
            slot.taken = None
        stuck.set()
        go_on.wait(PATIENCE)

    blocking = Doing(lambda: on_loop(face.loop, take_and_block))
    assert stuck.wait(PATIENCE)
    (lease,) = pool._target.dump().leases
    go_on.set()
    blocking.result()
    assert lease.taken_at is None
    assert "task" in lease.borrower
    on_loop(face.loop, lambda: pool._target.release(taken.pop()))
    face.close()


def test_a_leak_is_reported_once(face: Face, at: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """A connection held longer than `leak_after` is reported once, with its holder and the stack that took it."""
    recorder = Recorder()
    pool = face.pool(**at, leak_after=0.05, name="leaky", instruments=[recorder])
    with caplog.at_level(logging.WARNING, logger="redpool"):
        first = face.borrower(pool, "the borrower")
        assert eventually(lambda: recorder.named("leaked"))
        other = face.borrower(pool, "another")
        assert eventually(lambda: len(recorder.named("leaked")) == 2)
    (age, borrower, stack), (_, second, _) = recorder.named("leaked")
    assert age >= 0.05
    assert "the borrower" in borrower
    assert "another" in second
    assert "takes_one" in stack
    assert pool.stats().leaks == 2
    (message, _) = [record.getMessage() for record in caplog.records]
    assert "leaky" in message
    assert "the borrower" in message
    assert "takes_one" in message
    first.release()
    other.release()
    assert pool.stats().in_use == 0


def test_every_hook_fires(face: Face, at: dict[str, Any], refusing: Listener) -> None:
    """`connected`, `acquired`, `released`, `timed_out`, `leaked`, `closed`, `connect_failed`, with the pool's name."""
    recorder = Recorder()
    pool = face.pool(**at, max_connections=1, timeout=0.01, leak_after=0.05, name="hooked", instruments=(recorder,))
    pool.warm_up(1)
    assert eventually(lambda: recorder.named("connected"))
    connection = pool.get_connection()
    assert eventually(lambda: recorder.named("leaked"))
    with pytest.raises(face.redpool.PoolTimeout):
        pool.get_connection()
    pool.release(connection)
    pool.close()
    assert eventually(lambda: recorder.named("closed"))
    assert recorder.hooks == ["connected", "acquired", "leaked", "timed_out", "released", "closed"]
    assert recorder.named("connected")[0][0] > 0
    assert recorder.named("acquired") == [(0.0,)]
    assert recorder.named("timed_out")[0][0] >= 0.01
    assert recorder.named("released")[0][0] >= 0.05
    reason, age = recorder.named("closed")[0]
    assert (reason, age > 0) == ("pool closed", True)
    assert recorder.pools == {"hooked"}

    down = face.pool(host="127.0.0.1", port=refusing.port, instruments=[recorder])
    with pytest.raises(Exception, match="Error 111"):
        down.get_connection()
    assert eventually(lambda: recorder.named("connect_failed"))
    assert "Error 111" in str(recorder.named("connect_failed")[0][0])


def test_the_hook_for_a_wait_knows_how_long(face: Face, at: dict[str, Any]) -> None:
    """`acquired` gets how long the caller waited."""
    recorder = Recorder()
    pool = face.pool(**at, max_connections=1, timeout=60, instruments=[recorder])
    held = pool.get_connection()
    waiting = Doing(pool.get_connection)
    assert eventually(lambda: pool.dump().waiters and pool.dump().waiters[0].age >= 0.05)
    pool.release(held)
    pool.release(waiting.result())
    assert recorder.named("acquired")[-1][0] >= 0.05


@pytest.mark.parametrize("hook", ["connected", "acquired", "released", "closed", "timed_out", "leaked"])
def test_a_hook_that_raises_is_dropped(
    face: Face, at: dict[str, Any], caplog: pytest.LogCaptureFixture, hook: str
) -> None:
    """A hook that raises is called no more, and logged; the pool and the other hooks go on."""
    calls = []

    def fail(*args: Any) -> None:
        calls.append(args)
        raise ZeroDivisionError

    recorder = Recorder()
    faulty = type("Faulty", (), {hook: staticmethod(fail)})()
    pool = face.pool(**at, max_connections=1, timeout=0.02, leak_after=0.03, instruments=[faulty, recorder])
    pool.warm_up(1)
    for turn in range(1, 3):
        before = len(recorder.named("leaked"))
        with pool.connection():
            with pytest.raises(face.redpool.PoolTimeout):
                pool.get_connection()
            assert eventually(lambda before=before: len(recorder.named("leaked")) > before)  # type: ignore[misc]
        pool.drain()
        pool.warm_up(1)  # a connect may well take longer than callers wait here
        assert face.client(pool).ping() is True
        assert pool.stats().connected == 1 + turn
    assert eventually(lambda: len(recorder.named("closed")) >= 2)
    assert len(calls) == 1
    assert len(recorder.named(hook)) >= 2
    (record,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_an_instrument_may_be_anything(face: Face, at: dict[str, Any]) -> None:
    """Any object with some of the methods will do; a method that can't be called is refused."""

    class Half(redpool.Instrument):
        def __init__(self) -> None:
            self.seen = 0

        def connected(self, pool: str, seconds: float) -> None:
            self.seen += 1

    half = Half()
    face.client(face.pool(**at, instruments=[half, object()])).ping()
    assert eventually(lambda: half.seen == 1)
    with pytest.raises(TypeError, match="connected"):
        face.pool(instruments=[type("Odd", (), {"connected": 7})()])


def test_views_for_other_libraries(face: Face, at: dict[str, Any]) -> None:
    """`_available_connections` and `_in_use_connections` are read-only views of what is idle and in use."""
    pool = face.pool(**at)
    pool.warm_up(3)
    held = pool.get_connection()
    assert len(pool._available_connections) == 2
    assert list(pool._in_use_connections) == [held]
    assert held not in pool._available_connections
    pool._available_connections.clear()
    pool._in_use_connections.clear()
    assert (len(pool._available_connections), len(pool._in_use_connections)) == (2, 1)
    assert pool._created_connections == 3
    assert pool.owns_connection(held)
    pool.release(held)
    assert len(pool._in_use_connections) == 0


@pytest.mark.needs("OpenTelemetry recording")
def test_counts_for_open_telemetry(face: Face, at: dict[str, Any]) -> None:
    """`get_connection_count()` has redis-py's form: pairs of a number and attributes, idle and used."""
    pool = face.pool(**at)
    pool.warm_up(2)
    with pool.connection():
        counts = pool.get_connection_count()
    assert [count for count, _ in counts] == [1, 1]
    assert [attributes["db.client.connection.state"] for _, attributes in counts] == ["idle", "used"]


def test_repr(face: Face, at: dict[str, Any]) -> None:
    """`repr(pool)` shows name, state and counts, never a password; also before the first use and after close."""
    pool = face.pool(**at, password="s3cret", username="someone", name="shown", max_connections=4)
    assert "shown open: 0 of 4 in use, 0 waiting" in repr(pool)
    pool.shutdown()
    assert "shown shut down" in repr(pool)
    assert "s3cret" not in repr(pool)
    fine = face.pool(**at, max_connections=4)
    with fine.connection():
        assert re.search(r"1 of 4 in use, 0 waiting, oldest lease \d+\.\d s", repr(fine))


@pytest.mark.parametrize("rule", ["safe", "all", "none"])
def test_repr_shows_what_may_be_sent_again(face: Face, rule: str) -> None:
    """`repr(pool)` names the rule by which a retry policy may send again what may have run: note 9."""
    assert f"; retry_sent={rule!r}; " in repr(face.pool(retry_sent=rule))
    assert "; retry_sent='safe'; " in repr(face.pool())


def test_the_surface_of_redis_py(face: Face, redis_server: embedded.Server) -> None:
    """Every public method of redis-py's pools is there, but the one that locks a blocking pool during maintenance."""
    theirs = {name for name in dir(face.redis.ConnectionPool) if not name.startswith("_")}
    theirs |= {name for name in dir(face.redis.BlockingConnectionPool) if not name.startswith("_")}
    missing = theirs - set(dir(face.pool_class)) - {"set_in_maintenance"}
    instance = face.pool_class()
    assert not {name for name in missing if not hasattr(instance, name)}
