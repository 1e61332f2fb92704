"""What the in-memory server is to its clients, and how a test makes it behave."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest
import redis
import redis.asyncio

import redpool
import redpool.asyncio
from redpool.testing import Clock, FaultProxy, MemoryServer

from .wire import PATIENCE, Wire, until

READONLY = b"-READONLY You can't write against a read only replica.\r\n"


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_gets_along_with_it(server: MemoryServer, protocol: int) -> None:
    """Handshake, commands, pipelines, subscriptions."""
    with redis.Redis(host=server.host, port=server.port, protocol=protocol, client_name="me", db=3) as client:
        assert client.client_list()[0]["name"] == "me"
        assert client.client_list()[0]["db"] == "3"
        assert client.info()["redis_mode"] == "standalone"
        with client.pipeline() as pipe:
            assert pipe.set("n", 1).incr("n").get("nothing").execute() == [True, 2, None]
        with client.pubsub() as pubsub:
            pubsub.subscribe("news")
            pubsub.psubscribe("n?ws")
            until(lambda: client.publish("news", "hello") == 2)
            got = [(pubsub.get_message(timeout=PATIENCE) or {})["type"] for _ in range(4)]
    assert sorted(set(got)) == ["message", "pmessage", "psubscribe", "subscribe"]


def test_both_pools_get_along_with_it(server: MemoryServer) -> None:
    """Of threads and of an event loop."""

    async def count() -> list[int]:
        async with redpool.asyncio.ConnectionPool.from_url(server.url, max_connections=3) as pool:
            client = redis.asyncio.Redis(connection_pool=pool)
            return await asyncio.gather(*(client.incr("n") for _ in range(10)))

    assert sorted(asyncio.run(count())) == list(range(1, 11))
    with redpool.ConnectionPool.from_url(server.url) as pool:
        assert redis.Redis(connection_pool=pool).get("n") == b"10"


# -- several clients ---------------------------------------------------------------------------------------------------


def test_a_blocked_client_is_woken_by_a_push(server: MemoryServer) -> None:
    """The longest-waiting first; what each sent meanwhile is taken up afterwards."""
    with Wire(server.port) as first, Wire(server.port) as second, Wire(server.port) as writer:
        first.send("BLPOP", "a", "b", "0")
        first.send("PING")
        until(lambda: len(server.commands) == 1)
        second.send("BRPOP", "b", "0")
        until(lambda: len(server.commands) == 2)
        assert writer.ask("RPUSH", "b", "1", "2", "3") == 3
        assert first.read() == [b"b", b"1"]
        assert first.read() == b"PONG"
        assert second.read() == [b"b", b"3"]
        assert writer.ask("LLEN", "b") == 1


def test_who_leaves_while_blocked_takes_nothing(server: MemoryServer) -> None:
    """The element goes to no caller."""
    with Wire(server.port) as writer:
        with Wire(server.port) as blocked:
            blocked.send("BLPOP", "a", "0")
            until(lambda: bool(server.commands))
        until(lambda: server.clients == 1)
        assert writer.ask("RPUSH", "a", "1") == 1
        assert writer.ask("LLEN", "a") == 1


def test_a_change_of_a_watched_key_undoes_a_transaction(server: MemoryServer) -> None:
    """The caller that makes it; not one of another database."""
    with Wire(server.port) as wire, Wire(server.port) as other:
        wire.ask("WATCH", "a")
        other.ask("SELECT", "1")
        other.ask("SET", "a", "1")
        wire.ask("MULTI")
        assert wire.ask("EXEC") == []
        wire.ask("WATCH", "a")
        other.ask("SELECT", "0")
        other.ask("SET", "a", "1")
        wire.ask("MULTI")
        assert wire.ask("EXEC") is None


def test_keys_expire_by_the_clock() -> None:
    """Which may be turned by hand."""
    clock = Clock()
    with MemoryServer(clock=clock) as server, Wire(server.port) as wire:
        wire.ask("SET", "a", "1", "EX", "10")
        wire.ask("SET", "b", "1", "PX", "10500")
        wire.ask("INCR", "a")
        clock.advance(9.0)
        assert wire.ask("MGET", "a", "b") == [b"2", b"1"]
        clock.advance(1.0)
        assert wire.ask("MGET", "a", "b") == [None, b"1"]
        assert wire.ask("DBSIZE") == 1
        wire.ask("SET", "b", "1")
        clock.advance(1.0)
        assert wire.ask("GET", "b") == b"1"


def test_a_client_can_kill_others_and_itself(server: MemoryServer) -> None:
    """By id or address; itself only if it says so, and gets its answer first."""
    with Wire(server.port) as wire, Wire(server.port) as other:
        number = other.ask("CLIENT", "ID")
        assert wire.ask("CLIENT", "KILL", "ID", str(number)) == 1
        with pytest.raises(EOFError):
            other.read()
        own = str(wire.ask("CLIENT", "ID"))
        assert wire.ask("CLIENT", "KILL", "ID", own) == 0
        assert wire.ask("CLIENT", "KILL", "ID", own, "SKIPME", "no") == 1
        with pytest.raises(EOFError):
            wire.read()


def test_replies_can_be_left_out(server: MemoryServer) -> None:
    """CLIENT REPLY: of the next command, or of all."""
    with Wire(server.port) as wire:
        wire.send("CLIENT", "REPLY", "SKIP")
        wire.send("ECHO", "1")
        assert wire.ask("ECHO", "2") == b"2"
        wire.send("CLIENT", "REPLY", "OFF")
        wire.send("ECHO", "3")
        assert wire.ask("CLIENT", "REPLY", "ON") == b"OK"
        assert wire.ask("ECHO", "4") == b"4"


def test_quit_is_answered_and_ends(server: MemoryServer) -> None:
    """What was sent after it isn't carried out."""
    with Wire(server.port) as wire:
        wire.send("QUIT")
        wire.send("PING")
        assert wire.read() == b"OK"
        with pytest.raises(EOFError):
            wire.read()
    assert server.commands == [(1, "QUIT")]


def test_rubbish_ends_a_connection(server: MemoryServer) -> None:
    """With an error, and no harm to anybody else."""
    for rubbish in (b"GET a\r\n", b"+OK\r\n", b"*1\r\n:1\r\n"):
        with Wire(server.port) as wire, Wire(server.port) as other:
            wire.send_raw(rubbish)
            assert str(wire.read()).startswith("-ERR Protocol error")
            with pytest.raises(EOFError):
                wire.read()
            assert other.ask("PING") == b"PONG"


def test_commands_may_come_in_any_pieces(server: MemoryServer) -> None:
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


# -- as the test says --------------------------------------------------------------------------------------------------


def test_commands_are_noted_as_they_are_carried_out(server: MemoryServer) -> None:
    """By connection and name, in order; those of a transaction when it is executed; refused ones not at all."""
    with Wire(server.port) as one, Wire(server.port) as two:
        one.ask("set", "a", "1")
        two.ask("MULTI")
        two.ask("INCR", "a")
        one.ask("GET", "a")
        two.ask("EXEC")
        two.ask("FROG")
        two.ask("GET")
    assert server.commands == [(1, "SET"), (2, "MULTI"), (1, "GET"), (2, "EXEC"), (2, "INCR")]


def test_an_answer_can_be_put_in_place_of_a_command(server: MemoryServer) -> None:
    """The command isn't carried out, until the answer is taken back; any name will do."""
    server.answer("set", READONLY)
    server.answer("FROG", b"+croak\r\n")
    with redis.Redis.from_url(server.url) as client:
        with pytest.raises(redis.exceptions.ReadOnlyError):
            client.set("a", "1")
        assert client.execute_command("FROG") == b"croak"
        server.answer("SET", None)
        assert client.get("a") is None
        assert client.set("a", "1")


def test_an_answer_can_depend_on_the_arguments(server: MemoryServer) -> None:
    """None has the command carried out; an error in the function is the client's reply, and ends nothing."""

    def answer(args: list[bytes]) -> bytes | None:
        if args[0] == b"fault":
            raise LookupError("no such thing")
        return b"$4\r\nfake\r\n" if args[0] == b"fake" else None

    server.answer("GET", answer)
    with Wire(server.port) as wire:
        wire.ask("SET", "real", "real")
        assert wire.ask("GET", "fake") == b"fake"
        assert wire.ask("GET", "real") == b"real"
        assert "no such thing" in str(wire.ask("GET", "fault"))


def test_no_answer_at_all(server: MemoryServer) -> None:
    """No bytes: the client waits."""
    server.answer("GET", b"")
    with Wire(server.port) as wire:
        wire.send("GET", "a")
        assert wire.silent()
        assert wire.ask("PING") == b"PONG"


def test_one_client_too_many_is_raised_and_hung_up_on() -> None:
    """As soon as one leaves, the next is let in."""
    with MemoryServer(max_clients=1) as server:
        with Wire(server.port) as first:
            first.ask("PING")
            with Wire(server.port) as second:
                second.send("PING")
                assert str(second.read()) == "-ERR max number of clients reached"
                with pytest.raises(EOFError):
                    second.read()
            assert server.clients == 1
            assert first.ask("PING") == b"PONG"
            server.max_clients = 2
            with Wire(server.port) as second:
                assert second.ask("PING") == b"PONG"
        until(lambda: server.clients == 0)
        assert server.max_clients == 2


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_password_is_asked_for(protocol: int) -> None:
    """By AUTH and by HELLO; those already in stay in when it changes."""
    with MemoryServer(password="open") as server:
        with Wire(server.port) as wire:
            assert str(wire.ask("GET", "a")).startswith("-NOAUTH")
            assert str(wire.ask("HELLO", "3")).startswith("-NOAUTH")
        with (
            pytest.raises(redis.exceptions.AuthenticationError),
            redis.Redis.from_url(server.url, password="shut") as no,
        ):
            no.get("a")
        with redis.Redis.from_url(server.url, password="open", protocol=protocol) as yes:
            assert yes.get("a") is None
            server.password = "changed"
            assert yes.get("a") is None
            yes.connection_pool.disconnect()
            with pytest.raises(redis.exceptions.AuthenticationError):
                yes.get("a")


def test_a_pause_answers_no_caller(server: MemoryServer) -> None:
    """Old clients and new ones; afterwards all is carried out, in order."""
    with Wire(server.port) as old:
        old.ask("PING")
        server.pause()
        with Wire(server.port) as new:
            old.send("ECHO", "1")
            new.send("ECHO", "2")
            assert old.silent()
            assert new.silent()
            assert server.commands == [(1, "PING")]
            server.resume()
            assert old.read() == b"1"
            assert new.read() == b"2"


def test_a_blocked_client_s_time_ends_after_the_pause(server: MemoryServer) -> None:
    """Not in it; and not never."""
    with Wire(server.port) as wire:
        wire.send("BLPOP", "a", "0.01")
        until(lambda: bool(server.commands))
        server.pause()
        assert wire.silent()
        server.resume()
        assert wire.read() is None


def test_all_clients_can_be_killed(server: MemoryServer) -> None:
    """In good order; others may come at once."""
    with Wire(server.port) as one, Wire(server.port) as two:
        one.ask("PING")
        two.send("BLPOP", "a", "0")
        until(lambda: len(server.commands) == 2)
        assert server.kill_clients() == 2
        for wire in (one, two):
            with pytest.raises(EOFError):
                wire.read()
    assert server.clients == 0
    with Wire(server.port) as three:
        assert three.ask("PING") == b"PONG"


def test_bytes_can_be_pushed_out_of_turn(server: MemoryServer) -> None:
    """Whatever they are, to every client."""
    with Wire(server.port) as one, Wire(server.port) as two:
        one.ask("PING")
        two.ask("PING")
        server.push(b"+stray\r\n")
        assert one.ask("PING") == two.ask("PING") == b"stray"
        assert one.read() == two.read() == b"PONG"


def test_nothing_is_left_of_those_who_left(server: MemoryServer, proxy: FaultProxy) -> None:
    """The caller that ended it, client, server or proxy: no socket stays open."""
    sockets = len(os.listdir("/dev/fd"))
    for end in (Wire.close, lambda _: server.kill_clients(), lambda _: proxy.hang_up(), lambda _: proxy.reset()):
        with Wire(proxy.port) as wire:
            wire.ask("PING")
            end(wire)
    until(lambda: len(os.listdir("/dev/fd")) == sockets)


def test_nothing_is_left_of_a_closed_server() -> None:
    """No thread, no socket, no port; clients are hung up on."""
    threads = threading.active_count()
    with MemoryServer() as server, Wire(server.port) as wire:
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
