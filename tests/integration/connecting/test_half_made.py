"""A connection whose connect, handshake or credentials went wrong half-way reaches no caller. Notes 3 and 4."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.credentials import CredentialProvider

from redpool import embedded
from redpool.redispy.internals import MaintNotificationsConfig
from redpool.testing import Script
from support.faces import Asyncio, Face, eventually, on_loop, reconnects, say
from support.made_up import UNNAMED

both_protocols = pytest.mark.parametrize("protocol", [2, 3], indirect=True, ids=["resp2", "resp3"])


class Interrupted(BaseException):
    """As KeyboardInterrupt, or a worker's time limit."""


class Provider(CredentialProvider):
    """The password, after something went wrong."""

    def __init__(self) -> None:
        self.trouble: BaseException | None = None
        """is raised once"""
        self.hangs = False
        """ask for ever, once"""
        self.asked = threading.Event()

    def get_credentials(self) -> tuple[str, str]:
        self.asked.set()
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble
        return "default", "s3cret"

    async def get_credentials_async(self) -> tuple[str, str]:
        if self.hangs:
            self.hangs = False
            self.asked.set()
            await asyncio.Event().wait()
        return self.get_credentials()


TROUBLES = [RuntimeError("no token"), TimeoutError("no token in time"), redis.TimeoutError("no token"), Interrupted()]


class Closed:
    """A server that wants a password, and a pool to its database 5."""

    def __init__(self, server: embedded.Server, face: Face, protocol: int) -> None:
        self.server = server
        self.observer = redis.Redis(host=server.host, port=server.port, password="s3cret")
        self.observer.flushall()
        self.provider = Provider()
        self.pool = face.pool(
            host=self.server.host, port=self.server.port, protocol=protocol, db=5, max_connections=1,
            credential_provider=self.provider, socket_connect_timeout=1.0, socket_timeout=1.0,
        )  # fmt: skip

    def check(self, client: Any) -> None:
        """The next command runs with the password, on database 5."""
        assert client.set("key", "value") is True
        assert self.observer.exists("key") == 0
        with redis.Redis(host=self.server.host, port=self.server.port, password="s3cret", db=5) as other:
            assert other.get("key") == b"value"
        assert self.pool.stats().in_use == 0


@pytest.fixture(scope="module")
def locked() -> Iterator[embedded.Server]:
    """A server that wants a password."""
    with embedded.start(args=("--requirepass", "s3cret")) as server:
        yield server


@pytest.fixture
def closed(locked: embedded.Server, face: Face, protocol: int) -> Iterator[Closed]:
    """With the password right, until the test says otherwise."""
    made = Closed(locked, face, protocol)
    yield made
    made.observer.close()


@both_protocols
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: type(trouble).__name__)
def test_a_connect_without_credentials_leaves_no_connection(face: Face, closed: Closed, trouble: BaseException) -> None:
    """Whatever the provider raises: its caller gets it, and the next one connects anew."""
    client = face.client(closed.pool)
    closed.provider.trouble = trouble
    with pytest.raises(type(trouble)):
        client.set("key", "value")
    assert eventually(lambda: len(closed.observer.client_list()) == 1)  # the one that asks
    closed.check(client)


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: type(trouble).__name__)
def test_a_reconnect_without_credentials_leaves_no_connection(
    face: Face, closed: Closed, trouble: BaseException
) -> None:
    """In a lease the caller itself connects: what it sends next goes over a connection whose handshake is complete."""
    with closed.pool.connection() as connection:
        connection.disconnect()
        closed.provider.trouble = trouble
        with pytest.raises(type(trouble)):
            connection.send_command("SET", "key", "wrong")
        assert eventually(lambda: reconnects(connection))
        assert say(connection, "SET", "key", "value") in (b"OK", "OK", True)
    closed.check(face.client(closed.pool))


@pytest.fixture
def tasks() -> Iterator[Asyncio]:
    """The shell for event loops alone: threads are not cancelled."""
    made = Asyncio()
    yield made
    made.close()


@pytest.fixture
def closed_to_tasks(locked: embedded.Server, tasks: Asyncio, protocol: int) -> Iterator[Closed]:
    """The same for that one."""
    made = Closed(locked, tasks, protocol)
    yield made
    made.observer.close()


@pytest.mark.needs("asynchronous credentials")
def test_a_cancelled_reconnect_leaves_no_connection(closed_to_tasks: Closed, tasks: Asyncio) -> None:
    """The task is cancelled while the provider asks for its token."""
    closed = closed_to_tasks
    connection = closed.pool.get_connection()
    connection.disconnect()
    closed.provider.asked.clear()
    closed.provider.hangs = True

    async def sends() -> None:
        task = asyncio.create_task(connection._target.send_command("SET", "key", "wrong"))
        await asyncio.to_thread(closed.provider.asked.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    on_loop(tasks.loop, sends)
    assert say(connection, "SET", "key", "value") in (b"OK", "OK", True)
    closed.pool.release(connection)
    closed.check(tasks.client(closed.pool))


@pytest.mark.needs("asynchronous credentials")
def test_a_cancelled_connect_leaves_no_connection(closed_to_tasks: Closed, tasks: Asyncio) -> None:
    """The caller gets the error, and the next one connects anew."""
    client = tasks.client(closed_to_tasks.pool)
    closed_to_tasks.provider.trouble = asyncio.CancelledError()
    with pytest.raises(redis.TimeoutError, match="the connect was ended"):
        client.set("key", "wrong")
    closed_to_tasks.check(client)


@pytest.mark.needs("asynchronous credentials")
def test_a_caller_who_is_cancelled_leaves_its_connect_to_the_next(closed_to_tasks: Closed, tasks: Asyncio) -> None:
    """The connect goes on without it for as long as one may, and only a complete connection comes of it."""
    closed = closed_to_tasks
    client = tasks.client(closed.pool)
    closed.provider.hangs = True

    async def calls() -> None:
        task = asyncio.create_task(client._target.set("key", "wrong"))
        await asyncio.to_thread(closed.provider.asked.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    on_loop(tasks.loop, calls)
    with pytest.raises(redis.TimeoutError, match="the connect took too long"):
        client.set("key", "wrong")
    closed.check(client)


@pytest.mark.parametrize("answer", ["never", redis.ResponseError("ERR no"), ConnectionResetError(104, "reset")])
@pytest.mark.parametrize("step", [0, 1])
def test_a_handshake_that_does_not_end_leaves_no_connection(face: Face, step: int, answer: Any) -> None:
    """Neither in a connect nor in a lease: the next command comes after a handshake that is whole."""
    with Script() as script:
        kind = script.async_connection if face.asynchronous else script.connection
        # Of HELLO and SELECT the first or the second goes wrong.
        quiet = MaintNotificationsConfig(enabled=False)
        pool = face.pool(kind, protocol=3, db=5, **UNNAMED, maint_notifications_config=quiet, socket_timeout=0.3)
        script.handshake = ["ok"] * step + [answer, "ok"]
        with pytest.raises(redis.RedisError):
            pool.get_connection()
        script.handshake = ["ok"]
        connection = pool.get_connection()
        connection.disconnect()
        script.handshake = ["ok"] * step + [answer, "ok"]
        with pytest.raises(redis.RedisError):
            connection.send_command("ECHO", "wrong")
        assert not connection.is_connected
        script.handshake = ["ok"]
        assert eventually(lambda: reconnects(connection))
        assert say(connection, "ECHO", "right") == b"right"
        pool.release(connection)
        assert pool.stats().open == 1
