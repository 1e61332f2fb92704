"""Maintenance notifications: whatever is done about a push is safe in the thread or task that has read it."""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import redpool
from redpool.redispy.internals import MaintNotificationsConfig, has
from redpool.testing import ScriptedServer
from support.faces import Doing, Face, eventually

CALLERS = 8

pytestmark = pytest.mark.needs("maintenance notifications")


@pytest.fixture
def face(face: Face) -> Face:
    """As elsewhere, but for shells in which this redis-py has no notifications."""
    if face.asynchronous and not has("maintenance notifications on event loops"):
        pytest.skip("this redis-py lacks maintenance notifications on event loops")
    return face


@pytest.fixture(autouse=True)
def timers() -> Iterator[None]:
    """End the timers that redis-py starts for what follows later; the interpreter would wait for them."""
    yield
    for each in threading.enumerate():
        if isinstance(each, threading.Timer):
            each.cancel()


_numbers = itertools.count(1)


def moving(server: ScriptedServer, seconds: int = 30) -> list[Any]:
    """Return the announcement that it goes on at another address, which is another name for the same."""
    return ["MOVING", next(_numbers), seconds, f"localhost:{server.port}"]


def in_flight(server: ScriptedServer, client: Any) -> list[Doing]:
    """Have callers wait for replies that the server doesn't give before it resumes."""
    server.pause()
    doings = [Doing(lambda number=number: client.incr(f"n:{number}")) for number in range(CALLERS)]  # type: ignore[misc]
    pool = client.connection_pool
    if hasattr(pool.stats(), "in_flight"):
        assert eventually(lambda: pool.stats().in_flight >= CALLERS)
    else:
        assert eventually(lambda: pool.stats().in_use == CALLERS)
    return doings


def real(pool: Any) -> Any:
    """Check out a connection, not what stands for one over a multiplexed pool."""
    return getattr(pool, "take_own", pool.get_connection)()


def test_nothing_in_flight_fails_when_a_server_moves(face: Face, scripted: ScriptedServer) -> None:
    """All are answered, each has run once, and what comes next goes to the new address."""
    scripted.answer("INCRBY", 1)
    pool = face.pool(host=scripted.host, port=scripted.port, protocol=3)
    client = face.client(pool)
    face.open_connections(pool, CALLERS)
    client.ping()
    doings = in_flight(scripted, client)
    scripted.push(moving(scripted))
    assert eventually(lambda: pool.connection_kwargs["host"] == "localhost")
    scripted.resume()
    assert [doing.result() for doing in doings] == [1] * CALLERS
    assert scripted.count("INCRBY") == CALLERS
    connection = real(pool)
    assert connection.host == "localhost"
    pool.release(connection)
    assert client.incr("n:0") == 1


@pytest.mark.parametrize("kind", [redpool.ConnectionPool, redpool.MultiplexedConnectionPool])
def test_no_connection_is_made_to_where_the_server_was(scripted: ScriptedServer, kind: Any) -> None:
    """Whenever connections are drained, the new address is known already."""
    with kind(host=scripted.host, port=scripted.port, protocol=3) as pool:
        hosts: list[str] = []

        def drain() -> None:
            type(pool).drain(pool)
            hosts.append(Doing(pool.make_connection).result().host)

        pool.drain = drain
        client = redis.Redis(connection_pool=pool)
        client.ping()
        scripted.push(moving(scripted))
        client.ping()
        assert eventually(lambda: hosts)
        assert hosts == ["localhost"]


def test_a_whole_pool_moves(scripted: ScriptedServer, face: Face) -> None:
    """What is idle is replaced, and connected to the new address."""
    pool = face.pool(host=scripted.host, port=scripted.port, protocol=3)
    client = face.client(pool)
    face.open_connections(pool, 3)
    client.ping()
    scripted.push(moving(scripted))
    client.ping()
    assert eventually(lambda: client.ping() and pool.connection_kwargs["host"] == "localhost")
    connections = [real(pool) for _ in range(3)]
    assert {each.host for each in connections} == {"localhost"}
    for each in connections:
        pool.release(each)


def test_handlers_that_are_set_later_cut_no_caller(face: Face, scripted: ScriptedServer) -> None:
    """As a cluster's client sets them: the pool replaces its connections. redis-py would disconnect what is idle."""
    scripted.answer("INCRBY", 1)
    off, on = MaintNotificationsConfig(enabled=False), MaintNotificationsConfig(enabled=True)
    pool = face.pool(host=scripted.host, port=scripted.port, protocol=3, maint_notifications_config=off)
    client = face.client(pool)
    face.open_connections(pool, CALLERS + 1)
    client.ping()
    doings = in_flight(scripted, client)
    pool.update_maint_notifications_config(on)
    scripted.resume()
    assert [doing.result() for doing in doings] == [1] * CALLERS
    connection = real(pool)
    assert connection._maint_notifications_pool_handler is not None
    pool.release(connection)
    assert client.ping()
    assert set(pool.stats().closed) == {"drained"}


def test_timeouts_are_relaxed_during_maintenance(face: Face, scripted: ScriptedServer) -> None:
    """A reply may take as long as the notification allows, and no longer than usual when the maintenance is over."""
    config = MaintNotificationsConfig(relaxed_timeout=20)
    scripted.answer("INCRBY", 1)
    pool = face.pool(
        host=scripted.host,
        port=scripted.port,
        protocol=3,
        socket_timeout=0.2,
        maint_notifications_config=config,
        max_connections=3,
    )
    client = face.client(pool)
    client.ping()
    scripted.push(["MIGRATING", next(_numbers), 20])
    client.ping()
    scripted.pause()
    patient = Doing(lambda: client.incr("n"))
    patient._thread.join(0.6)
    scripted.resume()
    assert patient.result() == 1
    scripted.push(["MIGRATED", next(_numbers)])
    client.ping()
    scripted.pause()
    with pytest.raises(redis.TimeoutError):
        client.incr("n")
    scripted.resume()
    assert eventually(lambda: scripted.count("INCRBY") == 2)


class Stop(BaseException):
    """What no `except Exception` catches."""


def _fail(pool: Any, client: Any) -> None:
    raise ValueError("a handler's own mistake")


def _stop(pool: Any, client: Any) -> None:
    raise Stop


WHAT_HANDLERS_DO: dict[str, Callable[[Any, Any], Any]] = {
    "drain": lambda pool, client: pool.drain(),
    "disconnect": lambda pool, client: pool.disconnect(inuse_connections=False),
    "resize": lambda pool, client: pool.resize(20),
    "stats and dump": lambda pool, client: (pool.stats(), pool.dump()),
    "a command": lambda pool, client: client.ping(),
    "fail": _fail,
    "stop": _stop,
}


@pytest.mark.parametrize("act", WHAT_HANDLERS_DO.values(), ids=list(WHAT_HANDLERS_DO))
@pytest.mark.parametrize("own_client", [False, True], ids=["redis-py's client", "redpool's client"])
def test_a_handler_may_do_anything_to_a_pool_for_threads(
    scripted: ScriptedServer, own_client: bool, act: Callable[[Any, Any], Any]
) -> None:
    """What others have in flight over the connection that it came over is answered, and the pool goes on."""
    handled: list[Any] = []
    pool = redpool.MultiplexedConnectionPool(host=scripted.host, port=scripted.port, protocol=3)
    client: Any = (redpool.Redis if own_client else redis.Redis)(connection_pool=pool)

    def handle(message: Any) -> None:
        handled.append(message)
        scripted.resume()
        act(pool, client)

    client.ping()
    connection = pool._engine.multiplexed.in_use()[0]
    connection._parser.set_pubsub_push_handler(handle)
    doings = in_flight(scripted, client)
    scripted.push(["NEWS", 1])
    errors = [error for error in (doing.ended() for doing in doings) if error is not None]
    assert len(handled) == 1
    assert [type(each) for each in errors] == ([Stop] if act is _stop else [])
    assert client.ping()
    pool.close()


@pytest.mark.parametrize("kind", [redpool.ConnectionPool, redpool.MultiplexedConnectionPool])
def test_what_was_due_later_is_due_no_more_without_the_pool(scripted: ScriptedServer, kind: Any) -> None:
    """redis-py's timers outlive the pool; they find it gone."""
    pool = kind(host=scripted.host, port=scripted.port, protocol=3)
    with pool.connection() as connection:
        handler = connection._maint_notifications_pool_handler
    pool.close()
    del pool, connection
    gc.collect()
    with pytest.raises(ReferenceError):
        handler.pool.connection_kwargs  # noqa: B018
    handler.run_proactive_reconnect()
    handler.handle_node_moved_notification("what was announced")
