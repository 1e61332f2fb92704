"""The whole pool at once, where its connections are shared: drain, disconnect, resize, reset, close; what is seen."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from support.faces import Doing, Face, Watch, eventually, together
from support.mute import Mute


def deaf(shell: Face, mute: Mute, **options: Any) -> tuple[Any, Any, Doing]:
    """A pool with a GET under way, whose reply comes when the server resumes."""
    pool = shell.pool(**mute.at, socket_timeout=30.0, **options)
    client = shell.client(pool)
    client.set("key", "value")
    mute.server.pause()
    flying = Doing(lambda: client.get("key"))
    assert eventually(lambda: pool.stats().in_flight == 1)
    return pool, client, flying


@pytest.mark.parametrize("act", ["drain", "reset", "close"])
def test_what_is_in_flight_is_answered(shell: Face, mute: Mute, act: str) -> None:
    """After a drain, a reset and a close, too; the next call has another connection, and the old one goes."""
    pool, client, flying = deaf(shell, mute)
    getattr(pool, act)()
    assert not flying.done
    mute.server.resume()
    assert flying.result() == b"value"
    assert client.get("key") == b"value"
    assert eventually(lambda: mute.server.clients == 1)
    assert eventually(lambda: (pool.stats().open, pool.stats().in_flight) == (1, 0))


def test_a_graceful_shutdown(shell: Face, mute: Mute) -> None:
    """What is in flight is answered; new calls are refused at once; then every connection is closed."""
    pool, client, flying = deaf(shell, mute)
    closing = Doing(lambda: pool.shutdown(timeout=30.0))

    def rejected() -> bool:
        try:
            client.get("key")
        except shell.redpool.PoolClosed:
            return True
        except redis.RedisError:
            return False
        return False

    # A call that came before it was shut down waits as the first one does.
    assert eventually(lambda: "shut down" in repr(pool))
    assert rejected()
    assert not closing.done
    mute.server.resume()
    assert flying.result() == b"value"
    closing.result()
    assert eventually(lambda: mute.server.clients == 0)
    assert (pool.stats().open, pool.stats().in_flight) == (0, 0)


def test_a_shutdown_by_force(shell: Face, mute: Mute) -> None:
    """A caller that waits gets a `ConnectionError`, now."""
    pool, client, flying = deaf(shell, mute, retry=shell.retry(0))
    pool.shutdown(timeout=30.0, force=True)
    assert isinstance(flying.ended(), redis.ConnectionError)
    with pytest.raises(shell.redpool.PoolClosed):
        client.get("key")
    with pytest.raises(shell.redpool.PoolClosed):
        client.blpop("nothing", 0.1)
    with pytest.raises(shell.redpool.PoolClosed):
        client.pipeline().get("key").execute()
    mute.server.resume()
    assert pool.stats().in_flight == 0


def test_a_pool_that_was_shut_down_opens_with_a_reset(shell: Face, at: dict[str, Any]) -> None:
    """As any pool."""
    pool = shell.pool(**at)
    client = shell.client(pool)
    client.set("key", "value")
    pool.shutdown()
    pool.reset()
    assert client.get("key") == b"value"


def test_disconnect(shell: Face, mute: Mute) -> None:
    """It cuts what is shared, too: waiting callers get an error, and the pool goes on."""
    pool, client, flying = deaf(shell, mute, retry=shell.retry(0))
    pool.disconnect()
    assert isinstance(flying.ended(), redis.ConnectionError)
    mute.server.resume()
    assert client.get("key") == b"value"
    assert pool.stats().in_flight == 0


def test_disconnect_of_the_idle_ones(shell: Face, mute: Mute) -> None:
    """It lets those in use go on: what is in flight is answered."""
    pool, client, flying = deaf(shell, mute)
    pool.disconnect(inuse_connections=False)
    mute.server.resume()
    assert flying.result() == b"value"
    assert client.get("key") == b"value"


@pytest.mark.usefixtures("spread")
def test_replaced_under_load(shell: Face, at: dict[str, Any]) -> None:
    """However often the connections are replaced, each caller has its own reply, and none of them an error."""
    pool = shell.pool(**at, max_connections=6, shared_connections=2)
    client = shell.client(pool)
    stop, turns = [False], [0] * 5

    def work(number: int) -> None:
        while not stop[0]:
            turns[number] += 1
            token = f"{number}-{turns[number]}".encode()
            assert client.echo(token) == token
            if number == 0 and turns[0] % 5 == 0:
                assert client.blpop(f"nothing{turns[0]}", 0.01) is None

    def drained_often() -> bool:
        pool.drain()
        return pool.stats().connected > 20 and min(turns) > 5

    workers = [Doing(lambda number=number: work(number)) for number in range(5)]  # type: ignore[misc]
    drained = eventually(drained_often)
    pool.resize(3)
    assert not eventually(lambda: False, 0.05)
    pool.resize(6)
    stop[0] = True
    for worker in workers:
        worker.result()
    assert drained, (pool.stats(), turns)
    assert eventually(lambda: pool.stats().in_use <= 2)
    stats = pool.stats()
    assert stats.in_flight == 0
    assert stats.open == stats.idle + stats.in_use


@pytest.mark.parametrize("when", ["drain", "make room"])
def test_replaced_between_choice_and_sending(shell: Face, at: dict[str, Any], when: str) -> None:
    """A caller whose chosen connection is released just then writes nothing over it, and takes another."""
    pool = shell.pool(**at, max_connections=2)
    client = shell.client(pool)
    client.set("key", "value")
    target = getattr(pool, "_target", pool)
    multiplexed = (target._here if shell.asynchronous else target._engine).multiplexed
    pick, times = multiplexed.pick, list[Any]()

    def pick_and_lose(request: Any) -> Any:
        connection = pick(request)
        if connection is not None and not times:
            times.append(connection)
            target.drain() if when == "drain" else multiplexed.make_room()
        return connection

    multiplexed.pick = pick_and_lose
    assert client.get("key") == b"value"
    assert client.incr("n") == 1
    with pool.connection() as connection:
        connection.send_command("ECHO", "mine")
        assert connection.read_response() == b"mine"
    assert client.get("n") == b"1"


def test_what_is_seen(shell: Face, at: dict[str, Any]) -> None:
    """`stats()` has what every pool has, and what is shared; it can be written as JSON."""
    pool = shell.pool(**at, max_connections=4, name="mine")
    client = shell.client(pool)
    for doing in together(4, lambda number: [client.set(f"key{number}", turn) for turn in range(25)]):
        doing.result()
    client.pipeline().get("a").get("b").execute()
    stats = pool.stats()
    assert (stats.name, stats.max_connections) == ("mine", 4)
    assert stats.open == stats.idle + stats.in_use == 1
    assert stats.commands == 104
    assert 1 <= stats.writes <= 101
    assert stats.batch.count == stats.writes
    assert stats.batch.max >= 4
    assert stats.batch.mean == pytest.approx(stats.commands / stats.writes)
    assert (stats.in_flight, stats.cancelled, stats.waiting) == (0, 0, 0)
    assert json.loads(json.dumps(stats.to_dict()))["batch"]["count"] == stats.writes


def test_who_holds_what(shell: Face, at: dict[str, Any]) -> None:
    """A dump says of a shared connection that all share it."""
    pool = shell.pool(**at, name="mine", password=None)
    client = shell.client(pool)
    client.get("key")
    dump = str(pool.dump())
    assert "mine: 1 in use" in dump
    assert "all who share it" in dump
    assert "ended" not in dump


def test_its_repr(shell: Face, at: dict[str, Any], watch: Watch) -> None:
    """Name, state and counts, and never a password."""
    pool = shell.pool(**at, name="mine", password="secret")
    assert "mine" in repr(pool)
    assert "secret" not in repr(pool)
    assert "open" in repr(pool)


@pytest.mark.usefixtures("attentive")
def test_a_lifetime(shell: Face, at: dict[str, Any]) -> None:
    """A shared connection that is old enough is replaced while it is used, and no caller notices."""
    pool = shell.pool(**at, max_lifetime=0.5)
    client = shell.client(pool)

    def used() -> bool:
        assert client.echo("x") == b"x"
        return bool(pool.stats().connected >= 3)

    assert eventually(used)


@pytest.mark.usefixtures("attentive")
def test_no_caller_needs_it(shell: Face, at: dict[str, Any]) -> None:
    """After `max_idle_time` without a command it goes; the next call opens another."""
    pool = shell.pool(**at, max_idle_time=0.3)
    client = shell.client(pool)
    client.get("key")
    assert eventually(lambda: pool.stats().open == 0)
    client.get("key")
    assert pool.stats().connected == 2


@pytest.mark.usefixtures("attentive")
def test_it_asks_for_a_word(shell: Face, mute: Mute) -> None:
    """After `ping_after_idle` a PING goes over it, which is no caller's command; one that isn't answered ends it."""
    pool = shell.pool(**mute.at, ping_after_idle=0.3)
    client = shell.client(pool)
    client.get("key")
    assert eventually(lambda: mute.server.count("PING"))
    assert client.get("key") == b"value"
    assert pool.stats().connected == 1
