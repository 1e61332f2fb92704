"""A connection that the server has closed, or over which something has come unasked, is handed to no caller."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.asyncio

import redpool.asyncio
from redpool.redispy import sockets
from redpool.testing import FaultProxy, Raw, ScriptedServer
from support import tls
from support.faces import Doing, Face, Threads, _unwrapped, eventually
from support.made_up import BARE, NO_PING, let_it_be_done
from support.mute import stock


def test_a_hang_up_behind_an_answer_costs_nothing(face: Face, proxy: FaultProxy) -> None:
    """However soon after its last use the server has closed a connection: no command is sent into the void."""
    proxy.hang_up_after(3)
    pool = face.pool(host=proxy.host, port=proxy.port, **BARE, retry=face.retry(0))
    client = face.client(pool)
    for number in range(1, 10):
        assert client.incr("n") == number
        let_it_be_done(proxy)
    assert proxy.connections == 3


def test_what_is_handed_over_is_looked_at(face: Face, proxy: FaultProxy) -> None:
    """A caller in the queue gets no connection that was closed under its last borrower's hands."""
    pool = face.pool(host=proxy.host, port=proxy.port, **BARE, retry=face.retry(0), max_connections=1, timeout=20.0)
    client = face.client(pool)
    with pool.connection():
        waiting = Doing(lambda: client.incr("n"))
        assert eventually(lambda: pool.stats().waiting == 1)
        proxy.hang_up()
        let_it_be_done(proxy)
    assert waiting.result() == 1


def test_a_loop_that_was_blocked_knows_no_less(proxy: FaultProxy) -> None:
    """What the loop knows of its connections is the past after it was blocked, or its process stopped."""
    proxy.hang_up_after(3)
    retry = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)

    async def main() -> None:
        async with redpool.asyncio.ConnectionPool(host=proxy.host, port=proxy.port, **BARE, retry=retry) as pool:
            client = redis.asyncio.Redis(connection_pool=pool)
            for number in range(1, 10):
                assert await client.incr("n") == number
                let_it_be_done(proxy)  # which blocks the loop

    asyncio.run(main())


def test_those_who_want_no_look_get_none(threads: Any, proxy: FaultProxy) -> None:
    """With `validate_after_idle` a connection that was used since is handed out as it is."""
    pool = threads.pool(host=proxy.host, port=proxy.port, **BARE, validate_after_idle=3600.0)
    with pool.connection() as before:
        pass
    proxy.hang_up()
    let_it_be_done(proxy)
    with pool.connection() as connection:
        assert connection is before


def test_a_socket_that_cannot_be_asked_is_looked_at_otherwise(
    face: Face, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no `poll`, or the connection has another thing in its socket's place."""
    monkeypatch.setattr(sockets, "_poll_class", lambda: None)
    test_a_hang_up_behind_an_answer_costs_nothing(face, proxy)


def test_a_connection_that_was_opened_anew_is_looked_at_by_its_new_socket(face: Face, proxy: FaultProxy) -> None:
    """Its borrower may have closed it, or lost it and connected again."""
    pool = face.pool(host=proxy.host, port=proxy.port, **BARE, retry=face.retry(0))
    with pool.connection() as connection:
        connection.disconnect()
        connection.connect()
        connection.send_command("PING")
        connection.read_response()
    with pool.connection() as again:
        assert again == connection
    proxy.hang_up()
    let_it_be_done(proxy)
    assert face.client(pool).incr("n") == 1
    assert pool.stats().connected == 2


def test_a_hang_up_before_a_hand_over_costs_nothing(threads: Any, proxy: FaultProxy) -> None:
    """The caller that has waited for the connection gets another one."""
    pool = threads.pool(host=proxy.host, port=proxy.port, **BARE, max_connections=1, retry=threads.retry(0))
    connection = pool.get_connection()
    waiting = Doing(lambda: threads.client(pool).incr("n"))
    assert eventually(lambda: pool.stats().waiting == 1)
    proxy.hang_up()
    assert eventually(lambda: connection.readable(0))
    pool.release(connection)
    assert waiting.result() == 1


class Elsewhere(redis.Connection):
    """A test's double: it talks to nothing, so that redis-py sees no socket in it."""

    def connect(self, *args: Any, **kwargs: Any) -> None:
        pass


class ElsewhereAsync(redis.asyncio.Connection):
    """The same for an event loop."""

    async def connect(self, *args: Any, **kwargs: Any) -> None:
        pass


def test_one_that_was_just_opened_is_taken_as_it_is(face: Face) -> None:
    """A caller whose connections never look open gets the one that was opened for it, instead of trying for ever."""
    threads = isinstance(face, Threads)
    pool = face.pool(connection_class=Elsewhere if threads else ElsewhereAsync, timeout=1.0, min_idle=0)
    for _ in range(3):
        pool.release(pool.get_connection())
    assert pool.stats().connected == 3


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate of this machine's, and its key."""
    return tls.certificate(tmp_path_factory.mktemp("tls"))


class Secured:
    """A server over TLS that answers everything with `+PONG`; its sessions begin with tickets, unasked."""

    def __init__(self, certificate: tuple[str, str]) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.at = dict(zip(("host", "port"), self._listener.getsockname(), strict=True))
        self.at |= {"ssl_ca_certs": certificate[0]}
        self.sessions: list[ssl.SSLSocket] = []
        self._at_work = threading.Lock()  # a session of `ssl` is for one thread at a time
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                session = self._context.wrap_socket(plain, server_side=True)
                self.sessions.append(session)
                threading.Thread(target=self._answer, args=(session,), daemon=True).start()

    def _answer(self, session: ssl.SSLSocket) -> None:
        with contextlib.suppress(OSError, ValueError):  # the second where it was closed before it is waited for
            while select.select([session], [], []):
                with self._at_work:
                    if not session.recv(65536):
                        return
                    session.sendall(b"+PONG\r\n")

    def push(self, what: bytes) -> None:
        """Send what no client has asked for, or end the session for nothing."""
        with self._at_work:
            self.sessions[0].sendall(what) if what else self.sessions[0].shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all of it."""
        for each in (self._listener, *self.sessions):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.fixture
def secured(certificate: tuple[str, str]) -> Iterator[Secured]:
    """Yield the server, which has a session for each client."""
    server = Secured(certificate)
    yield server
    server.close()


@pytest.fixture
def over_tls(face: Face, secured: Secured) -> Any:
    """A pool of connections to it."""
    connection_class: Any = redis.SSLConnection if face.name == "threads" else redis.asyncio.SSLConnection
    return face.pool(**secured.at, **BARE, connection_class=connection_class, retry=face.retry(0), max_connections=1)


def test_a_ticket_of_the_session_is_nothing_stale(over_tls: Any, face: Face) -> None:
    """It comes unasked, and is TLS's own affair."""
    over_tls.warm_up(1)
    for _ in range(3):
        assert face.client(over_tls).ping() is True
    assert over_tls.stats().connected == 1


@pytest.mark.parametrize("what", [b"+STALE\r\n", b"+STA", b""], ids=["a reply", "half a reply", "the end"])
def test_what_comes_unasked_over_tls_is_seen(over_tls: Any, face: Face, secured: Secured, what: bytes) -> None:
    """A reply to no command, or the end of the session."""
    client = face.client(over_tls)
    assert client.ping() is True
    secured.push(what)
    assert client.ping() is True
    assert over_tls.stats().connected == 2


# -- what counts as an answer ------------------------------------------------------------------------------------------


def when_ping_is_refused(face: Face, scripted: ScriptedServer, **options: Any) -> Any:
    """A pool of connections over which the server refuses each PING."""
    stock(scripted)
    scripted.answer("PING", NO_PING)
    return face.pool(host=scripted.host, port=scripted.port, **options)


def test_an_error_is_an_answer_to_a_ping(face: Face, scripted: ScriptedServer) -> None:
    """A user who may not PING keeps its connections."""
    pool = when_ping_is_refused(face, scripted, ping_after_idle=0.0)
    for _ in range(3):
        assert face.client(pool).incr("n")
    assert (pool.stats().connected, pool.stats().closed) == (1, {})


def test_an_error_that_no_caller_asked_for_is_no_answer(face: Face, scripted: ScriptedServer) -> None:
    """What has come before the PING was sent is stale: it would shift all replies behind it."""
    pool = face.pool(host=scripted.host, port=scripted.port, ping_after_idle=0.0)
    client = face.client(pool)
    assert client.echo("theirs") == b"theirs"
    scripted.push(Raw(b"-ERR no caller asked\r\n"))
    assert client.echo("mine") == b"mine"


def test_an_error_is_an_answer_in_the_background(face: Face, scripted: ScriptedServer) -> None:
    """The same where an idle connection is asked."""
    pool = when_ping_is_refused(face, scripted, ping_after_idle=0.05)
    face.client(pool).incr("n")
    assert eventually(lambda: scripted.count("PING") >= 3)
    assert (pool.stats().connected, pool.stats().closed) == (1, {})


def test_an_error_is_an_answer_to_redis_pys_own_check(face: Face, scripted: ScriptedServer) -> None:
    """With `health_check_interval` redis-py asks before a command: it is the command that its caller hears of."""
    pool = when_ping_is_refused(face, scripted, health_check_interval=3600)
    client = face.client(pool)
    for number in range(1, 4):
        assert client.incr("n") == number
        for connection in _unwrapped(pool)._available_connections:
            connection.next_health_check = 0.0  # it is due
    assert pool.stats().connected == 1


def hear(subscriber: Any, count: int) -> None:
    """Read so many messages."""
    heard: list[Any] = []
    while len(heard) < count:
        message = subscriber.get_message(timeout=1.0)
        heard += [] if message is None else [message]


def test_a_subscriber_that_may_not_ping_leaves_a_connection_behind(face: Face, scripted: ScriptedServer) -> None:
    """The error comes behind what the server confirms, as the PONG does."""
    # The next one waits for the connection, which counts as idle while it is being unsubscribed.
    pool = when_ping_is_refused(face, scripted, protocol=3, max_connections=1)
    for _ in range(3):
        with face.client(pool).pubsub() as subscriber:
            subscriber.subscribe("news")
            subscriber.psubscribe("n*")
            hear(subscriber, 2)
        assert eventually(lambda: pool.stats().idle == 1)
    assert pool.stats().connected == 1


def test_an_unsubscribe_that_is_refused_is_no_answer(face: Face, scripted: ScriptedServer) -> None:
    """Messages might still come: the connection is closed."""
    pool = when_ping_is_refused(face, scripted, protocol=3)
    scripted.answer("UNSUBSCRIBE", redis.ResponseError("NOPERM"))
    with face.client(pool).pubsub() as subscriber:
        subscriber.subscribe("news")
        hear(subscriber, 1)
    assert eventually(lambda: pool.stats().open == 0)
