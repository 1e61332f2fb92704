"""Whatever bytes a server sends: its caller gets an error or the reply, and no later caller gets the rest."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry as SyncRetry

import redpool
import redpool.asyncio
from redpool.testing import Raw, ScriptedServer

PATIENCE = 20.0  # seconds
_OPTIONS: dict[str, Any] = {"max_connections": 1, "timeout": PATIENCE, "socket_timeout": 0.03}
Ask = Callable[[str], Any]

_lines = st.text("0123456789-+.abc", max_size=6).map(str.encode)
# hiredis makes room for as many elements as an array announces: a billion would keep it busy for long.
_sizes = st.sampled_from([b"0", b"1", b"-1", b"-2", b"7", b"1000", b"x", b""])
_lengths = st.sampled_from([b"3", b"5", b"1000", b"99999999999", b"536870913", b"9" * 30])
_kinds = st.sampled_from([b"+", b"-", b":", b"$", b"*", b"_", b",", b"(", b"#", b"!", b"=", b"%", b"~", b">", b"|"])
_frames = st.builds(lambda kind, text: kind + text + b"\r\n", _kinds, st.one_of(_lines, _sizes))
_replies = st.sampled_from([b"$4\r\nmine\r\n", b"+mine\r\n"])
_rubbish = st.one_of(st.binary(max_size=40), st.lists(_frames, max_size=4).map(b"".join))
_answers = st.one_of(
    _rubbish,
    st.builds(lambda reply, cut: reply[:cut], _replies, st.integers(0, 9)),
    st.builds(lambda reply, rest: reply + rest, _replies, _rubbish),
    st.builds(lambda reply, size: b"$" + size + b"\r\n" + reply, _replies, _lengths),
)


@pytest.fixture(params=[2, 3])
def protocol(request: pytest.FixtureRequest) -> int:
    """Both versions."""
    return int(request.param)


@pytest.fixture(params=["threads", "asyncio"])
def ask(request: pytest.FixtureRequest, scripted: ScriptedServer, protocol: int) -> Iterator[Ask]:
    """ECHO over a pool of one connection, by either shell."""
    options = {**_OPTIONS, "protocol": protocol}
    if request.param == "threads":
        with redpool.ConnectionPool.from_url(scripted.url, retry=SyncRetry(NoBackoff(), 0), **options) as pool:
            yield redis.Redis(connection_pool=pool).echo
        return
    with asyncio.Runner() as runner:
        aio = redpool.asyncio.ConnectionPool.from_url(scripted.url, retry=AsyncRetry(NoBackoff(), 0), **options)
        client = redis.asyncio.Redis(connection_pool=aio)

        async def echo(token: str) -> Any:
            return await client.echo(token)

        yield lambda token: runner.run(echo(token))
        runner.run(aio.aclose())


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(answer=_answers)
@example(answer=b"$4\r\nmine\r\n$5\r\nyours\r\n")
@example(answer=b"$4\r\nmine\r\n+OK\r\n")
@example(answer=b"$4\r\nmine\r\n$100\r\nhalf")
@example(answer=b"$4\r\nmine\r\n:1\r")
@example(answer=b"-ERR no\r\n+OK\r\n")
@example(answer=b"-\r\n-\r\n")
def test_whatever_a_server_says_stays_with_its_caller(answer: bytes, ask: Ask, scripted: ScriptedServer) -> None:
    """It gets its error in time; the next caller, when the server has recovered, gets its own reply."""
    scripted.answer("ECHO", Raw(answer))
    began = time.monotonic()
    try:
        reply = ask("mine")
        if answer.startswith((b"$4\r\nmine\r\n", b"+mine\r\n")):
            assert reply == b"mine"
    except redis.RedisError:
        pass
    assert time.monotonic() - began < PATIENCE
    scripted.answer("ECHO")
    assert next(healthy_replies(ask, "its")) == b"its"


def healthy_replies(ask: Ask, token: str) -> Iterator[Any]:
    """What it gets, sooner or later: on a slow machine a healthy server may seem to be late, too."""
    end = time.monotonic() + PATIENCE
    for _ in itertools.count():
        try:
            yield ask(token)
        except (redis.ConnectionError, redis.TimeoutError):
            assert time.monotonic() < end, "the pool has not recovered"
