"""Threads that write and read for all, at the moments when the connection breaks or goes. White-box, and repeatable."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
import redis

import redpool
from contract.faces import PATIENCE, Doing, eventually
from contract.mute import Mute
from redpool.testing import MemoryServer
from redpool.wire.mux import Entry


class Held(deque[Entry]):
    """A queue that keeps whoever takes out an entry of some command waiting, with the entry in his hands."""

    def __init__(self, command: str) -> None:
        super().__init__()
        self.command = command
        self.taken, self.go_on = threading.Event(), threading.Event()

    def popleft(self) -> Entry:
        entry = super().popleft()
        if entry.commands[0] == self.command:
            self.taken.set()
            assert self.go_on.wait(PATIENCE)
        return entry


def lane_of(client: Any) -> Any:
    """The one connection that it shares."""
    (lane,) = client.connection_pool._engine.lanes.lanes()
    return lane


def reads(lane: Any) -> bool:
    """Whether somebody has the reader's role."""
    if lane._reading.acquire(False):
        lane._reading.release()
        return False
    return True


@pytest.fixture
def client(mute: Mute) -> Iterator[Any]:
    """A client that tries once."""
    made: Any = redpool.Redis(**mute.at, socket_timeout=30.0, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    made.set("key", "value")
    yield made
    made.connection_pool.close(timeout=0, force=True)


def test_an_entry_in_the_writers_hands(client: Any, mute: Mute) -> None:
    """The connection breaks while it is in no line: its caller waits until it is in one again, and is told.

    He is never told that there is nothing under his key.
    """
    lane = lane_of(client)
    lane.core.queued = queue = Held("ECHO")
    mute.server.answer("GET", b"")
    reader = Doing(lambda: client.get("key"))
    assert eventually(lambda: lane.core.pending and reads(lane))
    writer = Doing(lambda: client.echo("x"))
    assert queue.taken.wait(PATIENCE)
    behind = Doing(lambda: client.incr("n"))
    assert eventually(lambda: len(queue) == 1)
    mute.proxy.reset()
    assert isinstance(reader.ended(), redis.ConnectionError)
    assert eventually(lambda: lane.dead is not None)
    queue.go_on.set()
    for each in (writer, behind):
        error = each.ended()
        assert isinstance(error, redis.ConnectionError) or each.result() in (b"x", 1)
    assert (lane.core.in_flight, len(queue)) == (0, 0)


def test_a_reader_whose_entry_is_in_the_writers_hands(client: Any, mute: Mute) -> None:
    """He sees the end of the connection himself, and yet is not answered before he knows what became of his command."""
    lane = lane_of(client)
    lane.core.queued = queue = Held("GET")
    with lane._writing:  # so that another one has to write it
        reader = Doing(lambda: client.get("key"))
        assert eventually(lambda: len(queue) == 1)
        assert eventually(lambda: reads(lane))
    writer = Doing(lambda: client.echo("x"))
    assert queue.taken.wait(PATIENCE)
    mute.proxy.reset()
    assert eventually(lambda: lane.dead is not None)
    assert not eventually(lambda: reader.done, 0.05)
    queue.go_on.set()
    assert isinstance(reader.ended(), redis.ConnectionError)
    writer.ended()


def test_a_line_that_is_used_just_as_it_is_given_back(client: Any, memory: MemoryServer) -> None:
    """Nothing is written over it then, and its caller takes another one."""
    lane = lane_of(client)
    client.connection_pool.drain()
    assert eventually(lambda: memory.clients == 0)
    entry = Entry(("GET", "key"), b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n")
    assert lane.call(entry, None)
    assert isinstance(entry.error, redis.ConnectionError)
    assert not entry.sent
    assert lane.core.in_flight == 0
    assert lane.let_go()  # whoever comes second finds it done


def test_a_handler_of_notifications_that_raises(memory: MemoryServer, caplog: pytest.LogCaptureFixture) -> None:
    """It harms no caller: what it raises is logged."""
    client: Any = redpool.Redis(host=memory.host, port=memory.port, protocol=3)
    client.set("key", "value")

    def handler(message: Any) -> None:
        raise ValueError("no idea")

    lane_of(client)._parser.handle_push_response = handler
    memory.push(b">1\r\n+news\r\n")
    for _ in range(3):
        assert client.get("key") == b"value"
    assert "a push message was not handled" in caplog.text
    assert client.connection_pool.stats().dialed == 1
    client.close()
