"""Dedicated connections of threads whose sockets block: the kernel ends the wait for a reply, at `socket_timeout`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from redpool import embedded
from redpool.testing import Raw, ScriptedServer
from support.faces import Face

SOON = 0.3


@pytest.fixture
def lease(threads: Any, scripted: ScriptedServer) -> Iterator[Any]:
    """A connection on lease whose socket blocks."""
    pool = threads.pool(host=scripted.host, port=scripted.port, socket_timeout=SOON, retry=threads.retry(0))
    with contextlib.suppress(redis.RedisError), pool.connection() as connection:
        connection.send_command("GET", "key")
        connection.read_response()
        assert connection.receive is not None
        yield connection


def get_in_vain(connection: Any, scripted: ScriptedServer) -> float:
    """Return the seconds after which a GET that is never answered has timed out."""
    scripted.answer("GET", "never")
    connection.send_command("GET", "key")
    began = time.monotonic()
    with pytest.raises(redis.TimeoutError, match="Timeout reading from"):
        connection.read_response()
    return time.monotonic() - began


def test_a_time_of_its_own_holds_for_one_reply(lease: Any, scripted: ScriptedServer) -> None:
    """The socket has a timeout of Python's for as long as that takes; then the kernel's holds again."""
    lease.send_command("GET", "key")
    lease.read_response(timeout=5.0)
    assert lease._sock.gettimeout() is None
    assert get_in_vain(lease, scripted) >= 0.9 * SOON


@pytest.mark.needs("maintenance notifications")
def test_another_time_during_maintenance(lease: Any, scripted: ScriptedServer) -> None:
    """redis-py relaxes the timeout of an open socket, and restores it."""
    lease.update_current_socket_timeout(2 * SOON)
    assert lease._sock.gettimeout() is None
    assert get_in_vain(lease, scripted) >= 1.8 * SOON


def test_what_is_hurried_for_one_reply_waits_for_the_next(lease: Any, scripted: ScriptedServer) -> None:
    """The maintenance thread may come too late: that reply is there, and the next one has its whole time."""
    lease.hurry(("GET", "key"), 1)
    assert get_in_vain(lease, scripted) >= 0.9 * SOON


def test_what_is_overdue_ends_at_once(lease: Any, scripted: ScriptedServer) -> None:
    """The reply that it was hurried for."""
    scripted.answer("GET", "never")
    lease.send_command("GET", "key")
    lease.hurry(lease.sent, 1)
    began = time.monotonic()
    with pytest.raises(redis.TimeoutError):
        lease.read_response()
    assert time.monotonic() - began < SOON


@pytest.mark.parametrize("several", [False, True], ids=["one command", "a pipeline"])
def test_a_server_that_stops_reading(threads: Any, own_server: embedded.Server, several: bool) -> None:
    """What the kernel has no room for is written within `socket_timeout`, too."""
    pool = threads.pool(
        host=own_server.host,
        port=own_server.port,
        socket_timeout=SOON,
        socket_connect_timeout=3600.0,  # else the kernel gives up before long (`TCP_USER_TIMEOUT`)
        retry=threads.retry(0),
    )
    client = threads.client(pool)
    large = bytes(64 << 20)  # the kernel may have room for as much as half of it
    assert client.set("key", "value")
    own_server.pause()
    try:
        with pytest.raises(redis.TimeoutError, match="Timeout writing to socket"):
            client.pipeline(transaction=False).set("key", large).execute() if several else client.set("key", large)
    finally:
        own_server.resume()
    assert client.get("key") == b"value"


def test_a_method_replaced_since_it_was_opened(
    scripted: ScriptedServer, lease: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From then on all goes by way of redis-py, over a socket as redis-py has it."""
    sent: list[Any] = []
    original = redis.Connection.send_packed_command

    def send_packed_command(self: Any, command: Any, check_health: bool = True) -> None:
        sent.append(command)
        original(self, command, check_health)

    monkeypatch.setattr(redis.Connection, "send_packed_command", send_packed_command)
    type(lease).look_at_methods()
    lease.send_command("GET", "key")
    lease.read_response()
    assert len(sent) == 1
    assert lease.receive is None
    assert lease._sock.gettimeout() == SOON
    assert get_in_vain(lease, scripted) >= 0.9 * SOON
    monkeypatch.undo()
    type(lease).look_at_methods()


def test_a_server_that_is_loading(face: Face, scripted: ScriptedServer) -> None:
    """A reply that redis-py takes for the end of a connection ends it."""
    scripted.answer("GET", Raw(b"-LOADING Redis is loading the dataset in memory\r\n"))
    pool = face.pool(host=scripted.host, port=scripted.port, retry=face.retry(0))
    with pytest.raises(redis.BusyLoadingError):
        face.client(pool).get("key")
    assert pool.stats().open == 0
