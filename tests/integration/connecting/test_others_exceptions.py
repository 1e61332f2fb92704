"""What interrupts the thread that connects is raised there, and never in callers that wait: they connect themselves."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.credentials import CredentialProvider

import redpool
import redpool.asyncio
from redpool import threads as own_threads
from redpool.testing import ScriptedServer
from support.faces import PATIENCE, Doing, Face, eventually, say


class JobTimeout(Exception):
    """As the soft limit of a job: no error of redis-py's."""


class Interruptible(redis.Connection):
    """The first connect waits until it is interrupted."""

    begun = threading.Event()
    interrupt = threading.Event()
    interrupted_in: int | None = None

    def _connect(self) -> socket.socket:
        kind = type(self)
        if kind.interrupted_in is None:
            kind.interrupted_in = threading.get_ident()
            kind.begun.set()
            assert kind.interrupt.wait(PATIENCE)
            raise JobTimeout
        return super()._connect()  # type: ignore[no-any-return]


def no_thread(*args: Any) -> None:
    raise own_threads.NoThread("can't start new thread")


def test_what_interrupts_a_caller_who_connects_is_its_own(
    threads: Face, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread is to be had, so that callers connect in their own; one of them comes to its time limit."""
    kind = Interruptible
    pool = threads.pool(
        kind, host=scripted.host, port=scripted.port, max_connections=2, max_connecting=1, timeout=PATIENCE
    )
    monkeypatch.setattr(own_threads, "start", no_thread)
    first = Doing(pool.get_connection)
    assert kind.begun.wait(PATIENCE)
    others = [Doing(pool.get_connection) for _ in range(2)]
    assert eventually(lambda: pool.stats().waiting == 3)
    kind.interrupt.set()
    assert isinstance(first.ended(), JobTimeout)
    connections = [other.result() for other in others]
    assert [say(connection, "ECHO", "mine") for connection in connections] == [b"mine"] * 2
    for connection in connections:
        pool.release(connection)
    core = pool._engine.core
    assert (core.connector.last_error, core.connector.failures, pool.stats().connect_failures) == (None, 0, 0)
    assert (pool.stats().connecting, pool.stats().in_use) == (0, 0)


def test_a_server_that_refuses_is_news_for_all_of_them(
    threads: Face, refusing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a caller's thread as in any other: a connection error is raised, remembered and counted."""
    pool = threads.pool(host="127.0.0.1", port=refusing.port, timeout=PATIENCE)
    monkeypatch.setattr(own_threads, "start", no_thread)
    with pytest.raises(redis.ConnectionError, match="refused"):
        pool.get_connection()
    assert isinstance(pool._engine.core.connector.last_error, redis.ConnectionError)
    assert pool.stats().connect_failures == 1


class Ending(CredentialProvider):
    """Ends the program at first, as a signal handler may."""

    def __init__(self, error: type[BaseException]) -> None:
        self.errors = [redis.ConnectionError("no token"), error()]

    def get_credentials(self) -> tuple[str, str]:
        raise self.errors.pop() if len(self.errors) > 1 else self.errors[0]

    async def get_credentials_async(self) -> tuple[str, str]:
        return self.get_credentials()


ENDS = pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])


@ENDS
def test_what_ends_a_program_is_not_raised_in_those_who_wait(
    threads: Face, scripted: ScriptedServer, error: type[BaseException]
) -> None:
    """They get a connection error."""
    pool = threads.pool(host=scripted.host, port=scripted.port, credential_provider=Ending(error))
    with pytest.raises(redis.ConnectionError, match=f"interrupted by {error.__name__}"):
        pool.get_connection()


@ENDS
def test_what_ends_a_loop_ends_it(scripted: ScriptedServer, error: type[BaseException]) -> None:
    """It ends the loop, whichever task it interrupted; callers that wait get a connection error."""
    loop = asyncio.new_event_loop()
    pool = redpool.asyncio.ConnectionPool(host=scripted.host, port=scripted.port, credential_provider=Ending(error))

    async def ask() -> Any:
        return await asyncio.gather(pool.get_connection(), pool.get_connection(), return_exceptions=True)

    asking = loop.create_task(ask())
    with pytest.raises(error):
        loop.run_until_complete(asking)
    raised = loop.run_until_complete(asking)
    assert [type(each) for each in raised] == [redis.ConnectionError] * 2
    loop.run_until_complete(pool.aclose())
    loop.close()
