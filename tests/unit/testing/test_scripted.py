"""What each step of a script does at each stage, by threads and on an event loop."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import pytest
import redis
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

import redpool
import redpool.asyncio
from redpool.testing import Script, Slow
from redpool.testing.replies import Step
from support.faces import Face

from .wire import PATIENCE

Side = Callable[..., Any]

READONLY = redis.ResponseError("READONLY You can't write against a read only replica.")
BROKEN = ConnectionResetError(104, "Connection reset by peer")
STAGES = ["connect", "handshake", "send", "reply"]


class User:
    """A scripted pool with redis-py's client over it, which repeats nothing."""

    def __init__(self, face: Face, script: Script, **options: Any) -> None:
        connection_class = script.async_connection if face.asynchronous else script.connection
        self.pool = face.pool(
            connection_class=connection_class, retry=face.retry(0),
            **{"socket_timeout": 10.0, "socket_connect_timeout": 10.0, **options},
        )  # fmt: skip
        self._client = face.client(self.pool)

    def ask(self, *command: str) -> Any:
        """One command."""
        return self._client.execute_command(*command)

    def ask_many(self, *commands: tuple[str, ...]) -> list[Any]:
        """A pipeline, as one packet."""
        with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return list(pipe.execute())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.pool.close()


@pytest.fixture
def side(face: Face) -> Side:
    """Threads, and an event loop."""
    return functools.partial(User, face)


def script_of(stage: str, *steps: Step) -> Script:
    """One stage has these steps."""
    script = Script()
    setattr(script, stage, steps)
    return script


@pytest.mark.parametrize("protocol", [2, 3])
def test_without_steps_all_goes_well(side: Side, protocol: int) -> None:
    """In both versions of the protocol; GET and ECHO answer with their argument, other commands with OK."""
    with Script() as script, side(script, protocol=protocol, client_name="me", db=2) as user:
        assert user.ask("GET", "token:1") == b"token:1"
        assert user.ask("ECHO", "token:2") == b"token:2"
        assert user.ask("PING")
        assert user.ask("FLUSHALL")
        assert user.pool.stats().connected == 1


def test_each_command_of_a_pipeline_has_its_own_answer(side: Side) -> None:
    """In order, an error among them."""
    with Script(reply=["ok", READONLY, "ok"]) as script, side(script) as user:
        user.ask("ECHO", "0")
        with pytest.raises(ReadOnlyError):
            user.ask_many(("ECHO", "1"), ("ECHO", "2"))
        script.reply = ["ok"]
        assert user.ask_many(("ECHO", "1"), ("ECHO", "2")) == [b"1", b"2"]


def test_long_commands_arrive_whole(side: Side) -> None:
    """However long, and in one step."""
    with Script(send=["ok", BROKEN]) as script, side(script) as user:
        assert user.ask("ECHO", "*" * 1_000_000) == b"*" * 1_000_000
        with pytest.raises(RedisConnectionError):
            user.ask("ECHO", "1")


def test_a_command_in_several_packets_is_one_step() -> None:
    """redis-py's own packer cuts long arguments off; what they say is no step."""
    with Script(send=["ok", BROKEN]) as script:
        connection = script.connection()
        connection.connect()
        connection.send_packed_command([b"*2\r\n$4\r\nECHO\r\n$6\r\n", b"a\r\nb\r\n", b"\r\n"])
        assert connection.read_response() == b"a\r\nb\r\n"
        connection.disconnect()


@pytest.mark.parametrize("stage", STAGES)
def test_a_broken_connection(side: Side, stage: str) -> None:
    """At any stage redis-py says ConnectionError; the next step is the next one's."""
    with script_of(stage, BROKEN, "ok") as script, side(script) as user:
        with pytest.raises(RedisConnectionError):
            user.ask("ECHO", "1")
        assert user.ask("ECHO", "2") == b"2"


@pytest.mark.parametrize("stage", STAGES)
def test_never_is_as_long_as_the_timeout(side: Side, stage: str) -> None:
    """At any stage redis-py says TimeoutError."""
    timeouts = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2}
    with script_of(stage, "never", "ok") as script, side(script, **timeouts) as user:
        with pytest.raises(RedisTimeoutError):
            user.ask("ECHO", "1")
        assert user.ask("ECHO", "2") == b"2"


@pytest.mark.parametrize("stage", STAGES)
def test_slow_goes_well_in_the_end(side: Side, stage: str) -> None:
    """At any stage, after so many seconds."""
    with script_of(stage, Slow(0.05), "ok") as script, side(script) as user:
        begun = time.monotonic()
        assert user.ask("ECHO", "1") == b"1"
        assert time.monotonic() - begun >= 0.05


@pytest.mark.parametrize("stage", ["connect", "send"])
def test_slower_than_the_timeout_is_too_slow(side: Side, stage: str) -> None:
    """As if it were never."""
    timeouts = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2}
    with script_of(stage, Slow(3600.0)) as script, side(script, **timeouts) as user, pytest.raises(RedisTimeoutError):
        user.ask("ECHO", "1")


def test_an_error_reply_is_redis_py_s_error(side: Side) -> None:
    """By its first word, as from a server; the connection is none the worse."""
    full = redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'.")
    with Script(reply=[full, "ok"]) as script, side(script) as user:
        with pytest.raises(OutOfMemoryError):
            user.ask("SET", "a", "1")
        assert user.ask("ECHO", "2") == b"2"
        assert user.pool.stats().connected == 1


def test_what_comes_after_a_slow_answer_waits(side: Side) -> None:
    """Answers never overtake each other."""
    with Script(reply=[Slow(0.02), "ok"]) as script, side(script) as user:
        assert user.ask_many(("ECHO", "1"), ("ECHO", "2"), ("ECHO", "3")) == [b"1", b"2", b"3"]


def test_a_ping_is_a_stage_of_its_own(side: Side) -> None:
    """The steps of `reply` and `send` are not for PING."""
    with Script(ping=[BROKEN, "ok"], reply=["ok", "never"]) as script, side(script) as user:
        with pytest.raises(RedisConnectionError):
            user.ask("PING")
        assert user.ask("PING")
        assert user.ask("ECHO", "1") == b"1"


def test_the_last_step_is_repeated(side: Side) -> None:
    """For ever."""
    with Script(connect=["ok", BROKEN]) as script, side(script) as user:
        assert user.ask("ECHO", "1") == b"1"
        user.pool.drain()
        for _ in range(3):
            with pytest.raises(RedisConnectionError):
                user.ask("ECHO", "2")


def test_an_exception_that_is_repeated_is_a_new_one_each_time() -> None:
    """Two callers never share one, with the traceback of both."""
    with Script(connect=[BROKEN]) as script:
        connection = script.connection()
        seen = []
        for _ in range(2):
            with pytest.raises(ConnectionResetError) as raised:
                connection._connect()
            seen.append(raised.value)
        assert len({BROKEN, *seen}) == 3


def test_a_pool_takes_them_for_redis_py_s_own() -> None:
    """What the pool does to redis-py's classes it does to these, too: a dirty connection isn't used again."""
    with Script() as script, redpool.ConnectionPool(connection_class=script.connection) as pool:
        connection = pool.get_connection()
        connection.send_command("ECHO", "lost")
        pool.release(connection)
        assert redis.Redis(connection_pool=pool).echo("mine") == b"mine"
        assert pool.stats().connected == 2


def test_a_task_can_be_cancelled_at_any_stage() -> None:
    """Where a step takes for ever, the task is in the midst of it."""

    async def cancel_at(stage: str) -> None:
        with script_of(stage, "never", "ok") as script:
            async with redpool.asyncio.ConnectionPool(connection_class=script.async_connection) as pool:
                client: Any = redis.asyncio.Redis(connection_pool=pool)
                task = asyncio.create_task(client.echo("1"))
                while getattr(script, stage) != ["ok"]:  # noqa: ASYNC110  nothing tells when a step has begun
                    await asyncio.sleep(0)
                for _ in range(10):  # until the task has nothing left to do but wait
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                if stage in ("send", "reply"):  # a connect goes on, for the next caller
                    assert await client.echo("2") == b"2"

    for stage in STAGES:
        asyncio.run(cancel_at(stage))


@pytest.mark.parametrize("stage", STAGES)
def test_closing_a_script_ends_what_takes_for_ever(stage: str) -> None:
    """No caller hangs, no thread and no socket is left."""
    threads = threading.active_count()
    errors: list[Exception] = []
    with script_of(stage, "never", "ok") as script:
        connection = script.connection(socket_timeout=None, socket_connect_timeout=None, retry=None)

        def ask() -> None:
            try:
                connection.connect()
                connection.send_command("ECHO", "1")
                connection.read_response()
            except RedisConnectionError as error:
                errors.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        while getattr(script, stage) != ["ok"]:
            time.sleep(0.001)
    asking.join(PATIENCE)
    connection.disconnect()
    assert len(errors) == 1
    assert threading.active_count() == threads


@pytest.mark.parametrize("wrong", ["okay", 0.5, None, ConnectionError])
def test_what_is_no_step_is_refused(wrong: Any) -> None:
    """At once, by the stage's name; also later."""
    with pytest.raises(TypeError, match=r"reply: .* is no step"):
        Script(reply=[wrong])
    with Script() as script, pytest.raises(TypeError, match=r"connect: .* is no step"):
        script.connect = [wrong]
