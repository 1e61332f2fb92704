"""A server that hangs up on one caller's request: others lose their connection with it once, not each time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from redpool import embedded
from redpool.redispy.sharing import as_raised, hung_up
from redpool.testing import ScriptedServer
from redpool.wire.pipeline import Request, ServerClosed
from redpool.wire.routing import PROBE, Apart
from support.faces import PATIENCE, Doing, Face, eventually

LIMIT = ("--client-output-buffer-limit", "normal", "2mb", "0", "0")
OTHERS = 6


@pytest.fixture(scope="module")
def strict() -> Iterator[embedded.Server]:
    """A server that hangs up on clients whose replies take more than 2 MB; one list of it is larger."""
    with embedded.start(args=LIMIT) as server, redis.Redis(host=server.host, port=server.port) as client:
        for _ in range(40):
            client.rpush("large", *[b"x" * 100_000] * 2)
        yield server


@pytest.fixture
def face(multiplexed_face: Face) -> Face:
    """Each shell, under each client."""
    return multiplexed_face


class Others:
    """Callers that use the same pool all the while."""

    def __init__(self, client: Any) -> None:
        self.failed = 0
        self.done = [0] * OTHERS
        self._client, self._over = client, threading.Event()
        self._doings = [Doing(lambda number=number: self._work(number)) for number in range(OTHERS)]  # type: ignore[misc]

    def _work(self, number: int) -> None:
        while not self._over.is_set():
            try:
                self._client.incr(f"n:{number}")
            except redis.ConnectionError:
                self.failed += 1
            self.done[number] += 1

    def go_on(self) -> None:
        """Wait until each has done some more."""
        goal = [done + 2 for done in self.done]
        assert eventually(lambda: all(done >= least for done, least in zip(self.done, goal, strict=True)), PATIENCE)

    def end(self) -> None:
        """Have them end."""
        self._over.set()
        for doing in self._doings:
            doing.result()


def test_others_lose_their_connection_once(face: Face, strict: embedded.Server) -> None:
    """What the server hangs up on has the bulk connection from the next time: others fail once at most."""
    pool = face.pool(host=strict.host, port=strict.port, max_connections=5)
    client = face.client(pool)
    others = Others(client)
    for _ in range(6):
        others.go_on()
        with pytest.raises(redis.ConnectionError):
            client.lrange("large", 0, -1)
    others.go_on()
    others.end()
    assert others.failed <= OTHERS


def test_a_retry_has_the_bulk_connection_too(face: Face, strict: embedded.Server) -> None:
    """It waits until there is one: each of the others fails at most once for all tries of one call."""
    pool = face.pool(host=strict.host, port=strict.port, max_connections=5, retry=face.retry(5, 0.02))
    client = face.client(pool)
    others = Others(client)
    others.go_on()
    with pytest.raises(redis.ConnectionError):
        client.lrange("large", 0, -1)
    others.go_on()
    others.end()
    assert others.failed <= OTHERS


def test_without_room_for_a_bulk_connection(face: Face, strict: embedded.Server) -> None:
    """It goes over the one that there is, and waits for nothing."""
    pool = face.pool(host=strict.host, port=strict.port, max_connections=1)
    client = face.client(pool)
    for _ in range(3):
        with pytest.raises(redis.ConnectionError):
            client.lrange("large", 0, -1)
        assert client.ping()


# -- what is remembered ------------------------------------------------------------------------------------------------


def request(*command: Any) -> Request:
    """Return a request that was sent."""
    return Request(command, b"")


@pytest.mark.parametrize("command", [("GET", "k"), ("LRANGE", "l", 0, -1), ("EVAL", "return 1", 0), ("FT.SEARCH", "i")])
def test_the_head_is_remembered(command: tuple[Any, ...]) -> None:
    """But for those whose replies are short: the server may have been about to send them."""
    large = Apart()
    head, other = request(*command), request("HGETALL", "h")
    large.note_hang_up([request("INCR", "n"), request("SET", "k", 1), head, other])
    assert large.stands_apart(head)
    assert list(large.known) == [command[:2]]


def test_a_small_reply_clears_it() -> None:
    """And a large one says that it came after all."""
    large = Apart()
    innocent, large_one = request("GET", "k"), request("LRANGE", "l", 0, -1)
    large.note_hang_up([innocent, request("PING")])
    large.note_hang_up([large_one, innocent])
    large.note(innocent)
    assert not large.knows(innocent)
    large_one.large = True
    large.note(large_one)
    assert large.knows(large_one)
    assert not large.stands_apart(large_one)


def test_what_is_not_remembered() -> None:
    """A pipeline has no key, and a probe is the pool's own."""
    large = Apart()
    large.note_hang_up([Request([("GET", "k"), ("GET", "l")], b"", 2), request("GET", "k")])
    large.note_hang_up([Request(PROBE, b""), request("GET", "k")])
    large.note_hang_up([])
    assert not large.known


def test_a_server_that_cannot_be_reached_has_hung_up_on_everybody() -> None:
    """That says nothing of any request; what was large stays known."""
    large = Apart()
    request_of_a_large_reply = request("HGETALL", "h")
    request_of_a_large_reply.large = True
    large.note(request_of_a_large_reply)
    large.note_hang_up([request("GET", "k"), request("INCR", "n")])
    large.forget_hang_ups()
    assert list(large.known) == [("HGETALL", "h")]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ServerClosed(), True),
        (ConnectionResetError(104, "reset"), True),
        (OSError(113, "no route"), False),
        (redis.TimeoutError("no response"), False),
        (redis.ConnectionError("interrupted"), False),
    ],
    ids=repr,
)
def test_only_a_hang_up_counts(error: BaseException, expected: bool) -> None:
    """What else ends a connection says nothing of a request."""

    class Somewhere:
        def _host_error(self) -> str:
            return "there"

    assert hung_up(as_raised(error, Somewhere())) is expected


def test_what_the_pool_cuts_is_no_hang_up(face: Face, scripted: ScriptedServer) -> None:
    """A `disconnect()` says nothing of the request that stood at the head."""
    pool = face.pool(host=scripted.host, port=scripted.port)
    client = face.client(pool)
    client.ping()
    scripted.answer("LRANGE", "never")
    asking = Doing(lambda: client.lrange("list", 0, -1))
    assert eventually(lambda: scripted.count("LRANGE"))
    pool.disconnect()
    assert isinstance(asking.ended(), redis.ConnectionError)
    target = getattr(pool, "_target", pool)
    engine = target._engine if hasattr(target, "_engine") else target._here
    assert not engine.multiplexed.apart.known
