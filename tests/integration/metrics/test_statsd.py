"""Pools as a StatsD server gets them: over UDP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from datadog.dogstatsd import DogStatsd

from redpool.metrics.statsd import Report, report_stats
from support.faces import PATIENCE, Face, eventually


class Server:
    """A UDP socket, and what it has got: each line's value and kind, by its name and tags."""

    def __init__(self) -> None:
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(PATIENCE)
        port = self._socket.getsockname()[1]
        self.client = DogStatsd(
            "127.0.0.1", port, disable_telemetry=True, disable_aggregation=True, disable_buffering=True
        )

    def read(self, last: str) -> dict[str, tuple[float, str]]:
        """All lines up to one that begins with that name."""
        seen: dict[str, tuple[float, str]] = {}
        while True:
            for line in self._socket.recv(65536).decode().splitlines():
                place, kind, *tags = line.split("|")
                name, value = place.rsplit(":", 1)
                named = " ".join([name, *sorted(tag for each in tags for tag in each.lstrip("#").split(","))])
                seen[named] = float(value), kind
                if name.startswith(last):
                    return seen

    def close(self) -> None:
        """Close it."""
        self.client.close_socket()
        self._socket.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A StatsD server."""
    made = Server()
    yield made
    made.close()


@contextmanager
def _used(face: Face, at: dict[str, Any]) -> Iterator[Any]:
    pool = face.pool(**at, max_connections=3, name="a,b|c:1/0")
    face.open_connections(pool, 2)
    with pool.connection():
        yield getattr(pool, "_target", pool)


def test_every_number_is_sent(face: Face, at: dict[str, Any], server: Server) -> None:
    """Gauges as they are, counts as what has come since; a name can't break the line."""
    with _used(face, at) as pool:
        report = Report(server.client, "redpool", tags=True)
        report.send(pool)
        first = server.read("redpool.connect.p99")
        report.send(pool)
        again = server.read("redpool.connect.sum")
    tag = " pool:a_b_c:1/0"
    assert first[f"redpool.connections{tag} state:in_use"] == (1, "g")
    assert first[f"redpool.connections{tag} state:idle"] == (1, "g")
    assert first[f"redpool.connections_max{tag}"] == (3, "g")
    assert first[f"redpool.oldest_wait_seconds{tag}"] == (0, "g")
    assert first[f"redpool.acquired{tag}"] == (3, "c")
    assert first[f"redpool.connected{tag}"] == first[f"redpool.connect.count{tag}"] == (2, "c")
    assert 0 < first[f"redpool.connect.p50{tag}"][0] <= first[f"redpool.connect.p99{tag}"][0]
    assert first[f"redpool.connect.sum{tag}"][0] > 0
    assert again[f"redpool.acquired{tag}"] == (0, "c")
    assert not [name for name in again if name.startswith("redpool.connect.p")]
    assert again[f"redpool.connections{tag} state:in_use"] == (1, "g")


def test_without_tags(threads: Face, at: dict[str, Any], server: Server) -> None:
    """For a StatsD that has none, all is in the name."""
    with _used(threads, at) as pool:
        Report(server.client, "app", tags=False).send(pool)
    seen = server.read("app.a_b_c_1_0.connect.p99")
    assert {"app.a_b_c_1_0.connections.in_use": (1, "g"), "app.a_b_c_1_0.acquired": (3, "c")}.items() <= seen.items()


def test_it_is_sent_until_it_is_ended(threads: Face, at: dict[str, Any], server: Server) -> None:
    """By a thread of its own, again and again."""
    pool = threads.pool(**at, name="sent")
    end = report_stats(pool, server.client, every=0.01)
    for _ in range(2):
        assert server.read("redpool.connect.sum")["redpool.connections_max pool:sent"] == (50, "g")
    end()
    with pytest.raises(ValueError, match="every=0"):
        report_stats(pool, server.client, every=0)
    assert eventually(lambda: "redpool sent statsd" not in _threads())


def _threads() -> list[str]:
    return [each.name for each in threading.enumerate()]
