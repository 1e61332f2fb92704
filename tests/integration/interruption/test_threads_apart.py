"""What happens to one thread stays with it: interruptions, exceptions, timers, and what others do on the way."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import redpool
from redpool import embedded
from redpool.testing import FaultProxy, ScriptedServer
from support.faces import PATIENCE, Doing, OwnThreads, eventually
from support.interrupting import interrupt

from .programs import said_by

SOURCES = Path(redpool.__file__).parent


# -- other threads' frames ---------------------------------------------------------------------------------------------


def test_no_thread_looks_into_another_ones_frames() -> None:
    """CPython 3.11 crashes or stands still where the frames of a running thread are walked through."""
    looking = [str(path) for path in SOURCES.rglob("*.py") if "_current_frames" in path.read_text()]
    assert looking == []


def test_the_collector_harms_no_caller(redis_url: str) -> None:
    """Eight threads are served beside many that wait, while pipelines are dropped in cycles: every reply is right."""
    assert said_by("collected", redis_url, seconds=45.0) == {"wrong": [], "hanging": 0}


# -- a thread that connects --------------------------------------------------------------------------------------------


class TimeLimit(Exception):
    """As a job's time limit raises it in the job's thread: an alarm's handler, Celery's soft limit, RQ's JobTimeout."""


class Held(redis.Connection):
    """A connection whose connect waits for the test, the first time."""

    begun: threading.Event
    go_on: threading.Event

    def connect(self) -> None:
        """Connect, later."""
        if not self.begun.is_set():
            self.begun.set()
            while not self.go_on.wait(0.01):  # where an exception from elsewhere is raised
                pass
        super().connect()


@pytest.fixture
def held() -> Iterator[Any]:
    """A class of its own for each test; nothing waits for ever."""
    made: Any = type("HeldHere", (Held,), {"begun": threading.Event(), "go_on": threading.Event()})
    yield made
    made.go_on.set()


@pytest.mark.parametrize("own", [True, False], ids=["redpool.Redis", "redis.Redis"])
def test_what_interrupts_a_caller_that_connects_is_its_own(
    multiplexed_threads: OwnThreads, redis_url: str, held: Any, own: bool
) -> None:
    """The callers that wait for its connection get their replies, over this one or another; it alone is interrupted."""
    pool = multiplexed_threads.pool_from_url(redis_url, connection_class=held, max_connections=4)
    client: Any = (redpool if own else redis).Redis(connection_pool=pool)
    idents: list[int] = []

    def connect_first() -> Any:
        idents.append(threading.get_ident())
        return client.echo("first")

    first = Doing(connect_first)
    assert held.begun.wait(PATIENCE)
    others = [Doing(lambda number=number: client.echo(f"other {number}")) for number in range(4)]  # type: ignore[misc]
    assert not eventually(lambda: any(each.done for each in others), 0.3)
    assert interrupt(idents[0], TimeLimit)
    with pytest.raises(TimeLimit):
        first.result()
    held.go_on.set()
    assert [each.result() for each in others] == [f"other {number}".encode() for number in range(4)]
    with contextlib.suppress(redis.ConnectionError):
        client.get("key")
    assert client.echo("again") == b"again"


# -- timers and interruptions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "error", "at_most"),
    [("redpool", "ReplyLate", 2.5), ("redis", "ReplyLate", 2.5), ("dedicated", "ReplyLate", 3.5)],
)
def test_a_timer_does_not_stretch_socket_timeout(
    scripted: ScriptedServer, client: str, error: str, at_most: float
) -> None:
    """Each signal interrupts the wait in the kernel, which must not begin anew: 1 s of silence is 1 s.

    Over a dedicated connection the maintenance thread, which comes each second, has seen the wait for so long.
    """
    scripted.answer("INCR", "never")
    seen = said_by("ticking", client, str(scripted.port), seconds=45.0)
    assert seen["ended"] == error
    assert 0.9 <= seen["took"] < at_most, f"a socket_timeout of 1 s took {seen['took']:.1f} s"


@pytest.mark.parametrize(("kind", "delay"), [("multiplexed", 0.004), ("dedicated", 0.001)])
def test_interruptions_do_not_stop_all_work(redis_server: embedded.Server, kind: str, delay: float) -> None:
    """Eight threads are interrupted in turn, each 12 times a second, where a connect takes a few milliseconds.

    An interruption costs its own thread a call, and a connection at most if that was in use. What others have connected
    stays, so that far more calls are served than are interrupted; here a quarter as many would do.
    """
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        proxy.delay(delay)
        seen = said_by("interrupted", proxy.url, kind, "in turn", seconds=45.0)
    assert seen["left"]["wrong"] == []
    assert seen["served"] * 4 >= seen["interruptions"], seen
