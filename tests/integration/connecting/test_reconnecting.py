"""Connections on lease that are lost together are opened anew as any others are: a few at a time, and with pauses."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import hiredis
import pytest
import redis

import redpool
from support.faces import PATIENCE, Doing, Face, eventually, reconnects, say

HELD = 20
AT_ONCE = 4
TAKES = 0.02  # seconds for which a connect to the server that is down lasts


class Vanishing:
    """A server that says OK to everything; while it is `down` it accepts, and hangs up a moment later."""

    def __init__(self) -> None:
        self.down = False
        self.rejected = self.under_way = self.most_under_way = 0
        self._guard, self._open = threading.Lock(), set[socket.socket]()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with self._guard:
                    self._open.add(sock)
                threading.Thread(
                    target=self._turn_away if self.down else self._serve, args=(sock,), daemon=True
                ).start()

    def _serve(self, sock: socket.socket) -> None:
        reader = hiredis.Reader()
        with contextlib.suppress(OSError):
            while received := sock.recv(65536):
                reader.feed(received)
                while reader.gets() is not False:
                    sock.sendall(b"+OK\r\n")

    def _turn_away(self, sock: socket.socket) -> None:
        with self._guard:
            self.rejected += 1
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        time.sleep(TAKES)
        with self._guard:
            self.under_way -= 1
        self._hang_up(sock)

    def _hang_up(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()

    def go_down(self) -> None:
        """All connections are lost, and no other works."""
        self.down = True
        with self._guard:
            lost, self._open = self._open, set()
        for sock in lost:
            self._hang_up(sock)

    def close(self) -> None:
        """End."""
        self.go_down()
        self._hang_up(self._listener)


@pytest.fixture
def vanishing() -> Iterator[Vanishing]:
    """A server that is up."""
    made = Vanishing()
    yield made
    made.close()


def hold_all(face: Face, server: Vanishing, **options: Any) -> tuple[Any, list[Any]]:
    """A pool whose connections are all in use, none of which connects more than once for a command."""
    pool = face.pool(
        host="127.0.0.1", port=server.port, protocol=2, max_connections=HELD, max_connecting=AT_ONCE, timeout=PATIENCE,
        retry=face.retry(0), **options,
    )  # fmt: skip
    pool.warm_up(HELD)
    return pool, [pool.get_connection() for _ in range(HELD)]


def ask_in_vain(connection: Any, times: int) -> list[Exception]:
    """Return the errors of so many attempts to send, once the loss of the connection is known."""
    with contextlib.suppress(redis.ConnectionError):
        say(connection, "PING")
    raised: list[Exception] = []
    for _ in range(times):
        try:
            say(connection, "PING")
        except redis.RedisError as error:
            raised.append(error)
    return raised


def give_back(pool: Any, connections: list[Any]) -> None:
    """Have nothing left behind."""
    for connection in connections:
        pool.release(connection)


def test_no_more_than_max_connecting_connect_at_once(face: Face, vanishing: Vanishing) -> None:
    """And none at all in the pause after a failure."""
    pool, connections = hold_all(face, vanishing)
    vanishing.go_down()
    asking = [Doing(lambda each=each: ask_in_vain(each, 3)) for each in connections]  # type: ignore[misc]
    raised = [error for each in asking for error in each.result()]
    assert len(raised) == 3 * HELD
    assert all(type(error) is redis.ConnectionError for error in raised)
    assert 1 <= vanishing.most_under_way <= AT_ONCE
    assert vanishing.rejected < len(raised)
    vanishing.down = False
    for connection in connections:
        assert eventually(lambda connection=connection: reconnects(connection))  # type: ignore[misc]
        assert say(connection, "PING") in (b"OK", True, "OK")
    give_back(pool, connections)
    assert pool.stats().in_use == 0


def test_the_breaker_opens_by_their_failures_alone(face: Face, vanishing: Vanishing) -> None:
    """No slot is there to be connected: all are in use. One of them finds out, for all, that the server is back."""
    pool, connections = hold_all(face, vanishing, break_after=3)
    vanishing.go_down()

    def connected() -> bool:
        return any("not connecting" in str(error) for error in ask_in_vain(connections[0], 1))

    assert eventually(connected)
    rejected = vanishing.rejected
    raised = [error for each in connections[1:] for error in ask_in_vain(each, 1)]
    assert len(raised) == HELD - 1
    assert vanishing.rejected - rejected <= 1 + sum("not connecting" not in str(error) for error in raised)
    vanishing.down = False
    assert all(eventually(lambda each=each: reconnects(each)) for each in connections)  # type: ignore[misc]
    give_back(pool, connections)


class Interrupted(BaseException):
    """What a signal handler raises."""


def test_an_interrupted_connect_says_nothing_of_the_server(face: Face, vanishing: Vanishing) -> None:
    """The permission to connect is returned, and no other caller gets the error."""
    pool, connections = hold_all(face, vanishing)
    core = pool._here._target.core if face.asynchronous else pool._engine.core
    connection = connections[0]._target if face.asynchronous else connections[0]

    def interrupt() -> None:
        raise Interrupted

    for _ in range(2 * AT_ONCE):
        connections[0].disconnect()
        connection._connect = interrupt
        with pytest.raises(Interrupted):
            connections[0].send_command("PING")
        del connection._connect
        assert (core.connector.under_way, core.connector.failures, core.connector.last_error) == (0, 0, None)
    assert say(connections[0], "PING") in (b"OK", True, "OK")
    give_back(pool, connections)


def test_a_deadline_ends_the_wait_for_a_turn(face: Face, vanishing: Vanishing) -> None:
    """As it ends everything else."""
    if face.asynchronous:
        pytest.skip("a deadline holds in the thread or task that has opened it")
    pool, connections = hold_all(face, vanishing, socket_timeout=10.0)
    vanishing.go_down()
    with contextlib.suppress(redis.ConnectionError):
        say(connections[0], "PING")
    core = pool._engine.core
    with pool._engine.guard:  # others are at it
        others = [core.ask_to_connect(time.monotonic()) for _ in range(AT_ONCE)]
        for other in others:
            pool._engine.give_waker(other)
            other.borrower = "another caller"
    with redpool.deadline(0.05), pytest.raises(redpool.DeadlineExceeded):
        connections[0].send_command("PING")
    assert not core.queue.reconnects
    assert core.connector.under_way == AT_ONCE
    for other in others:
        pool._engine.connect_ended(other, None)
    give_back(pool, connections)
