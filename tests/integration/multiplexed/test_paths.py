"""Shared connections over TLS, and the notifications of RESP3 that come in between."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redpool import embedded
from redpool.testing import Raw, ScriptedServer
from support import tls
from support.faces import Doing, Face, eventually, together


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Where a server is, with TLS before it, as a pool's keywords."""
    certificate, key = tls.certificate(tmp_path_factory.mktemp("tls"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with embedded.start() as server, tls.before(server.host, server.port, context) as (host, port):
        yield {"host": host, "port": port, "ssl": True, "ssl_ca_certs": certificate}


@pytest.fixture
def over_tls(shell: Face, secured: dict[str, Any]) -> Any:
    """A client of that server, with a pool of its own."""
    assert Path(secured["ssl_ca_certs"]).exists()
    return shell.own(**secured)


def test_tls(over_tls: Any) -> None:
    """Commands, pipelines and what waits, over two connections."""
    over_tls.set("key", "value")
    assert over_tls.get("key") == b"value"
    assert over_tls.pipeline().get("key").incr("n").execute()[0] == b"value"
    assert over_tls.blpop("nothing", 0.01) is None
    assert over_tls.connection_pool.stats().open == 2


def test_tls_in_both_directions_at_once(over_tls: Any) -> None:
    """One sends while another one receives, and each is answered in order; large ones, too."""

    def work(number: int) -> None:
        for turn in range(20):
            token = f"{number}-{turn}-".encode() * (20_000 if turn % 10 == 9 else 1)
            assert over_tls.echo(token) == token

    for doing in together(4, work):
        doing.result()
    assert over_tls.connection_pool.stats().in_flight == 0


def test_a_reply_in_many_records(over_tls: Any) -> None:
    """What is in the session's own buffer is not forgotten."""
    value = bytes(range(256)) * 4_000
    over_tls.set("large", value)
    for _ in range(5):
        assert over_tls.get("large") == value
        assert over_tls.echo("x") == b"x"


def test_notifications_between_replies(shell: Face, scripted: ScriptedServer) -> None:
    """A push message is no caller's reply, whether it comes before one, alone or in pieces."""
    client = shell.own(host=scripted.host, port=scripted.port, protocol=3)
    client.ping()
    for _ in range(3):
        scripted.push(["invalidate", ["key"]])
    assert client.get("key") == b"key"
    scripted.push(Raw(b">2\r\n$10\r\ninvali"))
    doing = Doing(lambda: client.get("key"))
    scripted.push(Raw(b"date\r\n*1\r\n$3\r\nkey\r\n"))
    # Whatever the order in which the reply and the rest of the message came, nothing may hang or be mixed up.
    assert eventually(lambda: doing.done)
    assert doing.error is not None or doing.result() == b"key"
    assert client.get("key") == b"key"


@pytest.mark.usefixtures("attentive")
@pytest.mark.parametrize(("stray", "protocol"), [(b"+stray\r\n", 2), (b"rubbish\r\n", 3)], ids=["a reply", "rubbish"])
def test_what_no_caller_asked_for_ends_the_connection(
    shell: Face, scripted: ScriptedServer, stray: bytes, protocol: int
) -> None:
    """Once it is seen, which takes a look of the maintenance thread at most, the next caller has another connection."""
    client = shell.own(host=scripted.host, port=scripted.port, protocol=protocol)
    client.ping()
    scripted.push(Raw(stray))
    assert eventually(lambda: scripted.clients == 0)
    assert client.get("key") == b"key"
    assert client.connection_pool.stats().connected == 2


@pytest.mark.parametrize("stray", [b"+stray\r\n", b"rubbish\r\n"], ids=["a reply", "rubbish"])
def test_what_no_caller_asked_for_behind_a_reply(shell: Face, scripted: ScriptedServer, stray: bytes) -> None:
    """It ends the connection at once, and never reaches the next caller."""
    client = shell.own(host=scripted.host, port=scripted.port)
    client.ping()
    scripted.answer("ECHO", Raw(b"$5\r\nright\r\n" + stray))
    with contextlib.suppress(shell.redis.RedisError):
        assert client.echo("x") == b"right"
    for _ in range(3):
        assert client.get("key") == b"key"
    assert client.connection_pool.stats().connected == 2
