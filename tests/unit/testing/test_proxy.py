"""What each fault of the proxy does to a client, and what it leaves alone."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest
import redis

from redpool.testing import FaultProxy, Raw, ScriptedServer

from .wire import PATIENCE, Wire, until


def names(server: ScriptedServer) -> list[str]:
    return [each.name for each in server.commands]


# -- without a fault ---------------------------------------------------------------------------------------------------


def test_what_is_sent_arrives_whatever_its_size(proxy: FaultProxy) -> None:
    """Both ways, more than any buffer holds."""
    value = bytes(range(256)) * 40_000
    with redis.Redis.from_url(proxy.url) as client:
        assert client.echo(value) == value


def test_connections_are_counted(proxy: FaultProxy) -> None:
    """Those accepted so far, and those open now."""
    assert (proxy.connections, proxy.open) == (0, 0)
    with Wire(proxy.port) as first, Wire(proxy.port) as second:
        assert first.ask("PING") == second.ask("PING") == b"PONG"
        assert (proxy.connections, proxy.open) == (2, 2)
    until(lambda: proxy.open == 0)
    assert proxy.connections == 2


def test_a_hang_up_behind_so_many_answers(proxy: FaultProxy) -> None:
    """For the connections there are and those to come, each in good order; `heal` ends it."""
    with Wire(proxy.port) as before:
        before.ask("PING")
        proxy.hang_up_after(2)
        with Wire(proxy.port) as later:
            for wire in (before, later):
                assert wire.ask("PING") == wire.ask("PING") == b"PONG"
                with pytest.raises(EOFError):
                    wire.read()
        with Wire(proxy.port) as spared:
            proxy.heal()
            assert [spared.ask("PING") for _ in range(3)] == [b"PONG"] * 3


def test_who_hangs_up_first_ends_both_connections(proxy: FaultProxy, server: ScriptedServer) -> None:
    """The server sees its client go; the client sees its server go."""
    with Wire(proxy.port) as wire:
        wire.ask("PING")
    until(lambda: server.clients == 0)
    with Wire(proxy.port) as wire:
        wire.ask("PING")
        server.hang_up()
        with pytest.raises(EOFError):
            wire.read()
    assert proxy.open == 0


def test_the_last_words_of_a_client_reach_the_server() -> None:
    """All that was sent before a hang-up, however long the server takes to read it."""
    words = b"word" * 1_000_000
    with socket.create_server(("127.0.0.1", 0)) as server, FaultProxy(*server.getsockname()) as proxy:
        with Wire(proxy.port) as wire:
            wire.send_raw(words)
        until(lambda: proxy.connections == 1 and proxy.open == 0)
        reading, _ = server.accept()
        with reading, reading.makefile("rb") as heard:
            assert heard.read() == words


def test_a_server_that_is_not_there_hangs_up() -> None:
    """The proxy accepts, and ends the connection as soon as it knows."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with FaultProxy("127.0.0.1", unused.getsockname()[1]) as proxy, Wire(proxy.port) as wire:
            with pytest.raises(EOFError):
                wire.read()
            assert proxy.open == 0


# -- slow --------------------------------------------------------------------------------------------------------------


def test_a_reply_is_held_back(proxy: FaultProxy) -> None:
    """For at least as long as was asked for; a command is not."""
    with Wire(proxy.port) as wire:
        wire.ask("PING")
        proxy.delay(0.05)
        begun = time.monotonic()
        assert wire.ask("PING") == b"PONG"
        assert time.monotonic() - begun >= 0.05


def test_delayed_replies_keep_their_order(proxy: FaultProxy, server: ScriptedServer) -> None:
    """One that came later, with a shorter delay, goes out later."""
    with Wire(proxy.port) as wire:
        wire.ask("PING")
        proxy.delay(3600.0)
        wire.send("ECHO", "first")
        assert wire.silent()
        proxy.delay(0.0)
        wire.send("ECHO", "second")
        assert wire.silent()
        proxy.heal()
        assert [wire.read(), wire.read()] == [b"first", b"second"]


def test_no_other_caller_waits_for_a_delayed_reply(proxy: FaultProxy) -> None:
    """The proxy goes on serving while it holds a reply back."""
    with Wire(proxy.port) as slow, Wire(proxy.port) as quick:
        slow.ask("PING")
        proxy.delay(3600.0)
        slow.send("PING")
        quick.send("PING")
        assert slow.silent()
        assert proxy.open == 2
        proxy.heal()
        assert slow.read() == quick.read() == b"PONG"


def test_replies_come_byte_by_byte(proxy: FaultProxy) -> None:
    """Each byte leaves alone, so long after the one before; together they are the reply."""
    with Wire(proxy.port) as wire:
        wire.ask("PING")
        proxy.byte_by_byte(0.01)
        begun = time.monotonic()
        wire.send("PING")
        assert wire.receive(1) == b"+"
        assert wire.receive(6) == b"PONG\r\n"
        assert time.monotonic() - begun >= 0.05
        proxy.byte_by_byte()
        assert wire.ask("ECHO", "a" * 1000) == b"a" * 1000


def test_replies_byte_by_byte_don_t_wait_for_each_other(proxy: FaultProxy) -> None:
    """A pause on one connection is none on another."""
    with Wire(proxy.port) as first, Wire(proxy.port) as second:
        first.ask("PING")
        proxy.byte_by_byte(3600.0)
        first.send("PING")
        second.send("PING")
        assert first.receive(1) == second.receive(1) == b"+"
        proxy.heal()
        assert first.receive(6) == second.receive(6) == b"PONG\r\n"


# -- lost --------------------------------------------------------------------------------------------------------------


def test_in_a_black_hole_nothing_reaches_anybody(proxy: FaultProxy, server: ScriptedServer) -> None:
    """No command is carried out, no reply comes, and what vanished stays away when all is well again."""
    with Wire(proxy.port) as wire:
        wire.ask("PING")
        proxy.black_hole()
        wire.send("SET", "a", "1")
        server.push(Raw(b"+stray\r\n"))
        assert wire.silent()
        proxy.heal()
        assert wire.ask("GET", "a") == b"a"
    assert names(server) == ["PING", "GET"]


def test_a_black_hole_accepts_connections_and_says_nothing(proxy: FaultProxy, server: ScriptedServer) -> None:
    """Also to callers that come while it lasts."""
    proxy.black_hole()
    with Wire(proxy.port) as wire:
        wire.send("PING")
        assert wire.silent()
        assert names(server) == []
        proxy.heal()
        assert wire.ask("PING") == b"PONG"


def test_in_a_black_hole_the_server_s_hang_up_isn_t_seen(proxy: FaultProxy, server: ScriptedServer) -> None:
    """Only afterwards."""
    with Wire(proxy.port) as wire:
        wire.ask("PING")
        proxy.black_hole()
        server.hang_up()
        assert wire.silent()
        assert proxy.open == 1
        proxy.heal()
        with pytest.raises(EOFError):
            wire.read()


def test_half_open_commands_run_and_no_caller_is_raised(proxy: FaultProxy, server: ScriptedServer) -> None:
    """The reply is lost for good; the server has had the command."""
    with Wire(proxy.port) as wire:
        wire.ask("PING")
        proxy.half_open()
        wire.send("INCR", "n")
        until(lambda: "INCR" in names(server))
        assert wire.silent()
        proxy.heal()
        assert wire.ask("GET", "n") == b"n"


def test_a_black_hole_can_become_half_open(proxy: FaultProxy, server: ScriptedServer) -> None:
    """The later word holds."""
    with Wire(proxy.port) as wire:
        proxy.black_hole()
        proxy.half_open()
        wire.send("INCR", "n")
        until(lambda: names(server) == ["INCR"])
        assert wire.silent()


def test_only_part_of_the_replies_passes(proxy: FaultProxy, server: ScriptedServer) -> None:
    """So many bytes on each connection, those to come included; then nothing, not even the end."""
    with Wire(proxy.port) as old:
        old.ask("PING")
        proxy.partial(9)
        with Wire(proxy.port) as new:
            for wire in (old, new):
                wire.send("PING")
                wire.send("PING")
                assert wire.receive(9) == b"+PONG\r\n+P"
                assert wire.silent()
            server.hang_up()
            assert old.silent()


def test_after_a_part_has_passed_the_rest_is_gone(proxy: FaultProxy) -> None:
    """Healed, the connection goes on with the next reply: its reader is out of step, as it would be."""
    with Wire(proxy.port) as wire:
        wire.ask("PING")
        proxy.partial(2)
        wire.send("PING")
        assert wire.receive(2) == b"+P"
        assert wire.silent()
        proxy.heal()
        wire.send("ECHO", "x")
        assert wire.receive(7) == b"$1\r\nx\r\n"


# -- ended -------------------------------------------------------------------------------------------------------------


def test_a_reset_is_a_reset(proxy: FaultProxy, server: ScriptedServer) -> None:
    """RST on every connection, now; the server's side ends, too; the next connection works."""
    with Wire(proxy.port) as wire:
        wire.ask("PING")
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            wire.read()
        assert proxy.open == 0
    until(lambda: server.clients == 0)
    with Wire(proxy.port) as wire:
        assert wire.ask("PING") == b"PONG"


def test_a_hang_up_is_orderly(proxy: FaultProxy, server: ScriptedServer) -> None:
    """FIN, even to a client whose last command was never read; the next connection works."""
    with Wire(proxy.port) as wire:
        wire.ask("PING")
        proxy.hang_up()
        wire.send("PING")
        wire.send("PING")  # an answer of RST to the first would make this one fail
        with pytest.raises(EOFError):
            wire.read()
        assert proxy.open == 0
    until(lambda: server.clients == 0)
    with Wire(proxy.port) as wire:
        assert wire.ask("PING") == b"PONG"


# -- connects ----------------------------------------------------------------------------------------------------------


def test_new_connections_are_refused(proxy: FaultProxy) -> None:
    """Those there are stay; healed, the same port works again."""
    with Wire(proxy.port) as old:
        old.ask("PING")
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            Wire(proxy.port)
        assert old.ask("PING") == b"PONG"
        proxy.heal()
        with Wire(proxy.port) as new:
            assert new.ask("PING") == old.ask("PING") == b"PONG"


def test_a_connect_never_completes(proxy: FaultProxy) -> None:
    """It is neither accepted nor refused, and isn't counted; healed, connects work, those that waited, too."""
    with Wire(proxy.port) as old:
        old.ask("PING")
        proxy.stall_accept()
        with pytest.raises(TimeoutError):
            socket.create_connection((proxy.host, proxy.port), 0.05)
        assert old.ask("PING") == b"PONG"
        assert proxy.connections == 1
        waits = threading.Thread(target=lambda: Wire(proxy.port).close())
        waits.start()
        until(lambda: not waits.is_alive() or _stalled(proxy.port))
        proxy.heal()
        waits.join(PATIENCE)
        assert not waits.is_alive()
        with Wire(proxy.port) as new:
            assert new.ask("PING") == b"PONG"


def _stalled(port: int) -> bool:
    """Whether a connect to that port is under way: SYN sent, no answer."""
    with open("/proc/net/tcp") as table:
        return any(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "02" for line in table)


# -- all of them -------------------------------------------------------------------------------------------------------

FAULTS: dict[str, Callable[[FaultProxy], None]] = {
    "delay": lambda proxy: proxy.delay(3600.0),
    "byte_by_byte": lambda proxy: proxy.byte_by_byte(3600.0),
    "black_hole": FaultProxy.black_hole,
    "half_open": FaultProxy.half_open,
    "partial": lambda proxy: proxy.partial(0),
    "refuse": FaultProxy.refuse,
    "stall_accept": FaultProxy.stall_accept,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_every_fault_ends(proxy: FaultProxy, fault: Callable[[FaultProxy], None]) -> None:
    """After `heal`, old connections and new ones work as before."""
    with Wire(proxy.port) as old:
        old.ask("PING")
        fault(proxy)
        proxy.heal()
        with Wire(proxy.port) as new:
            assert old.ask("PING") == new.ask("PING") == b"PONG"


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_proxy_closes_whatever_the_fault(server: ScriptedServer, fault: Callable[[FaultProxy], None]) -> None:
    """No thread, no socket, no port is left; a client is hung up on."""
    threads = threading.active_count()
    with FaultProxy(server.host, server.port) as proxy, Wire(proxy.port) as wire:
        wire.ask("PING")
        fault(proxy)
        proxy.close()
        assert threading.active_count() == threads
        with pytest.raises((EOFError, ConnectionResetError)):
            wire.read()
        with pytest.raises(ConnectionRefusedError):
            Wire(proxy.port)
        with pytest.raises(RuntimeError, match="is closed"):
            proxy.heal()
        proxy.close()
        assert proxy.open == 0


@pytest.mark.parametrize("name", ["delay", "byte_by_byte", "partial"])
def test_less_than_nothing_is_refused(proxy: FaultProxy, name: str) -> None:
    """By the argument's name and value."""
    with pytest.raises(ValueError, match="=-1 is negative"):
        getattr(proxy, name)(-1)
