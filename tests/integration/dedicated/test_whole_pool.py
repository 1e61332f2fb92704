"""What can be done to a whole pool: warm it up, resize, drain, disconnect, reset and close it."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from redpool.redispy.internals import retries_of
from support.faces import Doing, Face, Listener, Recorder, Watch, eventually


def test_warm_up(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """`warm_up(n)` returns when `n` connections are open; they serve the first commands."""
    pool = face.pool(**at, client_name="warm")
    pool.warm_up(5)
    stats = pool.stats()
    assert (stats.open, stats.idle, stats.connected) == (5, 5, 5)
    before = watch.connected()
    taken = [pool.get_connection() for _ in range(5)]
    for connection in taken:
        pool.release(connection)
    assert watch.connected() == before
    assert len(watch.ids("warm")) == 5


def test_warm_up_to_min_idle(face: Face, at: dict[str, Any]) -> None:
    """Without a number it is `min_idle`; nothing to do is fine."""
    pool = face.pool(**at, min_idle=3)
    pool.warm_up()
    assert pool.stats().open >= 3
    pool.warm_up(1)
    face.pool(**at).warm_up()


def test_warm_up_of_a_server_that_is_down(face: Face, refusing: Listener) -> None:
    """It raises what the connect raised."""
    with pytest.raises(redis.ConnectionError, match="Error 111") as caught:
        face.pool(host="127.0.0.1", port=refusing.port).warm_up(2)
    assert type(caught.value) is redis.ConnectionError


def test_warm_up_of_a_server_that_says_nothing(face: Face, silent: Listener) -> None:
    """It ends after its `timeout`."""
    pool = face.pool(host="127.0.0.1", port=silent.port, socket_timeout=2.0)
    with pytest.raises(face.redpool.PoolTimeout):
        pool.warm_up(2, timeout=0.1)


@pytest.mark.parametrize(("n", "error"), [(3, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_warm_up_of_nonsense(face: Face, at: dict[str, Any], n: Any, error: type[Exception]) -> None:
    """More than `max_connections`, or no number at all, is refused with the value."""
    with pytest.raises(error, match=str(n)):
        face.pool(**at, max_connections=2).warm_up(n)


def test_resize_up(face: Face, at: dict[str, Any]) -> None:
    """More connections are allowed at once, and waiters get them."""
    pool = face.pool(**at, max_connections=1, timeout=60)
    held = pool.get_connection()
    waiting = Doing(pool.get_connection)
    assert eventually(lambda: pool.stats().waiting == 1)
    pool.resize(2)
    pool.release(waiting.result())
    pool.release(held)
    assert (pool.max_connections, pool.stats().max_connections) == (2, 2)


def test_resize_down(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """Surplus idle connections close now, used ones as they come back."""
    pool = face.pool(**at, max_connections=5, client_name="smaller")
    pool.warm_up(5)
    held = [pool.get_connection() for _ in range(3)]
    pool.resize(2)
    assert eventually(lambda: pool.stats().idle == 0)
    assert pool.stats().in_use == 3
    for connection in held:
        pool.release(connection)
    assert eventually(lambda: len(watch.ids("smaller")) == 2)
    stats = pool.stats()
    assert (stats.open, stats.idle, stats.max_connections) == (2, 2, 2)
    assert stats.closed == {"surplus": 3}


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-1, ValueError), ("3", TypeError), (1, ValueError)])
def test_resize_to_nonsense(face: Face, at: dict[str, Any], size: Any, error: type[Exception]) -> None:
    """A size that makes no sense, or is less than `min_idle`, is refused, and nothing changes."""
    pool = face.pool(**at, max_connections=5, min_idle=2)
    with pytest.raises(error, match="max_connections"):
        pool.resize(size)
    assert pool.max_connections == 5


def test_drain(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """Every connection is replaced: idle ones now, used ones as they come back; no command fails."""
    pool = face.pool(**at, client_name="drained")
    client = face.client(pool)
    pool.warm_up(3)
    old = watch.ids("drained")
    held = pool.get_connection()
    pool.drain()
    assert eventually(lambda: len(watch.ids("drained")) == 1)
    assert client.ping() is True
    held.send_command("PING")
    assert held.read_response() in (b"PONG", "PONG")
    pool.release(held)
    assert client.ping() is True
    assert eventually(lambda: not set(old) & set(watch.ids("drained")))
    assert pool.stats().closed == {"drained": 3}


def test_after_a_shutdown_nothing_is_handed_out(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """`shutdown` closes idle connections, and every checkout and command raises `PoolClosed` from then on."""
    pool = face.pool(**at, client_name="closed")
    client = face.client(pool)
    pool.warm_up(2)
    pool.shutdown()
    assert eventually(lambda: not watch.ids("closed"))
    for use in (pool.get_connection, client.ping, lambda: pool.warm_up(1)):
        with pytest.raises(face.redpool.PoolClosed) as caught:
            use()
        assert isinstance(caught.value, redis.ConnectionError)
    assert "shut down" in repr(pool)
    assert pool.stats().closed == {"pool closed": 2}
    pool.shutdown()
    pool.close()


def test_those_who_wait_learn_of_a_shutdown(face: Face, at: dict[str, Any]) -> None:
    """The caller that waits for a connection gets `PoolClosed` at once."""
    pool = face.pool(**at, max_connections=1, timeout=None)
    held = pool.get_connection()
    waiting = [Doing(pool.get_connection) for _ in range(3)]
    assert eventually(lambda: pool.stats().waiting == 3)
    pool.shutdown(timeout=0)
    assert {type(each.ended()) for each in waiting} == {face.redpool.PoolClosed}
    pool.release(held)


def test_a_shutdown_waits_for_those_in_use(face: Face, at: dict[str, Any]) -> None:
    """Connections in use go on, and `shutdown` returns when the last has come back."""
    pool = face.pool(**at)
    borrower = face.borrower(pool, "user")
    closing = Doing(lambda: pool.shutdown(timeout=None))
    assert eventually(lambda: "shut down" in repr(pool))
    assert pool.stats().in_use == 1
    assert not closing.done
    borrower.release()
    closing.result()
    assert pool.stats().open == 0


def test_a_shutdown_waits_so_long_at_most(face: Face, at: dict[str, Any]) -> None:
    """After `timeout` seconds `shutdown` returns, whatever connections are still in use."""
    pool = face.pool(**at)
    borrower = face.borrower(pool, "user")
    began = time.monotonic()
    pool.shutdown(timeout=0.1)
    took = time.monotonic() - began
    assert 0.1 <= took < 10
    assert pool.stats().in_use == 1
    borrower.release()
    assert eventually(lambda: pool.stats().open == 0)


def test_a_forced_shutdown(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """With `force` those in use are cut: their users see a `redis.ConnectionError`, and nothing else."""
    pool = face.pool(**at, client_name="forced")
    client = face.client(pool)
    popping = [Doing(lambda: client.blpop(["nothing"], timeout=60)) for _ in range(3)]
    assert eventually(lambda: pool.stats().in_use == 3)
    assert eventually(lambda: watch.client.info("clients")["blocked_clients"] == 3)
    pool.shutdown(force=True)
    for each in popping:
        assert isinstance(each.ended(), redis.ConnectionError)
    assert eventually(lambda: not watch.ids("forced"))
    assert (pool.stats().open, pool.stats().in_use) == (0, 0)


def test_a_shutdown_while_connecting(face: Face, silent: Listener) -> None:
    """A connect that leads nowhere does not hold up `shutdown` beyond its timeout; its caller gets the error."""
    pool = face.pool(host="127.0.0.1", port=silent.port, socket_timeout=0.4, timeout=30)
    waiting = Doing(pool.get_connection)
    assert eventually(lambda: pool.stats().connecting == 1)
    began = time.monotonic()
    pool.shutdown(timeout=0.1)
    assert time.monotonic() - began < 10
    assert isinstance(waiting.ended(), face.redpool.PoolClosed)
    assert eventually(lambda: pool.stats().connecting == 0)


def test_a_block_shuts_the_pool_down(face: Face, at: dict[str, Any]) -> None:
    """`with pool:` (`async with`) shuts it down in the end."""
    pool = face.pool(**at)
    with pool:
        assert face.client(pool).ping() is True
    with pytest.raises(face.redpool.PoolClosed):
        pool.get_connection()


def test_disconnect_the_idle(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """`disconnect(inuse_connections=False)` closes idle connections; those in use go on, and so does the pool."""
    pool = face.pool(**at, client_name="idle-only")
    pool.warm_up(3)
    held = pool.get_connection()
    pool.disconnect(inuse_connections=False)
    assert eventually(lambda: len(watch.ids("idle-only")) == 1)
    held.send_command("PING")
    assert held.read_response() in (b"PONG", "PONG")
    pool.release(held)
    assert face.client(pool).ping() is True


def test_disconnect_all(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """`disconnect()` cuts those in use, too: their users see a `redis.ConnectionError`; the pool stays usable."""
    pool = face.pool(**at, client_name="all")
    client = face.client(pool)
    popping = Doing(lambda: client.blpop(["nothing"], timeout=60))
    assert eventually(lambda: watch.client.info("clients")["blocked_clients"] == 1)
    pool.disconnect()
    assert isinstance(popping.ended(), redis.ConnectionError)
    assert client.ping() is True
    assert eventually(lambda: len(watch.ids("all")) == 1)


def test_reset(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """`reset` begins anew, also after a shutdown: nothing is open, what is in use closes as it comes back."""
    pool = face.pool(**at, client_name="reset")
    pool.warm_up(2)
    held = pool.get_connection()
    pool.reset()
    stats = pool.stats()
    assert (stats.open, stats.in_use, stats.connected) == (0, 0, 0)
    assert face.client(pool).ping() is True
    pool.release(held)
    assert eventually(lambda: len(watch.ids("reset")) == 1)
    pool.shutdown()
    pool.reset()
    assert face.client(pool).ping() is True


def test_a_block_that_leaves_in_good_order(face: Face, at: dict[str, Any]) -> None:
    """`with pool.connection()` checks out and releases the same connection."""
    pool = face.pool(**at)
    with pool.connection() as connection:
        connection.send_command("PING")
        assert connection.read_response() in (b"PONG", "PONG")
        assert pool.stats().in_use == 1
    assert (pool.stats().in_use, pool.stats().idle) == (0, 1)
    with pool.connection() as again:
        assert again == connection


def test_a_block_that_leaves_mid_reply(face: Face, at: dict[str, Any]) -> None:
    """A connection left with a reply on its way is closed: no caller gets what another asked for."""
    recorder = Recorder()
    pool = face.pool(**at, max_connections=1, instruments=[recorder])
    client = face.client(pool)
    client.mset({"mine": "secret", "yours": "fine"})
    with pool.connection() as connection:
        connection.send_command("GET", "mine")
    assert client.get("yours") == b"fine"
    assert [reason for reason, _ in recorder.named("closed")] == ["error"]

    def leave() -> None:
        with pool.connection() as connection:
            connection.send_command("GET", "mine")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leave()
    assert client.get("yours") == b"fine"


def test_new_credentials(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """`re_auth_callback` replaces connections, without any I/O of its own."""
    pool = face.pool(**at, client_name="token")
    pool.warm_up(2)
    old = watch.ids("token")
    pool.re_auth_callback(object())
    assert face.client(pool).ping() is True
    assert eventually(lambda: not set(old) & set(watch.ids("token")))


def test_another_retry_policy(face: Face, at: dict[str, Any]) -> None:
    """`set_retry` reaches the connections there are and those to come."""
    pool = face.pool(**at)
    retry = face.retry(3)
    with pool.connection() as first:
        pool.set_retry(retry)
        assert retries_of(first.retry) == 3
        with pool.connection() as second:
            assert retries_of(second.retry) == 3
    assert pool.connection_kwargs["retry"] is retry
