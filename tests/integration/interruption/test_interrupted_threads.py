"""Threads that are interrupted in the midst of a call: by signals, and by exceptions from elsewhere. Notes 5 and 42."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

import redpool
from redpool import embedded
from support.faces import PATIENCE, Doing, eventually
from support.interrupting import alarms

from .programs import said_by

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such signals")


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    """A client of its own."""
    made = redpool.Redis.from_url(redis_url, max_connections=10)
    made.set("key", "value")
    yield made
    made.connection_pool.shutdown(timeout=0, force=True)


def test_a_handler_that_uses_the_same_client(client: Any) -> None:
    """It is answered, whatever its thread was at; both have their own replies."""
    calls: list[Any] = []

    def handler() -> None:
        calls.append(client.echo(f"handler {len(calls)}") == f"handler {len(calls)}".encode())
        if len(calls) % 5 == 0:
            calls.append(client.pipeline().get("key").execute() == [b"value"])

    stop = [False]

    def work() -> None:
        while not stop[0]:
            assert client.get("key") == b"value"

    others = [Doing(work) for _ in range(2)]
    turn, end = 0, time.monotonic() + PATIENCE
    with alarms(handler, lambda: 0.004):
        while len(calls) < 100 and time.monotonic() < end:
            turn += 1
            assert client.echo(f"turn {turn}") == f"turn {turn}".encode()
    stop[0] = True
    for other in others:
        other.result()
    assert len(calls) >= 100
    assert all(calls)


def test_a_handler_while_its_thread_waits_for_a_reply(own_server: embedded.Server) -> None:
    """The call goes on after it; the handler's own goes over another connection."""
    client = redpool.Redis.from_url(own_server.url)
    client.set("key", "value")
    seen: list[Any] = []
    timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGALRM))
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(client.get("key")))
    try:
        timer.start()
        with redis.Redis.from_url(own_server.url) as pausing:
            pausing.client_pause(300)  # milliseconds
        assert client.echo("slow") == b"slow"
        assert eventually(lambda: seen == [b"value"])
    finally:
        timer.join()
        signal.signal(signal.SIGALRM, before)
        client.close()


def test_a_handler_that_raises(redis_url: str) -> None:
    """Its exception ends the call, and nothing else: the next reply is the next caller's."""
    assert said_by("alarms", redis_url) == {"interrupted": 40, "wrong": 0, "in_flight": 0, "answers": "b'value'"}


@pytest.mark.parametrize("client", ["redis", "redpool"])
def test_one_of_eight_is_interrupted_again_and_again(redis_url: str, client: str) -> None:
    """Whatever it was doing for the others, they get their own replies, or a redis error, and no caller hangs."""
    left = {"wrong": [], "errors": [], "hanging": 0, "in_flight": 0, "answers": "b'value'"}
    assert said_by("interrupted", redis_url, client, "one")["left"] == left
