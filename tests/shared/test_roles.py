"""Threads that write and read for all, at the moments when the connection breaks or is given back. White-box."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

import redpool
from contract.faces import Doing, eventually
from contract.mute import Mute
from redpool.redispy import sharing
from redpool.testing import MemoryServer
from redpool.wire.pipeline import Request, State


def multiplexed_by(client: Any) -> Any:
    """Return the one connection that it shares."""
    (connection,) = client.connection_pool._engine.multiplexed.in_use()
    return connection


def get(key: str) -> Request:
    """Return a request for what is under the key."""
    return Request(("GET", key), f"*2\r\n$3\r\nGET\r\n${len(key)}\r\n{key}\r\n".encode())


@pytest.fixture
def client(mute: Mute) -> Iterator[Any]:
    """A client that tries once."""
    made: Any = redpool.Redis(**mute.at, socket_timeout=30.0, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    made.set("key", "value")
    yield made
    made.connection_pool.close(timeout=0, force=True)


def test_a_connection_that_was_detached_is_not_written_to(client: Any, memory: MemoryServer) -> None:
    """A thread that has chosen it before writes nothing over it, and goes elsewhere with its request."""
    connection = multiplexed_by(client)
    client.connection_pool.drain()
    assert eventually(lambda: memory.clients == 0)
    assert connection.state is State.DETACHED
    request = get("key")
    assert connection.call(request, None)
    assert not request.done
    assert not request.sent
    assert connection.end()  # it stays over, however often one asks


@pytest.mark.parametrize("role", ["writer", "reader"])
def test_a_role_that_was_left_in_the_midst_of_its_work(client: Any, role: str) -> None:
    """Half a message may have been left behind: the next thread that enters it gives the connection up."""
    connection = multiplexed_by(client)
    getattr(connection, role).dirty = True
    request = get("key")
    assert connection.call(request, None)
    assert connection.state is State.LOST
    assert request.sent is (role == "reader")
    assert "interrupted" in str(connection.error)
    assert client.get("key") == b"value"


@pytest.mark.parametrize("role", ["writer", "reader"])
def test_a_role_whose_owner_is_gone(client: Any, role: str) -> None:
    """A thread that was interrupted before it could leave a role is found out: its owner doesn't come by any more."""
    connection = multiplexed_by(client)
    Doing(lambda: getattr(connection, role).try_enter()).result()
    looks = 0
    while connection.state is not State.LOST:
        looks += 1
        connection.look_after(1e9 + 2 * looks)  # a clock turned by hand
        assert looks <= 6
    assert looks > 4
    assert client.get("key") == b"value"


def test_a_role_whose_owner_comes_by(client: Any, mute: Mute, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits long for a reply is not taken to be gone."""
    monkeypatch.setattr("redpool.sync.connection._LONGEST_LOOK", 0.05)
    client.connection_pool.drain()
    client.set("key", "value")
    connection = multiplexed_by(client)
    mute.server.answer("GET", b"")
    waiting = Doing(lambda: client.get("key"))
    assert eventually(lambda: connection.reader.taken())
    for looks in range(1, 20):
        beat = connection.reader.beat
        connection.look_after(1e9 + 2 * looks)
        assert eventually(lambda: connection.reader.beat > beat)  # noqa: B023  it is called at once
    assert connection.state is not State.LOST
    mute.server.answer("GET", None)
    mute.proxy.reset()
    waiting.ended()


def test_a_lost_connection_is_closed_by_the_last_thread_that_was_in_a_role(client: Any) -> None:
    """A descriptor is never closed while a thread may be using it: it might be another connection's by then."""
    connection = multiplexed_by(client)
    assert connection.writer.try_enter()
    connection.lose(sharing.interrupted("at work on"))
    sock = connection._stream.sock
    assert sock.fileno() >= 0
    connection.writer.leave()
    assert connection.end()
    assert sock.fileno() == -1


def test_a_handler_of_notifications_that_raises(memory: MemoryServer, caplog: pytest.LogCaptureFixture) -> None:
    """It harms no caller: what it raises is logged."""
    client: Any = redpool.Redis(host=memory.host, port=memory.port, protocol=3)
    client.set("key", "value")

    def handler(message: Any) -> None:
        raise ValueError("no idea")

    multiplexed_by(client)._parser.handle_push_response = handler
    memory.push(b">1\r\n+news\r\n")
    for _ in range(3):
        assert client.get("key") == b"value"
    assert "a push message was not handled" in caplog.text
    assert client.connection_pool.stats().dialed == 1
    client.close()
