"""Over multiplexed connections nothing is written behind what has come unasked, the server's hanging up for one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

import redpool.asyncio
from redpool import embedded
from redpool.core.config import MultiplexedConfig
from redpool.redispy import sharing
from redpool.testing import FaultProxy, Raw, ScriptedServer
from support.faces import Doing, Face, eventually
from support.made_up import BARE, NO_PING, let_it_be_done
from support.mute import stock

PUSH = Raw(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nkey\r\n")


def sharing_at(face: Face, at: Any, **options: Any) -> Any:
    """A pool without any retries."""
    return face.pool(host=at.host, port=at.port, retry=face.retry(0), **options)


def test_a_hang_up_behind_an_answer_costs_nothing(face: Face, proxy: FaultProxy) -> None:
    """However soon after its last use the server has closed a connection: no command is sent into the void."""
    proxy.hang_up_after(3)
    client = face.client(sharing_at(face, proxy, **BARE))
    for number in range(1, 10):
        assert client.incr("n") == number
        let_it_be_done(proxy)
    assert proxy.connections == 3


def test_a_hang_up_costs_none_of_those_that_come_together(face: Face, proxy: FaultProxy) -> None:
    """The first one finds it out, and all of them go over the next connection."""
    client = face.client(sharing_at(face, proxy, **BARE))
    for turn in range(5):
        client.ping()
        proxy.hang_up()
        let_it_be_done(proxy)
        callers = [Doing(lambda: client.incr("n")) for _ in range(4)]
        assert sorted(caller.result() for caller in callers) == [4 * turn + n for n in range(1, 5)]


def test_a_loop_that_was_blocked_knows_no_less(proxy: FaultProxy) -> None:
    """What the loop knows of its connections is the past after it was blocked, or its process stopped."""
    proxy.hang_up_after(3)

    async def main() -> None:
        async with redpool.asyncio.Redis(host=proxy.host, port=proxy.port, **BARE, retry=None) as client:
            for number in range(1, 10):
                assert await client.incr("n") == number
                let_it_be_done(proxy)  # which blocks the loop

    asyncio.run(main())


@pytest.mark.parametrize("pieces", range(4))
def test_a_hang_up_behind_the_handshake_is_seen(face: Face, redis_server: embedded.Server, pieces: int) -> None:
    """A server that hangs up before its connection is shared, which no one tells again, doesn't hold any caller up."""
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        pool = sharing_at(face, proxy, socket_timeout=30.0)
        client = face.client(pool, retry=face.retry(0))
        proxy.hang_up_after(pieces)
        for _ in range(3):
            error = Doing(lambda: client.get("key")).ended()
            assert error is None or type(error) is redis.ConnectionError
        proxy.heal()
        assert eventually(lambda: Doing(lambda: client.ping()).ended() is None)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("stray", [b"$6\r\nsecret\r\n", b"$6\r\nsec", PUSH + b"+OK\r\n"], ids=["all", "half", "behind"])
def test_what_comes_unasked_is_nobodys_reply(
    face: Face, scripted: ScriptedServer, proxy: FaultProxy, protocol: int, stray: bytes
) -> None:
    """However soon after the last reply it comes, and whether it is whole."""
    pool = sharing_at(face, proxy, protocol=protocol)
    client = face.client(pool)
    assert client.echo("theirs") == b"theirs"
    scripted.push(Raw(stray))
    let_it_be_done(proxy)
    assert client.echo("mine") == b"mine"
    assert proxy.connections == 2


def test_a_push_is_read_before_anything_is_written(face: Face, scripted: ScriptedServer) -> None:
    """It is no reply, whether it comes whole or in two parts."""
    pool = sharing_at(face, scripted, protocol=3)
    client = face.client(pool)
    for parts in ((PUSH,), (Raw(PUSH[:12]), Raw(PUSH[12:]))):
        for part in parts:
            scripted.push(part)
        assert client.echo("mine") == b"mine"
    assert pool.stats().connected == 1


def test_a_thread_that_reads_just_now_reads_for_the_one_that_wants_to_write(
    threads: Face, scripted: ScriptedServer
) -> None:
    """Who finds something, and another thread reading, waits for that one, and is woken by it."""
    pool = sharing_at(threads, scripted, socket_timeout=None)
    client = threads.client(pool)
    client.ping()
    connection = pool._engine.multiplexed.in_use()[0]
    assert eventually(connection.reader.try_enter)
    scripted.push(Raw(b"+STALE\r\n"))
    caller = Doing(lambda: client.echo("mine"))
    assert eventually(lambda: connection.pipeline.queued and connection.pipeline.queued[0].waker is not None)
    assert not caller.done
    connection.reader.leave()
    connection._hand_on()
    assert caller.result() == b"mine"
    assert pool.stats().connected == 2


# -- redis-py's own interval -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ping_after_idle", "interval", "expected"),
    [(30.0, 0, 30.0), (30.0, None, 30.0), (30.0, 5, 5.0), (2.0, 5, 2.0), (None, 5, 5.0), (None, 0, float("inf"))],
)
def test_the_shorter_interval_counts(ping_after_idle: float | None, interval: Any, expected: float) -> None:
    """The pool's own or redis-py's."""

    class Connection:
        health_check_interval = interval

    assert sharing.probe_after(MultiplexedConfig(ping_after_idle=ping_after_idle), Connection()) == expected


@pytest.mark.parametrize("reply", ["ok", NO_PING], ids=["pong", "rejected"])
@pytest.mark.usefixtures("attentive")
def test_redis_pys_interval_has_a_connection_probed(shell: Face, scripted: ScriptedServer, reply: Any) -> None:
    """`health_check_interval` counts as it does for connections of one's own; any reply to the PING is life."""
    stock(scripted)
    scripted.answer("PING", reply)
    pool = sharing_at(shell, scripted, health_check_interval=0.05, ping_after_idle=None, socket_timeout=0.2)
    client = shell.client(pool)
    client.incr("n")
    assert eventually(lambda: scripted.count("PING") >= 3)
    assert client.incr("n") == 2
    assert pool.stats().connected == 1
