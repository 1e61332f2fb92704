"""The relay that stands in for a network, and the files that many connections need."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator

import pytest
import redis

from benchmarks.peers.files import files
from benchmarks.peers.ground import Ground
from benchmarks.peers.network import Network
from benchmarks.peers.peer import Address

ROUND_TRIP = 0.03


@pytest.fixture
def network(place: Ground) -> Iterator[Network]:
    with Network(Address(place.server.host, place.server.port)) as made:
        yield made


def test_a_reply_is_held_back_for_the_round_trip(network: Network) -> None:
    """And no command is: they don't wait for one another's replies."""
    with socket.create_connection(network.address(ROUND_TRIP)) as client, client.makefile("rb") as replies:
        began = time.monotonic()
        for text in (b"one", b"two"):
            client.sendall(b"*2\r\n$4\r\nECHO\r\n$3\r\n%s\r\n" % text)
        assert [replies.readline() for _ in range(4)] == [b"$3\r\n", b"one\r\n", b"$3\r\n", b"two\r\n"]
        assert time.monotonic() - began >= ROUND_TRIP


def test_a_long_reply_comes_through_a_relay_whole(network: Network) -> None:
    """Piece by piece, in order."""
    text = bytes(range(1, 10)) * 100_000
    with redis.Redis(*network.address(ROUND_TRIP)) as client:
        assert client.echo(text) == text


def test_a_hang_up_is_passed_on_to_the_server(network: Network, place: Ground) -> None:
    """So that a peer's connections are gone with it."""
    before = place.connected()
    client = redis.Redis(*network.address(ROUND_TRIP))
    client.ping()
    assert len(place.connected() - before) == 1
    client.close()
    end = time.monotonic() + 10
    while place.connected() - before:
        assert time.monotonic() < end


def test_the_relay_tells_what_it_has_cost(network: Network) -> None:
    """Without a round trip nothing stands between."""
    assert network.cpu(ROUND_TRIP) > 0
    assert network.cpu(0) == 0


def test_the_relay_ends_with_the_block(place: Ground) -> None:
    """Nothing listens there any more."""
    with Network(Address(place.server.host, place.server.port)) as made:
        address = made.address(ROUND_TRIP)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_more_files_are_allowed_for_the_length_of_a_block() -> None:
    """And no fewer than before."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = min(before[0], 512)
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, before[1]))
    try:
        with files(low + 10):
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(low + 10, before[1])
        with files(1):
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == low
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == low
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
