"""A subscriber whose path has died in silence: it is found out, and listens again over another. Notes 10 and 25.

The path is a server that swallows each PING until a caller connects anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.credentials import CredentialProvider

from redpool.testing import FaultProxy, Raw, ScriptedServer
from redpool.testing.replies import Reply
from support.faces import Doing, Face, _unwrapped, eventually

INTERVAL = 0.05
"""Seconds between two PINGs."""


class Station:
    """A scripted server that may swallow PINGs."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.silent = False
        """whether it does"""
        self.deaf = False
        """whether it swallows those of handshakes"""
        self.swallowed = 0
        server.answer("PING", self._answer)
        server.answer("CLIENT", self._wake_up)

    def _answer(self, args: list[bytes]) -> Reply:
        # Without an argument it is a new connection that asks.
        if not (self.silent if args else self.deaf):
            return "ok"
        self.swallowed += 1
        return Raw(b"")

    def _wake_up(self, args: list[bytes]) -> Reply:
        self.silent = False
        return "ok"

    def subscribers(self) -> set[int]:
        """The connections that have ever subscribed."""
        return {each.connection for each in self.server.commands if each.name in ("SUBSCRIBE", "PSUBSCRIBE")}

    def say(self, message: str) -> None:
        """Send it to all, who are subscribers or about to be."""
        self.server.push(["message", "news", message])


@pytest.fixture
def station() -> Iterator[Station]:
    """It answers, until a test stops that."""
    with ScriptedServer() as server:
        yield Station(server)


both_protocols = pytest.mark.parametrize(
    "subscriber", [{"protocol": 2}, {"protocol": 3}], indirect=True, ids=["resp2", "resp3"]
)


@pytest.fixture
def subscriber(request: pytest.FixtureRequest, face: Face, station: Station) -> Iterator[Any]:
    """A subscriber that asks after its path; it has heard that it is subscribed."""
    options = {"health_check_interval": INTERVAL, **getattr(request, "param", {})}
    pool = face.pool(host=station.server.host, port=station.server.port, **options)
    made = face.client(pool).pubsub()
    made.subscribe("news")
    made.psubscribe("other*")
    assert [made.get_message(timeout=10)["type"] for _ in range(2)] == ["subscribe", "psubscribe"]
    yield made
    made.close()


def by_looking(subscriber: Any) -> Any:
    """The next message, by asking for it again and again."""
    while True:
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            message = subscriber.get_message(ignore_subscribe_messages=True, timeout=INTERVAL / 2)
            if message is not None:
                return message


def by_waiting(subscriber: Any) -> Any:
    """The next message, by waiting for each for ever; `None` is what redis-py makes of a PING's answer."""
    while True:
        message = subscriber.get_message(ignore_subscribe_messages=True, timeout=None)
        if message is not None:
            return message


def by_listening(subscriber: Any) -> Any:
    """The next message, as an iterator gives it."""
    return next(message for message in subscriber.listen() if message["type"] == "message")


ways = pytest.mark.parametrize("way", [by_looking, by_waiting, by_listening])


@both_protocols
@ways
def test_a_silent_path_is_replaced(station: Station, subscriber: Any, way: Callable[[Any], Any]) -> None:
    """When nothing came for an interval; all that was subscribed to is subscribed to again, and the message comes."""
    station.silent = True
    hearing = Doing(lambda: way(subscriber))
    assert eventually(lambda: len(station.subscribers()) == 2)
    assert eventually(lambda: (station.server.count("SUBSCRIBE"), station.server.count("PSUBSCRIBE")) == (2, 2))
    station.say("hello")
    assert hearing.result()["data"] == b"hello"
    assert station.swallowed >= 1


at_leisure = pytest.mark.parametrize(
    "subscriber", [{"health_check_interval": 8 * INTERVAL}], indirect=True, ids=["at leisure"]
)


@at_leisure
@ways
def test_a_path_that_answers_is_kept(station: Station, subscriber: Any, way: Callable[[Any], Any]) -> None:
    """However many PINGs there are."""
    hearing = Doing(lambda: way(subscriber))
    assert eventually(lambda: station.server.count("PING") >= 2)
    station.say("hello")
    assert hearing.result()["data"] == b"hello"
    assert len(station.subscribers()) == 1


@at_leisure
def test_messages_are_a_sign_of_life(station: Station, subscriber: Any) -> None:
    """Where something comes after each PING, the path isn't silent, though the PINGs go unanswered."""
    station.silent = True
    for turn in range(1, 4):
        assert eventually(lambda: subscriber.get_message(timeout=INTERVAL / 5) or station.swallowed >= turn)  # noqa: B023
        station.say("hello")
        assert by_looking(subscriber)["data"] == b"hello"
    assert len(station.subscribers()) == 1


def test_without_an_interval_no_caller_asks(face: Face, station: Station) -> None:
    """Silence is then no reason for anything."""
    client = face.client(face.pool(host=station.server.host, port=station.server.port))
    with client.pubsub() as subscriber:
        subscriber.subscribe("news")
        assert subscriber.get_message(timeout=10)["type"] == "subscribe"
        assert subscriber.get_message(timeout=4 * INTERVAL) is None
        assert station.server.count("PING") == 0


@pytest.mark.needs("retries by default")
@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("way", [by_looking, by_listening])
def test_a_path_that_stays_dead_for_a_while(
    face: Face, station: Station, way: Callable[[Any], Any], protocol: int
) -> None:
    """New ones are dead, too, and the retry policy goes on trying, or the caller; then the message comes."""
    with FaultProxy(station.server.host, station.server.port) as proxy:
        pool = face.pool(
            host=proxy.host,
            port=proxy.port,
            health_check_interval=INTERVAL,
            socket_timeout=0.1,
            retry=face.retry(100, INTERVAL),
            protocol=protocol,
        )
        subscriber = face.client(pool).pubsub()
        subscriber.subscribe("news")
        assert subscriber.get_message(timeout=10)["type"] == "subscribe"
        proxy.black_hole()
        hearing = Doing(lambda: way(subscriber))
        assert eventually(lambda: proxy.connections >= 2)
        proxy.heal()

        def said_and_heard() -> bool:
            # Again and again: of several connects in a row the server may know more than the last.
            station.say("hello")
            return hearing.done

        assert eventually(said_and_heard)
        assert hearing.result()["data"] == b"hello"
        subscriber.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_handshake_asks_for_no_other_sign_of_life(face: Face, station: Station, protocol: int) -> None:
    """A PING there that failed would be sent again over a further connection, behind what is subscribed to there."""
    pool = face.pool(
        host=station.server.host,
        port=station.server.port,
        health_check_interval=1000,
        socket_timeout=0.2,
        retry=face.retry(3),
        protocol=protocol,
    )
    subscriber = face.client(pool).pubsub()
    subscriber.subscribe("news")
    assert subscriber.get_message(timeout=10)["type"] == "subscribe"
    station.deaf = True
    hearing, connection = Doing(lambda: by_waiting(subscriber)), _unwrapped(subscriber).connection
    assert eventually(lambda: connection.reading)
    connection.next_health_check = 0  # it is due by now
    station.server.hang_up()
    assert eventually(lambda: len(station.subscribers()) == 2)
    station.say("hello")
    assert hearing.result()["data"] == b"hello"
    assert len(station.subscribers()) == station.server.count("SUBSCRIBE") == 2
    subscriber.close()


class Cuts(CredentialProvider):
    """Closes the connection that asks for its credentials, where it learns which that is."""

    connection: Any = None

    def get_credentials(self) -> tuple[str]:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.disconnect()
        return ("secret",)

    async def get_credentials_async(self) -> tuple[str]:
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.disconnect()
        return ("secret",)


@pytest.mark.needs("asynchronous credentials")
@pytest.mark.parametrize("protocol", [2, 3])
def test_a_handshake_does_not_go_on_over_another_connection(face: Face, station: Station, protocol: int) -> None:
    """One that was cut in its midst fails as a whole, and the retry policy makes another."""
    cuts = Cuts()
    pool = face.pool(
        host=station.server.host,
        port=station.server.port,
        credential_provider=cuts,
        retry=face.retry(3, INTERVAL),
        protocol=protocol,
    )
    subscriber = face.client(pool).pubsub()
    subscriber.subscribe("news")
    assert subscriber.get_message(timeout=10)["type"] == "subscribe"
    cuts.connection = _unwrapped(subscriber).connection
    station.server.hang_up()
    hearing = Doing(lambda: by_waiting(subscriber))
    assert eventually(lambda: len(station.subscribers()) == 2)
    station.say("hello")
    assert hearing.result()["data"] == b"hello"
    assert len(station.subscribers()) == station.server.count("SUBSCRIBE") == 2
    subscriber.close()
