"""Replies that reach the wrong caller, and connections that are half connected: notes 1 to 4."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any

from redis.credentials import CredentialProvider
from redis.sentinel import SentinelManagedConnection

from support.faces import Doing, eventually

from .interruptions import cancelled_at
from .rows import Finding, row
from .sides import Address, Side

_VALUES = {"alice": "ALICE-SECRET", "bob": "bob-value"}


def _of_bob(value: Any) -> Finding:
    return Finding(value == b"bob-value", f"GET bob gave {value!r}")


@row(1, "asyncio: a GET alice is cancelled at each of its awaits in turn; each time another caller does GET bob")
async def a_cancelled_get(side: Side) -> Finding:
    """Plain pools of redis-py's have failed this in the past."""
    pool = side.tasks.pool(max_connections=1)
    client = side.tasks.client(pool)
    await client.mset(_VALUES)
    awaits, values = 0, set()
    while await cancelled_at(awaits, client.get("alice")):
        values.add(await client.get("bob"))
        awaits += 1
        await pool.disconnect()  # so that the connect is among what is cancelled
    return Finding(values == {b"bob-value"}, f"{awaits} cancels, GET bob gave {', '.join(map(repr, values))}")


@row(2, "a connection is released with one reply unread; then another caller does GET bob")
def an_unread_reply(side: Side) -> Finding:
    """All options are the defaults."""
    pool = side.threads.pool()
    client = side.threads.client(pool)
    client.mset(_VALUES)
    connection = pool.get_connection()
    connection.send_command("GET", "alice")
    eventually(connection.can_read, 1.0)
    pool.release(connection)
    return _of_bob(client.get("bob"))


@row(2, "the same with asyncio")
async def an_unread_reply_on_a_loop(side: Side) -> Finding:
    """All options are the defaults."""
    pool = side.tasks.pool()
    client = side.tasks.client(pool)
    await client.mset(_VALUES)
    connection = await pool.get_connection()
    await connection.send_command("GET", "alice")
    await asyncio.sleep(0.05)  # for the reply to arrive
    await pool.release(connection)
    return _of_bob(await client.get("bob"))


class Interrupted(BaseException):
    """As KeyboardInterrupt, or a worker's time limit."""


def _interrupt(*_: object) -> None:
    raise Interrupted


class _SentinelConnection(SentinelManagedConnection):
    """That of `Sentinel.master_for`, which here can be used without Sentinel's pool."""

    def __init__(self, *, connection_pool: Any, **options: Any) -> None:
        super().__init__(connection_pool=connection_pool, **options)


class _Primary:
    """What such a connection asks for the way: the answer is always the same."""

    is_master, check_connection = True, False

    def __init__(self, at: Address) -> None:
        self._at = at

    def get_master_address(self) -> tuple[str, int]:
        return self._at.host, self._at.port


@row(3, "Sentinel's connection class: a BLPOP is interrupted by a BaseException, then a job is pushed and GET bob done")
def an_interrupted_blpop(side: Side) -> Finding:
    """The interruption comes from a signal handler, while the server blocks the call."""
    observer = side.observer()
    observer.set("bob", "bob-value")
    client = side.threads.client(connection_class=_SentinelConnection, connection_pool=_Primary(side.server))
    signal.signal(signal.SIGALRM, _interrupt)

    def blocked() -> bool:
        return bool(observer.info("clients")["blocked_clients"])

    def interrupt() -> None:
        eventually(blocked, 2.0)
        os.kill(os.getpid(), signal.SIGALRM)

    interrupting = Doing(interrupt)
    with contextlib.suppress(Interrupted):
        client.blpop(["q"], timeout=3)
    interrupting.ended()
    eventually(lambda: not blocked(), 0.3)
    observer.rpush("q", "PRIVATE-JOB")
    value = client.get("bob")
    left = observer.llen("q")
    return Finding(value == b"bob-value" and left == 1, f"GET bob gave {value!r}; {left} of 1 jobs left")


class _TokenSource(CredentialProvider):
    """A provider whose first answer is the error, or comes late; later answers come at once, and are right."""

    def __init__(self, error: BaseException | None = None, late: float = 0.0) -> None:
        self._error, self._late = error, late

    def get_credentials(self) -> tuple[str, str]:
        error, self._error = self._error, None
        if error is not None:
            raise error
        return "default", "token"

    async def get_credentials_async(self) -> tuple[str, str]:
        late, self._late = self._late, 0.0
        await asyncio.sleep(late)
        return self.get_credentials()


def _database_written(side: Side) -> Finding:
    written = [number for number in (0, 5) if side.observer(db=number).exists("key")]
    return Finding(
        written == [5], f"the next SET, of a pool with db=5, went to db {', '.join(map(str, written)) or '-'}"
    )


@row(4, "the credential provider raises during the first connect of a pool with db=5; then a SET")
def a_failing_provider(side: Side) -> Finding:
    """Any error but one of redis-py's."""
    client = side.threads.client(db=5, credential_provider=_TokenSource(OSError("no token")))
    return _set_twice(side, client)


@row(4, "the same, the provider interrupted by a BaseException")
def an_interrupted_provider(side: Side) -> Finding:
    """As by a worker's time limit."""
    client = side.threads.client(db=5, credential_provider=_TokenSource(Interrupted()))
    return _set_twice(side, client)


def _set_twice(side: Side, client: Any) -> Finding:
    for _ in range(2):
        with contextlib.suppress(Exception, Interrupted):
            client.set("key", "value")
    return _database_written(side)


@row(4, "the same with asyncio, the provider raising")
async def a_failing_provider_on_a_loop(side: Side) -> Finding:
    """Any error but one of redis-py's."""
    client = side.tasks.client(db=5, credential_provider=_TokenSource(OSError("no token")))
    return await _set_twice_on_a_loop(side, client)


@row(4, "the same with asyncio, the first call cut by wait_for while the provider fetches its token")
async def a_slow_provider_on_a_loop(side: Side) -> Finding:
    """The caller is cancelled; the next one comes at once."""
    client = side.tasks.client(db=5, credential_provider=_TokenSource(late=0.3))
    return await _set_twice_on_a_loop(side, client)


async def _set_twice_on_a_loop(side: Side, client: Any) -> Finding:
    for patience in (0.1, 2.0):
        with contextlib.suppress(Exception):
            await asyncio.wait_for(client.set("key", "value"), patience)
    return _database_written(side)
