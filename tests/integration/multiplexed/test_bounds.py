"""How much is in flight at once, and who waits for room: note 63."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from redpool.testing import Raw
from redpool.wire.pipeline import Pipeline
from support.faces import PATIENCE, Doing, Face, eventually, together
from support.mute import Mute


def held_up(shell: Face, mute: Mute, **options: Any) -> tuple[Any, Any, Doing]:
    """A pool in which one command fills the in-flight queue: its reply doesn't come before the server is healed."""
    pool = shell.pool(**mute.at, max_in_flight=1, socket_timeout=30.0, **options)
    client = shell.client(pool)
    client.set("key", "value")
    mute.proxy.half_open()
    flying = Doing(lambda: client.get("key"))
    assert eventually(lambda: mute.server.count("GET") == 1)
    return pool, client, flying


def end(mute: Mute, *doings: Doing) -> None:
    """Let everybody go."""
    mute.proxy.heal()
    mute.proxy.reset()
    for doing in doings:
        doing.ended()


@pytest.mark.parametrize("bound", [1, 2, 5])
def test_more_callers_wait_their_turn(
    shell: Face, at: dict[str, Any], bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are answered, each with its own: a caller that is done has the next request written; none is left asleep."""
    monkeypatch.setattr("redpool.sync.connection._LONGEST_LOOK", 3 * PATIENCE)
    monkeypatch.setattr("redpool.sync.engine._LONGEST_SLEEP", 3 * PATIENCE)
    pool = shell.pool(**at, max_in_flight=bound)
    client = shell.client(pool)

    def work(number: int) -> None:
        for turn in range(25):
            assert client.echo(f"{number}-{turn}") == f"{number}-{turn}".encode()

    for doing in together(8, work):
        doing.result()
    stats = pool.stats()
    assert stats.batch.max <= bound
    assert (stats.in_flight, stats.waiting, stats.connected) == (0, 0, 1)


def test_who_waits_too_long_is_raised(shell: Face, mute: Mute) -> None:
    """`PoolTimeout` after `timeout` seconds: the command was never sent."""
    pool, client, flying = held_up(shell, mute, timeout=0.3)
    waiting = [Doing(lambda: client.incr("n")) for _ in range(3)]
    try:
        for doing in waiting:
            error = doing.ended()
            assert type(error) is shell.redpool.PoolTimeout
            assert "in flight" in str(error)
        assert not flying.done
        assert pool.stats().waiting <= 3
    finally:
        end(mute, flying)
    assert mute.server.count("INCRBY") == 0
    assert client.incr("n") == 1


def test_those_who_come_later_do_not_put_it_off(shell: Face, mute: Mute) -> None:
    """Each has its own time, however many come behind it."""
    _, client, flying = held_up(shell, mute, timeout=0.5)
    try:
        first = Doing(lambda: client.incr("n"))
        others = []
        while not first.done:
            others.append(Doing(lambda: client.incr("n")))
            assert not eventually(lambda: False, 0.05)
            assert len(others) < 100
        assert type(first.ended()) is shell.redpool.PoolTimeout
        for other in others:
            assert type(other.ended()) is shell.redpool.PoolTimeout
    finally:
        end(mute, flying)


def test_who_does_not_want_to_wait_is_raised_at_once(shell: Face, mute: Mute) -> None:
    """With `timeout=0` that is what a full in-flight queue means; the first caller's connect is no wait in a queue."""
    _, client, flying = held_up(shell, mute, timeout=0)
    try:
        with pytest.raises(shell.redpool.PoolTimeout):
            client.incr("n")
    finally:
        end(mute, flying)


@pytest.mark.parametrize("most", [0, 1, 3])
def test_no_more_than_so_many_wait(shell: Face, mute: Mute, most: int) -> None:
    """One more than `max_waiting` gets `PoolFull` at once."""
    pool, client, flying = held_up(shell, mute, max_waiting=most, timeout=30.0)
    waiting = [Doing(lambda: client.incr("n")) for _ in range(most)]
    try:
        assert eventually(lambda: pool.stats().waiting == most)
        assert not most or eventually(lambda: 0.0 < pool.stats().oldest_wait < 30.0)
        with pytest.raises(shell.redpool.PoolFull):
            client.incr("n")
        mute.proxy.heal()
    finally:
        end(mute, flying, *waiting)


def test_a_caller_that_may_wait_does_not_count_the_others(
    shell: Face, mute: Mute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `max_waiting`: a call would take the longer, the more callers there are."""
    _, client, flying = held_up(shell, mute, timeout=0.1)
    counted: list[Pipeline] = []

    def count(pipeline: Pipeline) -> int:
        counted.append(pipeline)
        return 0

    monkeypatch.setattr(Pipeline, "waiting", property(count))
    try:
        with pytest.raises(shell.redpool.PoolTimeout):
            client.incr("n")
        assert not counted
    finally:
        end(mute, flying)


def test_a_pipeline_larger_than_the_bound(shell: Face, at: dict[str, Any]) -> None:
    """It goes alone, and others go on before and after it."""
    client = shell.client(shell.pool(**at, max_in_flight=3))

    def work(number: int) -> None:
        for _ in range(5):
            pipe = client.pipeline(transaction=False)
            for place in range(10):
                pipe.echo(f"{number}-{place}")
            assert pipe.execute() == [f"{number}-{place}".encode() for place in range(10)]
            assert client.echo(str(number)) == str(number).encode()

    for doing in together(4, work):
        doing.result()


@pytest.mark.usefixtures("spread")
def test_shared_connections_are_taken_by_load(shell: Face, mute: Mute) -> None:
    """Where several pay, the next caller has the one with the least to do; there are never more than may be."""
    pool = shell.pool(**mute.at, shared_connections=3, socket_timeout=30.0)
    client = shell.client(pool)
    client.ping()
    assert eventually(lambda: pool.stats().in_use == 3)
    mute.server.answer("GET", Raw(b""))
    flying: list[Doing] = []
    try:
        for number in range(1, 7):
            flying.append(Doing(lambda: client.get("key")))
            assert eventually(lambda: mute.server.count("GET") == number)  # noqa: B023
        asked = Counter(each.connection for each in mute.server.commands if each.name == "GET")
        assert sorted(asked.values()) == [2, 2, 2]
        assert pool.stats().in_use == pool.stats().connected == 3
    finally:
        mute.restore("GET")
        end(mute, *flying)
