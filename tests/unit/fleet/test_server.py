"""What is asked of a server, and what its answers say."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from redpool.fleet.model import Owner, ServerView
from redpool.fleet.server import ServerSide

from .made_up import line, process

INFO = b"# Server\r\nredis_version:7.4.1\r\n# Clients\r\nconnected_clients:3\r\nmaxclients:10000\r\n"
NAME = "checkout/cache@web-1:4711"


def look(side: ServerSide, answers: dict[str, Any], *processes: Any) -> tuple[list[str], ServerView]:
    """What it asks, and what it makes of the answers."""
    asked = [" ".join(map(str, command)) for command in side.commands()]
    return asked, side.view("redis://a:1/0", [answers.get(each.split()[0], []) for each in asked], processes, ())


def test_answers() -> None:
    """Figures, events and slow commands; of these the name only, though the server has said more."""
    slow = [[7, 1_700_000_000, 12_000, [b"SET", b"a-key", b"a-value"], b"10.0.0.1:5000", NAME.encode()]]
    latency = [[b"command", 1_700_000_001, 250, 900]]
    answers = {"INFO": INFO, "LATENCY": latency, "SLOWLOG": slow, "CLIENT": line(name=NAME).encode()}
    asked, view = look(ServerSide(60.0), answers, process())
    assert asked == ["INFO", "LATENCY LATEST", "SLOWLOG GET 64", "CLIENT LIST"]
    assert (view.url, view.version, view.connected_clients, view.max_clients) == ("redis://a:1/0", "7.4.1", 3, 10_000)
    assert view.latency == (("command", 1_700_000_001.0, 0.25),)
    assert view.slow == ((1_700_000_000.0, 0.012, "SET", NAME),)
    assert [(client.name, client.owner) for client in view.clients] == [(NAME, Owner.KNOWN)]
    assert view.unseen == ()


def test_a_server_that_says_less() -> None:
    """An older one has its limit in its configuration only, and a slow log without names."""
    answers = {"INFO": b"redis_version:3.2\r\nmaxclients:x\r\n", "SLOWLOG": [[7, 1, 2, []]]}
    side = ServerSide(60.0)
    _, view = look(side, answers)
    assert (view.max_clients, view.connected_clients, view.slow) == (None, None, ((1.0, 2e-6, "", ""),))
    asked, view = look(side, answers | {"CONFIG": [b"maxclients", b"4000"]})
    assert "CONFIG GET maxclients" in asked
    assert view.max_clients == 4000
    assert "CONFIG GET maxclients" not in look(side, answers)[0]


def test_what_is_refused_is_not_asked_again() -> None:
    """Until there is another connection: a refusal counts in the server's statistics."""
    side = ServerSide(60.0)
    answers = {"INFO": INFO, "CLIENT": NoPermissionError("no permissions"), "LATENCY": ResponseError("unknown command")}
    _, view = look(side, answers)
    assert view.unseen == ("LATENCY LATEST: unknown command", "CLIENT LIST: no permissions")
    asked, again = look(side, answers)
    assert asked == ["INFO", "SLOWLOG GET 64"]
    assert again.unseen == view.unseen
    side.start_over()
    assert "CLIENT LIST" in look(side, answers)[0]


def test_owners_are_those_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of clients may be a moment old; who is alive is not."""
    monkeypatch.setattr("redpool.fleet.server._SHARE", 1e9)
    side = ServerSide(60.0)
    answers = {"INFO": INFO, "CLIENT": line(name=NAME).encode()}
    _, view = look(side, answers)
    assert [client.owner for client in view.clients] == [Owner.ORPHANED]
    asked, view = look(side, answers, process())
    assert "CLIENT LIST" not in asked
    assert [(client.owner, client.process) for client in view.clients] == [(Owner.KNOWN, process().key)]
