"""Which callers get a connection, which wait, for how long, and which error those get that have none."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from redpool import embedded
from redpool.testing import FaultProxy
from support.faces import Doing, Face, Listener, Recorder, eventually, together


def test_a_full_pool_waits_and_hands_over(face: Face, at: dict[str, Any]) -> None:
    """A caller that finds every connection in use waits for one, instead of failing."""
    pool = face.pool(**at, max_connections=1, timeout=20)
    held = pool.get_connection()
    waiting = Doing(pool.get_connection)
    assert eventually(lambda: pool.stats().waiting == 1)
    pool.release(held)
    assert waiting.result() == held
    assert pool.stats().in_use == 1
    pool.release(held)


def wait_in_vain(face: Face, pool: Any) -> float:
    """Wait for a connection that doesn't come; how long that took, in seconds."""
    began = time.monotonic()
    with pytest.raises(face.redpool.PoolTimeout):
        pool.get_connection()
    return time.monotonic() - began


def ends_at_its_bound(wait: Callable[[], float], bound: float) -> bool:
    """Whether a wait never ends before its bound, and once within 50 ms of it: the machine may be busy at times."""
    for _ in range(40):
        took = wait()
        if took <= bound + 0.05:
            return took >= bound
    return False


def test_waits_end_at_their_bound(face: Face, at: dict[str, Any]) -> None:
    """A wait lasts `timeout`, never less, and ends within 50 ms of it."""
    pool = face.pool(**at, max_connections=1, timeout=0.1)
    pool.warm_up(1)
    with pool.connection():
        assert ends_at_its_bound(lambda: wait_in_vain(face, pool), 0.1)
    assert pool.stats().timeouts >= 1
    assert pool.stats().waiting == 0


def test_many_waits_end_at_their_bound(face: Face, at: dict[str, Any]) -> None:
    """The bound holds for each of many that wait at the same time."""
    pool = face.pool(**at, max_connections=1, timeout=0.2)
    pool.warm_up(1)

    def slowest_of_many() -> float:
        waits: list[float] = [each.result() for each in together(20, lambda _: wait_in_vain(face, pool))]
        assert min(waits) >= 0.2
        return max(waits)

    with pool.connection():
        assert ends_at_its_bound(slowest_of_many, 0.2)


def test_a_timeout_is_a_diagnosis(face: Face, at: dict[str, Any]) -> None:
    """The message of `PoolTimeout` has the pool's name, the counts and the age of the oldest lease."""
    pool = face.pool(**at, max_connections=2, timeout=0.01, name="jobs")
    pool.warm_up(2)
    with pool.connection(), pool.connection(), pytest.raises(face.redpool.PoolTimeout) as caught:
        pool.get_connection()
    message = str(caught.value)
    assert "jobs" in message
    assert "2 of 2 in use" in message
    assert "1 waiting" in message
    assert re.search(r"oldest lease \d+\.\d s", message)
    assert isinstance(caught.value, redis.exceptions.MaxConnectionsError)
    assert isinstance(caught.value, redis.ConnectionError)


def test_zero_never_waits(face: Face, at: dict[str, Any]) -> None:
    """With `timeout=0` a full pool raises `PoolTimeout` at once; a connection that can be opened is."""
    pool = face.pool(**at, max_connections=1, timeout=0)
    with pool.connection():
        with pytest.raises(face.redpool.PoolTimeout):
            pool.get_connection()
        assert pool.stats().waited <= 1
    assert face.client(pool).ping() is True


def test_none_waits_for_ever(face: Face, at: dict[str, Any]) -> None:
    """With `timeout=None` a caller waits until there is a connection."""
    pool = face.pool(**at, max_connections=1, timeout=None)
    held = pool.get_connection()
    waiting = Doing(pool.get_connection)
    assert eventually(lambda: pool.stats().waiting == 1)
    assert not waiting.done
    pool.release(held)
    pool.release(waiting.result())


def test_one_more_than_may_wait_is_turned_away(face: Face, at: dict[str, Any]) -> None:
    """With `max_waiting` callers in the queue, the next gets `PoolFull` at once, and no waiter loses its position."""
    pool = face.pool(**at, max_connections=1, max_waiting=2, timeout=20)
    held = pool.get_connection()
    waiting = [Doing(pool.get_connection) for _ in range(2)]
    assert eventually(lambda: pool.stats().waiting == 2)
    with pytest.raises(face.redpool.PoolFull, match="1 of 1 in use, 2 waiting") as caught:
        pool.get_connection()
    assert isinstance(caught.value, redis.exceptions.MaxConnectionsError)
    stats = pool.stats()
    assert (stats.rejected, stats.waiting, stats.timeouts) == (1, 2, 0)
    pool.release(held)
    for each in waiting:
        eventually(lambda each=each: each.done)  # type: ignore[misc]
        if each.done:
            pool.release(each.result())
    assert [each.ended() for each in waiting] == [None, None]


def test_no_caller_may_wait(face: Face, at: dict[str, Any]) -> None:
    """With `max_waiting=0` a full pool turns callers away; one that can still grow does not."""
    pool = face.pool(**at, max_connections=2, max_waiting=0, timeout=20)
    with pool.connection(), pool.connection(), pytest.raises(face.redpool.PoolFull):
        pool.get_connection()
    assert pool.stats().rejected == 1


def test_first_come_first_served(face: Face, at: dict[str, Any]) -> None:
    """Waiters are served strictly in the order in which they came, and a newcomer never overtakes."""
    pool = face.pool(**at, max_connections=1, timeout=60)
    held = pool.get_connection()
    served: list[int] = []

    def take(number: int) -> None:
        connection = pool.get_connection()
        served.append(number)
        pool.release(connection)

    doings = []
    for number in range(12):
        doings.append(Doing(lambda number=number: take(number)))  # type: ignore[misc]
        assert eventually(lambda number=number: pool.stats().waiting == number + 1)  # type: ignore[misc]
    pool.release(held)
    for doing in doings:
        doing.result()
    assert served == list(range(12))


def test_a_waiter_is_served_by_what_comes_first(face: Face, at: dict[str, Any], silent: Listener) -> None:
    """While a connect runs, a connection that comes back serves the waiter."""
    pool = face.pool(**at, max_connections=2, timeout=20, socket_timeout=1.0)
    held = pool.get_connection()
    # From here on connects lead nowhere.
    pool.connection_kwargs["port"] = silent.port
    waiting = Doing(pool.get_connection)
    assert eventually(lambda: pool.stats().connecting == 1)
    pool.release(held)
    assert waiting.result() == held
    pool.release(held)


def test_a_server_that_is_down(face: Face, refusing: Listener) -> None:
    """The caller gets the very error of the connect, redis-py's own, at once and not after `timeout`."""
    pool = face.pool(host="127.0.0.1", port=refusing.port, timeout=30)
    client = face.client(pool)
    began = time.monotonic()
    with pytest.raises(redis.ConnectionError, match="Error 111") as caught:
        client.ping()
    assert time.monotonic() - began < 10
    assert type(caught.value) is redis.ConnectionError
    stats = pool.stats()
    assert (stats.open, stats.in_use, stats.waiting, stats.timeouts) == (0, 0, 0, 0)
    assert stats.connect_failures >= 1


def test_a_socket_that_is_not_there(face: Face) -> None:
    """The same over a Unix socket."""
    pool = face.pool(face.redis.UnixDomainSocketConnection, path="/nonexistent/redis.sock", timeout=30)
    with pytest.raises(redis.ConnectionError) as caught:
        face.client(pool).ping()
    assert type(caught.value) is redis.ConnectionError


def test_a_host_that_is_not_there(face: Face) -> None:
    """The same where the name can't be resolved."""
    pool = face.pool(host="nowhere.invalid", timeout=30)
    with pytest.raises(redis.ConnectionError):
        face.client(pool).ping()


def test_a_server_that_is_down_fails_all_who_wait(face: Face, refusing: Listener) -> None:
    """Where nothing else could serve them, all waiters get the error of one failed connect, before their `timeout`."""
    pool = face.pool(host="127.0.0.1", port=refusing.port, timeout=60, max_connections=2)
    began = time.monotonic()
    doings = [Doing(pool.get_connection) for _ in range(20)]
    errors = [doing.ended() for doing in doings]
    assert time.monotonic() - began < 20
    assert {type(error) for error in errors} == {redis.ConnectionError}


def test_a_server_that_comes_back(face: Face, own_server: embedded.Server) -> None:
    """After the server was away the pool works again by itself."""
    pool = face.pool(host=own_server.host, port=own_server.port)
    client = face.client(pool)
    client.set("foo", "bar")
    own_server.kill()
    with pytest.raises(redis.ConnectionError):
        client.get("foo")
    own_server.restart()
    assert client.set("foo", "bar") is True
    assert pool.stats().in_use == 0


def test_retries_sit_through_failed_connects(face: Face, own_server: embedded.Server) -> None:
    """With a retry policy a caller waits for the server to come back, for `timeout` at most."""
    pool = face.pool(host=own_server.host, port=own_server.port, retry=face.retry(1000), timeout=60)
    own_server.kill()
    waiting = Doing(pool.get_connection)
    assert eventually(lambda: pool.stats().connect_failures >= 3)
    assert not waiting.done
    own_server.restart()
    pool.release(waiting.result())


def test_the_last_connect_failure_is_the_cause(face: Face, refusing: Listener) -> None:
    """A caller that times out while the server is down gets the reason, in the message and as the cause."""
    pool = face.pool(host="127.0.0.1", port=refusing.port, retry=face.retry(1000), timeout=0.5)
    with pytest.raises(face.redpool.PoolTimeout, match="Error 111") as caught:
        pool.get_connection()
    chain = []
    error: BaseException | None = caught.value
    while error is not None:
        chain.append(error)
        error = error.__cause__
    assert any(type(each) is redis.ConnectionError for each in chain)


def test_a_server_that_says_nothing(face: Face, silent: Listener) -> None:
    """A connect that gets no answer fails with redis-py's own error after redis-py's own timeout."""
    pool = face.pool(host="127.0.0.1", port=silent.port, socket_timeout=0.2, timeout=30)
    began = time.monotonic()
    with pytest.raises((redis.TimeoutError, redis.ConnectionError)) as caught:
        pool.get_connection()
    assert time.monotonic() - began < 10
    assert not isinstance(caught.value, redis.exceptions.MaxConnectionsError)


def test_a_connect_that_takes_too_long_in_all(face: Face, at: dict[str, Any]) -> None:
    """A server that trickles is never late with a byte: the connect is cut off, and its caller gets a timeout."""
    with FaultProxy(at["host"], at["port"]) as proxy:
        proxy.byte_by_byte(pause=0.1)
        pool = face.pool(host=proxy.host, port=proxy.port, socket_timeout=0.4, timeout=30)
        with pytest.raises(redis.TimeoutError):
            pool.get_connection()


def test_interest_in_a_connect_ends_at_the_timeout(face: Face, silent: Listener) -> None:
    """The wait for a connect is a wait, too: it ends after `timeout`, however long the connect takes."""

    def wait() -> float:
        # A pool for each try: the connect that an earlier one began may end while a later one waits.
        return wait_in_vain(face, face.pool(host="127.0.0.1", port=silent.port, socket_timeout=5.0, timeout=0.1))

    assert ends_at_its_bound(wait, 0.1)


def test_a_short_timeout_does_not_keep_the_pool_small(face: Face, at: dict[str, Any], silent: Listener) -> None:
    """However short `timeout` is, a caller that waits while the pool has room has a connection opened for it."""
    impatient = face.pool(**at, max_connections=2, timeout=0.005, socket_timeout=2.0)
    impatient.warm_up(1)
    impatient.connection_kwargs["port"] = silent.port
    with impatient.connection():

        def connecting() -> bool:
            # Where the machine stalls, the caller is gone before the connect begins, and with it the need for it.
            wait_in_vain(face, impatient)
            return bool(impatient.stats().connecting)

        assert eventually(connecting)


def test_giving_back_twice_does_no_harm(face: Face, at: dict[str, Any]) -> None:
    """A second release warns, and the connection stays with the caller that has it by then."""
    pool = face.pool(**at, max_connections=1, timeout=0.05)
    pool.warm_up(1)  # a connect may take longer than that
    connection = pool.get_connection()
    pool.release(connection)
    with pytest.warns(RuntimeWarning, match="twice"):
        pool.release(connection)
    assert (pool.stats().idle, pool.stats().released) == (1, 1)
    with pool.connection():
        with pytest.raises(face.redpool.PoolTimeout):
            pool.get_connection()
        assert pool.stats().in_use == 1


def test_a_strangers_connection_is_not_taken(face: Face, at: dict[str, Any]) -> None:
    """A connection of another pool, of no pool, or no connection at all: a warning and no harm."""
    pool, other = face.pool(**at), face.pool(**at)
    stranger = other.get_connection()
    for thing in (stranger, face.redis.Connection(**at), object()):
        with pytest.warns(RuntimeWarning, match="not of"):
            pool.release(thing)
        assert not pool.owns_connection(thing)
    assert (pool.stats().open, pool.stats().released) == (0, 0)
    assert other.owns_connection(stranger)
    assert other.stats().in_use == 1
    other.release(stranger)


def test_a_release_after_close(face: Face, at: dict[str, Any]) -> None:
    """A connection that comes back to a closed pool is closed, without a word."""
    recorder = Recorder()
    pool = face.pool(**at, instruments=[recorder])
    connection = pool.get_connection()
    pool.shutdown(timeout=0)
    pool.release(connection)
    assert not connection.is_connected
    assert recorder.named("closed")[0][0] == "pool closed"
    assert (pool.stats().open, pool.stats().in_use) == (0, 0)
