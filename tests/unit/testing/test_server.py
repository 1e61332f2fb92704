"""A scripted server gives set answers, goes silent, pushes and hangs up; and records what it was asked."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

import pytest
import redis
import redis.asyncio

import redpool
import redpool.asyncio
from redpool.testing import FaultProxy, Raw, ScriptedServer, Slow

from .wire import PATIENCE, ErrorReply, Wire, until

READONLY = redis.ResponseError("READONLY You can't write against a read only replica.")

# -- by itself ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_gets_along_with_it(server: ScriptedServer, protocol: int) -> None:
    """Handshake, commands, pipelines: GET and ECHO answer with their argument, other commands with OK."""
    with redis.Redis(host=server.host, port=server.port, protocol=protocol, client_name="me", db=3) as client:
        assert client.ping()
        assert client.set("key", "value")
        assert client.get("key") == b"key"
        pipe = client.pipeline(transaction=False)
        assert pipe.echo("a").flushall().echo("b").execute() == [b"a", True, b"b"]
    assert server.commands[-1] == (1, "ECHO", [b"b"])


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_subscriber_gets_along_with_it(server: ScriptedServer, protocol: int) -> None:
    """Each subscription, and the end of each, is confirmed with its number; a PING is answered in between."""

    def heard() -> tuple[Any, ...]:
        message = pubsub.get_message(timeout=PATIENCE)
        assert message is not None
        return message["type"], message["channel"], message["data"]

    with redis.Redis(host=server.host, port=server.port, protocol=protocol) as client, client.pubsub() as pubsub:
        pubsub.subscribe("a", "b")
        pubsub.psubscribe("a")
        assert [heard() for _ in range(3)] == [("subscribe", b"a", 1), ("subscribe", b"b", 2), ("psubscribe", b"a", 3)]
        server.push(["message", "a", "hello"])
        assert heard() == ("message", b"a", b"hello")
        pubsub.ping("word")
        assert heard()[2] == b"word"
        pubsub.unsubscribe()
        pubsub.punsubscribe("a")
        ends = [("unsubscribe", b"a", 2), ("unsubscribe", b"b", 1), ("punsubscribe", b"a", 0)]
        assert [heard() for _ in range(3)] == ends


def test_the_end_of_no_subscription_is_confirmed_too(server: ScriptedServer) -> None:
    """Once, as Redis does; then a PING is answered as any other client's."""
    with Wire(server.port) as wire:
        assert wire.ask("UNSUBSCRIBE") == [b"unsubscribe", None, 0]
        assert wire.ask("PUNSUBSCRIBE", "none") == [b"punsubscribe", b"none", 0]
        assert wire.ask("PING") == b"PONG"


def test_both_pools_get_along_with_it(server: ScriptedServer) -> None:
    """Of threads and of an event loop, which it doesn't hold up."""

    async def ask() -> list[Any]:
        async with redpool.asyncio.ConnectionPool.from_url(server.url, max_connections=3) as pool:
            client = redis.asyncio.Redis(connection_pool=pool)
            return await asyncio.gather(*(client.echo(str(n)) for n in range(10)))

    assert asyncio.run(ask()) == [b"%d" % n for n in range(10)]
    with redpool.ConnectionPool.from_url(server.url) as pool:
        assert redis.Redis(connection_pool=pool).echo("x") == b"x"


def test_commands_may_come_in_any_pieces(server: ScriptedServer) -> None:
    """Byte by byte, or many at once with a tail."""
    command = b"*2\r\n$4\r\nECHO\r\n$3\r\nabc\r\n"
    with Wire(server.port) as wire:
        for byte in command:
            wire.send_raw(bytes([byte]))
        assert wire.read() == b"abc"
        wire.send_raw(command * 3 + command[:7])
        assert [wire.read() for _ in range(3)] == [b"abc"] * 3
        wire.send_raw(command[7:])
        assert wire.read() == b"abc"


@pytest.mark.parametrize("rubbish", [b"GET a\r\n", b"+OK\r\n", b"*1\r\n:1\r\n", b"*0\r\n"])
def test_rubbish_ends_a_connection(server: ScriptedServer, rubbish: bytes) -> None:
    """With an error, and no harm to another client."""
    with Wire(server.port) as wire, Wire(server.port) as other:
        wire.send_raw(rubbish)
        assert str(wire.read()).startswith("-ERR Protocol error")
        with pytest.raises(EOFError):
            wire.read()
        assert other.ask("PING") == b"PONG"


# -- answers -----------------------------------------------------------------------------------------------------------

VALUES = [
    (b"bytes", b"bytes", b"$5\r\nbytes\r\n", b"$5\r\nbytes\r\n"),
    (-7, -7, b":-7\r\n", b":-7\r\n"),
    (None, None, b"$-1\r\n", b"_\r\n"),
    ([b"a", ["b", 1], None], [b"a", [b"b", 1], None], None, None),
    ({b"a": 1}, {b"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
    (Raw(b"+QUEUED\r\n"), b"QUEUED", b"+QUEUED\r\n", b"+QUEUED\r\n"),
    (READONLY, ErrorReply(str(READONLY)), b"-%b\r\n" % str(READONLY).encode(), b"-%b\r\n" % str(READONLY).encode()),
]


@pytest.mark.parametrize(("value", "parsed", "resp2", "resp3"), VALUES, ids=[type(each[0]).__name__ for each in VALUES])
@pytest.mark.parametrize("protocol", [2, 3])
def test_a_value_is_sent_as_redis_would(
    server: ScriptedServer, protocol: int, value: Any, parsed: Any, resp2: bytes | None, resp3: bytes | None
) -> None:
    """In the protocol that the client has asked for."""
    server.answer("get", value)
    wanted = resp2 if protocol == 2 else resp3
    with Wire(server.port) as wire:
        wire.ask("HELLO", str(protocol))
        if protocol == 3 or not isinstance(value, dict):
            assert repr(wire.ask("GET", "key")) == repr(parsed)
        if wanted is not None:
            wire.send("GET", "key")
            assert wire.receive(len(wanted)) == wanted


def test_answers_are_used_up_in_order(server: ScriptedServer) -> None:
    """By all connections together; the last one for ever; with none the usual one is given again."""
    server.answer("GET", READONLY, b"1", b"2")
    with Wire(server.port) as one, Wire(server.port) as two:
        assert str(one.ask("GET", "a")).startswith("-READONLY")
        assert [wire.ask("GET", "a") for wire in (two, one, two)] == [b"1", b"2", b"2"]
        server.answer("GET")
        assert one.ask("GET", "a") == b"a"


def test_an_answer_can_depend_on_the_arguments(server: ScriptedServer) -> None:
    """A step will do as well as a value; a mistake in the function is the client's reply, and ends nothing."""

    def answer(args: list[bytes]) -> Any:
        if args[0] == b"fault":
            raise LookupError("no such thing")
        return {b"double": args[0] * 2, b"usual": "ok", b"wrong": 0.5}[args[0]]

    server.answer("GET", answer)
    with Wire(server.port) as wire:
        assert wire.ask("GET", "double") == b"doubledouble"
        assert wire.ask("GET", "usual") == b"usual"
        assert "no such thing" in str(wire.ask("GET", "fault"))
        assert "is no reply" in str(wire.ask("GET", "wrong"))


def test_no_reply_to_one_command(server: ScriptedServer) -> None:
    """No bytes: those behind it are answered."""
    server.answer("GET", Raw(b""))
    with Wire(server.port) as wire:
        wire.send("GET", "a")
        assert wire.silent()
        assert wire.ask("PING") == b"PONG"


def test_no_reply_ever(server: ScriptedServer) -> None:
    """Nor to those behind it, on that connection; others are served."""
    server.answer("GET", "never")
    with Wire(server.port) as wire, Wire(server.port) as other:
        wire.send("GET", "a")
        wire.send("PING")
        until(lambda: server.count("GET") == 1)
        assert wire.silent()
        assert other.ask("PING") == b"PONG"
    until(lambda: server.clients == 0)
    assert server.count("PING") == 1


def test_a_slow_reply_is_the_usual_one(server: ScriptedServer) -> None:
    """Later; what comes behind it on that connection waits."""
    server.answer("GET", Slow(0.05))
    with Wire(server.port) as wire:
        begun = time.monotonic()
        wire.send("GET", "a")
        wire.send("PING")
        assert [wire.read(), wire.read()] == [b"a", b"PONG"]
        assert time.monotonic() - begun >= 0.05


def test_it_can_hang_up_upon_a_command(server: ScriptedServer) -> None:
    """What was answered before arrives, what was sent behind is not taken up; a new connection works."""
    server.answer("GET", ConnectionError(), "ok")
    with Wire(server.port) as wire:
        for words in (("ECHO", "x"), ("GET", "a"), ("GET", "b")):
            wire.send(*words)
        assert wire.read() == b"x"
        with pytest.raises(EOFError):
            wire.read()
    with Wire(server.port) as wire:
        assert wire.ask("GET", "c") == b"c"
    assert [each.args for each in server.commands if each.name == "GET"] == [[b"a"], [b"c"]]


@pytest.mark.parametrize("wrong", ["okay", 0.5, {1}, ()])
def test_what_is_no_reply_is_rejected(server: ScriptedServer, wrong: Any) -> None:
    """At once, by the command's name; what was set before holds."""
    server.answer("GET", b"before")
    with pytest.raises(TypeError, match=r"GET: .* is no reply"):
        server.answer("GET", b"first", wrong)
    with Wire(server.port) as wire:
        assert wire.ask("GET", "a") == b"before"


# -- out of turn -------------------------------------------------------------------------------------------------------


def test_bytes_can_be_pushed_out_of_turn(server: ScriptedServer) -> None:
    """Whatever they are, to every client."""
    with Wire(server.port) as one, Wire(server.port) as two:
        one.ask("PING")
        two.ask("PING")
        server.push(Raw(b"+stray\r\n"))
        assert one.ask("PING") == two.ask("PING") == b"stray"
        assert one.read() == two.read() == b"PONG"


def test_a_push_reaches_those_who_may_expect_one(server: ScriptedServer) -> None:
    """Over RESP3 as a push, and as an array a subscriber in RESP2; others would take it for a reply."""
    with Wire(server.port) as third, Wire(server.port) as subscriber, Wire(server.port) as second:
        third.ask("HELLO", "3")
        subscriber.ask("SUBSCRIBE", "news")
        second.ask("PING")
        server.push(["message", b"news", "hello"])
        assert third.receive(1) == b">"
        assert subscriber.read() == [b"message", b"news", b"hello"]
        assert second.ask("PING") == b"PONG"


def test_a_pause_answers_no_client(server: ScriptedServer) -> None:
    """Old clients and new ones; afterwards all is answered, in order."""
    with Wire(server.port) as old:
        old.ask("PING")
        server.pause()
        with Wire(server.port) as new:
            old.send("ECHO", "1")
            new.send("ECHO", "2")
            assert old.silent()
            assert new.silent()
            assert server.commands == [(1, "PING", [])]
            server.resume()
            assert old.read() == b"1"
            assert new.read() == b"2"


def test_who_leaves_in_a_pause_was_heard(server: ScriptedServer) -> None:
    """As by a stopped process: what it has sent is taken up, and then it is gone."""
    with Wire(server.port) as wire:
        wire.ask("PING")
        server.pause()
        wire.send("INCR", "n")
    assert server.clients == 1
    server.resume()
    until(lambda: server.clients == 0)
    assert server.count("INCR") == 1


def test_all_clients_can_be_hung_up_on(server: ScriptedServer) -> None:
    """In good order, whatever they wait for; others may come at once."""
    server.answer("BLPOP", "never")
    with Wire(server.port) as one, Wire(server.port) as two:
        one.ask("PING")
        two.send("BLPOP", "a", "0")
        until(lambda: server.count("BLPOP") == 1)
        server.hang_up()
        for wire in (one, two):
            with pytest.raises(EOFError):
                wire.read()
    assert server.clients == 0
    with Wire(server.port) as three:
        assert three.ask("PING") == b"PONG"


# -- what it has seen, and its end -------------------------------------------------------------------------------------


def test_commands_are_noted_in_order(server: ScriptedServer) -> None:
    """By connection, name and arguments, whatever the answer."""
    server.answer("FROG", READONLY)
    with Wire(server.port) as one, Wire(server.port) as two:
        one.ask("set", "a", "1")
        two.ask("frog")
        one.ask("GET", "a")
    assert server.commands == [(1, "SET", [b"a", b"1"]), (2, "FROG", []), (1, "GET", [b"a"])]
    assert (server.count("set"), server.count("FROG"), server.count("DEL")) == (1, 1, 0)
    assert server.commands[0].connection == 1


def test_nothing_is_left_of_those_who_left(server: ScriptedServer, proxy: FaultProxy) -> None:
    """Whichever side ended it, client, server or proxy: no socket stays open."""
    sockets = len(os.listdir("/dev/fd"))
    for end in (Wire.close, lambda _: server.hang_up(), lambda _: proxy.hang_up(), lambda _: proxy.reset()):
        with Wire(proxy.port) as wire:
            wire.ask("PING")
            end(wire)
    until(lambda: len(os.listdir("/dev/fd")) == sockets)
    until(lambda: server.clients == 0)


def test_nothing_is_left_of_a_closed_server() -> None:
    """No thread, no socket, no port; clients are hung up on."""
    threads = threading.active_count()
    with ScriptedServer() as server, Wire(server.port) as wire:
        wire.ask("PING")
        server.close()
        assert threading.active_count() == threads
        with pytest.raises(EOFError):
            wire.read()
        with pytest.raises(ConnectionRefusedError):
            Wire(server.port)
        with pytest.raises(RuntimeError, match="is closed"):
            _ = server.clients
        server.close()
