"""A server that hangs up on one caller's request: others lose their connection with it once, not each time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from contract.faces import PATIENCE, Doing, eventually
from redpool import embedded
from redpool.redispy.sharing import PROBE, LargeReplies, as_raised, hung_up
from redpool.wire.pipeline import Request, ServerClosed
from shared.faces import OwnAsyncio, OwnThreads, Sharing, SharingAsyncio, SharingThreads

LIMIT = ("--client-output-buffer-limit", "normal", "2mb", "0", "0")
OTHERS = 6


@pytest.fixture(scope="module")
def strict() -> Iterator[embedded.Server]:
    """A server that hangs up on clients whose replies take more than 2 MB; one list of it is larger."""
    with embedded.start(args=LIMIT) as server, redis.Redis(host=server.host, port=server.port) as client:
        for _ in range(40):
            client.rpush("large", *[b"x" * 100_000] * 2)
        yield server


@pytest.fixture(params=[SharingThreads, SharingAsyncio, OwnThreads, OwnAsyncio], ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Iterator[Sharing]:
    """Each shell, under each client."""
    made: Sharing = request.param()
    yield made
    made.close()


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


def test_others_lose_their_connection_once(face: Sharing, strict: embedded.Server) -> None:
    """What the server hangs up on has the bulk connection from the next time on."""
    pool = face.pool(host=strict.host, port=strict.port, max_connections=5)
    client = face.client(pool)
    others = Others(client)
    others.go_on()
    with pytest.raises(redis.ConnectionError):
        client.lrange("large", 0, -1)
    others.go_on()
    before = others.failed
    for _ in range(5):
        with pytest.raises(redis.ConnectionError):
            client.lrange("large", 0, -1)
        others.go_on()
    others.end()
    assert others.failed == before


def test_a_retry_has_the_bulk_connection_too(face: Sharing, strict: embedded.Server) -> None:
    """It waits until there is one: the others don't fail at each try of one call.

    One that stood before it has the bulk connection once, too, and may fail there.
    """
    pool = face.pool(host=strict.host, port=strict.port, max_connections=5, retry=face.retry(5, 0.02))
    client = face.client(pool)
    others = Others(client)
    others.go_on()
    with pytest.raises(redis.ConnectionError):
        client.lrange("large", 0, -1)
    others.go_on()
    others.end()
    assert others.failed <= 2 * OTHERS


def test_without_room_for_a_bulk_connection(face: Sharing, strict: embedded.Server) -> None:
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


def test_the_head_and_the_first_that_reads_are_remembered() -> None:
    """Replies before the one that was too large may be lost with it; a command that only writes has none such."""
    large = LargeReplies()
    head, reads, other = request("INCR", "n"), request("LRANGE", "l", 0, -1), request("GET", "k")
    large.note_hang_up([head, request("SET", "k", 1), reads, other])
    assert large.stands_apart(head)
    assert large.stands_apart(reads)
    assert not large.knows(other)


def test_a_small_reply_clears_it() -> None:
    """And a large one says that it came after all."""
    large = LargeReplies()
    innocent, large_one = request("GET", "k"), request("LRANGE", "l", 0, -1)
    large.note_hang_up([innocent])
    large.note_hang_up([large_one])
    large.note(innocent)
    assert not large.knows(innocent)
    large_one.large = True
    large.note(large_one)
    assert large.knows(large_one)
    assert not large.stands_apart(large_one)


def test_pipelines_and_probes_are_not_remembered() -> None:
    """The one has no key, the other is the pool's own."""
    large = LargeReplies()
    large.note_hang_up([Request([("GET", "k"), ("GET", "l")], b"", 2)])
    large.note_hang_up([Request(PROBE, b"")])
    large.note_hang_up([])
    assert not large.known


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
