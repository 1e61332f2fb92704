"""Threads that are struck in the midst of a call: by signals, and by exceptions from elsewhere. Notes 5 and 42."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

import redpool
from contract.faces import PATIENCE, Doing, eventually
from redpool import embedded

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such signals")


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    """A client of its own."""
    made = redpool.Redis.from_url(redis_url, max_connections=10)
    made.set("key", "value")
    yield made
    made.connection_pool.close(timeout=0, force=True)


@contextlib.contextmanager
def alarmed(handler: Any, every: float) -> Iterator[None]:
    """The handler is called again and again, in the main thread, and never in its own midst."""

    def handled(*args: Any) -> None:
        try:
            handler(*args)
        finally:
            signal.setitimer(signal.ITIMER_REAL, every)

    before = signal.signal(signal.SIGALRM, handled)
    signal.setitimer(signal.ITIMER_REAL, every)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_handler_that_uses_the_same_client(client: Any) -> None:
    """It is answered, whatever its thread was at; both have their own replies."""
    calls: list[Any] = []

    def handler(*_: Any) -> None:
        calls.append(client.echo(f"handler {len(calls)}") == f"handler {len(calls)}".encode())
        if len(calls) % 5 == 0:
            calls.append(client.pipeline().get("key").execute() == [b"value"])

    stop = [False]

    def work() -> None:
        while not stop[0]:
            assert client.get("key") == b"value"

    others = [Doing(work) for _ in range(2)]
    turn, end = 0, time.monotonic() + PATIENCE
    with alarmed(handler, 0.004):
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
    slow = (
        "local t = redis.call('TIME'); local b = t[1] * 1000000 + t[2]; "
        "repeat t = redis.call('TIME') until t[1] * 1000000 + t[2] > b + 300000; return 'slow'"
    )
    timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGALRM))
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(client.get("key")))
    try:
        timer.start()
        assert client.eval(slow, 0) == b"slow"
        assert eventually(lambda: seen == [b"value"])
    finally:
        timer.join()
        signal.signal(signal.SIGALRM, before)
        client.close()


def test_a_handler_that_raises(client: Any) -> None:
    """Its exception ends the call, and nothing else: the next reply is the next caller's."""

    class Alarm(Exception):
        """What the handler raises."""

    def handler(*_: Any) -> None:
        raise Alarm

    struck, turn, end = 0, 0, time.monotonic() + PATIENCE
    while struck < 40 and time.monotonic() < end:
        try:
            with alarmed(handler, 0.002 + 0.0001 * (turn % 17)):
                while True:
                    turn += 1
                    assert client.echo(f"turn {turn}") == f"turn {turn}".encode()
        except (Alarm, redis.ConnectionError):
            struck += 1
    assert struck == 40
    assert client.get("key") == b"value"
    assert eventually(lambda: client.connection_pool.stats().in_flight == 0)


class Struck(BaseException):
    """What strikes."""


def _strike(thread: int) -> None:
    """Strike a thread wherever it is, but not while it starts another one.

    CPython 3.11 takes one for the other then: what is meant for the one that starts it would reach the new one, which
    never begins, and is waited for without end.
    """
    sys.setswitchinterval(1.0)
    try:
        frame = sys._current_frames().get(thread)
        while frame is not None and frame.f_code is not threading.Thread.start.__code__:
            frame = frame.f_back
        if frame is None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Struck))
    finally:
        sys.setswitchinterval(0.005)


def test_one_of_eight_is_struck_again_and_again(client: Any) -> None:
    """Whatever it was doing for the others, they have their own replies, or a redis error, and nobody hangs."""
    stop, wrong, done = [False], list[str](), [0] * 8
    victim: list[int] = []

    def work(number: int) -> None:
        turn = 0
        while not stop[0]:
            turn += 1
            token = f"{number}-{turn}".encode()
            with contextlib.suppress(redis.ConnectionError):
                reply = client.echo(token)
                if reply != token:
                    wrong.append(f"{reply!r} for {token!r}")
            done[number] += 1

    def be_struck() -> None:
        victim.append(threading.get_ident())
        while not stop[0]:
            with contextlib.suppress(Struck):
                work(0)

    workers = [Doing(lambda number=number: work(number)) for number in range(1, 8)]  # type: ignore[misc]
    struck = Doing(be_struck)
    assert eventually(lambda: bool(victim))
    dice = random.Random(1)
    try:
        for _ in range(300):
            _strike(victim[0])
            time.sleep(dice.random() * 0.008)
        before = list(done)
        assert eventually(lambda: all(now > then for now, then in zip(done, before, strict=True)))
    finally:
        stop[0] = True
        for worker in workers:
            worker.ended()
        assert eventually(lambda: struck.done)
    assert wrong == []
    assert [worker.error for worker in workers] == [None] * 7
    assert client.get("key") == b"value"
    assert eventually(lambda: client.connection_pool.stats().in_flight == 0)
