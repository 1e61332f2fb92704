"""Whatever interrupts the caller that starts a thread: that very exception is raised, and the work is done once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

import redpool
from redpool import threads
from redpool.embedded import Server
from support.faces import eventually

PATIENCE = 10.0  # seconds

# The function by which `threading` makes a thread: of 3.13, and of those before.
MAKES = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"


class Interrupted(Exception):
    """What an alarm raises."""


class InterruptedRuntime(RuntimeError):
    """The same, of a kind that could be taken for something else."""


class Plant:
    """Interrupts the next starter right after its thread was made: `first` says which of the two comes first.

    With `of` it waits for a thread of such a name.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, first: str, error: type[Exception] = Interrupted, of: str = ""
    ) -> None:
        self._make, self._of = getattr(threading, MAKES), of
        self._first, self._error, self._armed = first, error, True
        self.go_on = threading.Event()
        """the starter is through with it"""
        monkeypatch.setattr(threading, MAKES, self._plant)

    def _plant(self, bootstrap: Callable[[], None], *args: Any, **kwargs: Any) -> None:
        thread = bootstrap.__self__  # type: ignore[attr-defined]
        if not self._armed or self._of not in thread.name:
            self._make(bootstrap, *args, **kwargs)
            return
        self._armed = False

        def wait_first() -> None:
            self.go_on.wait(PATIENCE)
            bootstrap()

        self._make(bootstrap if self._first == "thread" else wait_first, *args, **kwargs)
        while self._first == "thread" and thread in threading._limbo:  # type: ignore[attr-defined]
            threading.Event().wait(0.001)
        raise self._error


@pytest.mark.parametrize("first", ["thread", "starter"])
@pytest.mark.parametrize("error", [Interrupted, InterruptedRuntime, KeyError])
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_interrupted_starter_is_raised_so_and_the_work_is_done_once(
    monkeypatch: pytest.MonkeyPatch, first: str, error: type[Exception]
) -> None:
    """Both the starter and the thread take it off the list of those to come; whichever is second finds nothing."""
    plant = Plant(monkeypatch, first, error)
    done, works = threading.Event(), []

    def work(what: str) -> None:
        works.append(what)
        done.set()

    with pytest.raises(error) as caught:
        threads.start(work, "a planted one", "work")
    assert type(caught.value) is error
    assert not isinstance(caught.value, threads.NoThread)
    assert caught.value.args == ()
    plant.go_on.set()
    assert done.wait(PATIENCE)
    assert works == ["work"]


def test_a_thread_that_is_taken_for_its_starter_is_listed_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """In CPython 3.11 what interrupts a starter may hit the new thread in its first steps; it works all the same."""
    first_step, armed = threads._Thread._set_ident, [True]  # type: ignore[attr-defined]

    def hit(thread: threading.Thread) -> None:
        if armed:
            armed.clear()
            raise Interrupted
        first_step(thread)

    def named() -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each.name == "hit"]

    def work() -> None:
        listed.append((threads.own(), len(named())))
        done.set()

    monkeypatch.setattr(threads._Thread, "_set_ident", hit)
    done, listed = threading.Event(), list[Any]()
    threads.start(work, "hit")
    assert done.wait(PATIENCE)
    assert listed == [(True, 1)]
    assert eventually(lambda: not named())


def test_no_thread_to_be_had_is_raised_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool then does the work in its caller's thread."""

    def none_left(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading, MAKES, none_left)
    with pytest.raises(threads.NoThread, match="can't start new thread"):
        threads.start(print, "none")


@pytest.mark.parametrize("first", ["thread", "starter"])
@pytest.mark.parametrize("error", [Interrupted, InterruptedRuntime])
def test_a_caller_interrupted_as_its_connect_begins_is_raised_so(
    monkeypatch: pytest.MonkeyPatch, own_server: Server, first: str, error: type[Exception]
) -> None:
    """One connection is made, which serves the next caller."""
    with redpool.ConnectionPool.from_url(own_server.url, max_connections=1, timeout=PATIENCE) as pool:
        plant = Plant(monkeypatch, first, error)
        with pytest.raises(error) as caught:
            pool.get_connection()
        assert type(caught.value) is error
        plant.go_on.set()
        assert redis.Redis(connection_pool=pool).ping()
        assert (pool.stats().connected, pool.stats().connect_failures, pool.stats().in_use) == (1, 0, 0)


@pytest.mark.parametrize("first", ["thread", "starter"])
@pytest.mark.parametrize("error", [Interrupted, InterruptedRuntime])
def test_a_caller_interrupted_as_the_multiplexed_connection_is_begun_is_raised_so(
    monkeypatch: pytest.MonkeyPatch, own_server: Server, first: str, error: type[Exception]
) -> None:
    """It is the caller's own exception, not taken for the want of a thread; one connection serves the next call."""
    with redpool.MultiplexedConnectionPool.from_url(own_server.url, timeout=PATIENCE) as pool:
        client = redis.Redis(connection_pool=pool)
        plant = Plant(monkeypatch, first, error, of="multiplexed connection")
        with pytest.raises(error) as caught:
            client.ping()
        assert type(caught.value) is error
        plant.go_on.set()
        assert client.ping() is True
        assert pool.stats().connected == 1


@pytest.mark.parametrize("first", ["thread", "starter"])
@pytest.mark.parametrize("error", [Interrupted, InterruptedRuntime])
def test_a_caller_interrupted_as_the_maintenance_begins_leaves_one(
    monkeypatch: pytest.MonkeyPatch, own_server: Server, first: str, error: type[Exception]
) -> None:
    """The pool knows the one that runs, whether that came before the interruption or was started after it."""

    def running() -> list[threading.Thread]:
        name = f"redpool {pool.config.name} maintenance thread"
        return [thread for thread in threading.enumerate() if thread.name == name]

    with redpool.ConnectionPool.from_url(own_server.url) as pool:
        engine = pool._engine
        engine._next_thread_at = math.inf
        connection = pool.get_connection()
        engine._next_thread_at = -math.inf
        engine.core.wake_by(time.monotonic())
        plant = Plant(monkeypatch, first, error, of="maintenance thread")
        with pytest.raises(error):
            engine.arm()
        if first == "starter":
            engine.arm()
        plant.go_on.set()
        assert eventually(lambda: engine._maintenance is not None, PATIENCE)
        engine.core.wake_by(time.monotonic())
        engine.arm()
        assert eventually(lambda: len(running()) == 1, PATIENCE)
        pool.release(connection)


def test_what_is_left_to_a_thread_is_done_though_its_starter_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, own_server: Server
) -> None:
    """As the drain that a signal handler asks for in a thread that is inside the pool."""
    with redpool.ConnectionPool.from_url(own_server.url) as pool:
        core = pool._engine.core
        plant, before = Plant(monkeypatch, "starter"), core.generation
        with pool._engine.guard, pytest.raises(Interrupted):
            pool.drain()
        plant.go_on.set()
        assert eventually(lambda: core.generation == before + 1, PATIENCE)


@pytest.mark.parametrize("late", [False, True], ids=["never", "late"])
def test_a_thread_that_takes_no_first_step_is_replaced(monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    """What was meant for its starter may have hit it; should it come all the same, the work is done by then."""
    make, made = getattr(threading, MAKES), list[tuple[Any, ...]]()

    def make_second(*args: Any, **kwargs: Any) -> None:
        made.append((*args, kwargs))
        if len(made) > 1:
            make(*args, **kwargs)

    monkeypatch.setattr(threading, MAKES, make_second)
    done, works = threading.Event(), []

    def work(what: str) -> None:
        works.append(what)
        done.set()

    threads.start(work, "one that was hit", "work")
    assert done.wait(PATIENCE)
    assert len(made) == 2
    hit, *rest, options = made[0]
    assert hit.__self__ not in threading.enumerate()
    if late:
        make(hit, *rest, **options)
        end = time.monotonic() + PATIENCE
        while not _has_ended(hit.__self__) and time.monotonic() < end:
            time.sleep(0.001)
        assert _has_ended(hit.__self__)
    assert works == ["work"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_is_hit_as_it_claims_the_work_does_it_all_the_same() -> None:
    """What was raised there was meant for its starter."""

    class Claim:
        def __init__(self, claim: Any) -> None:
            self._claim, self._hits = claim, [Interrupted()]

        def acquire(self, blocking: bool) -> Any:
            claimed = self._claim.acquire(blocking=blocking)
            if self._hits:
                raise self._hits.pop()
            return claimed

    works: list[str] = []
    thread = threads._Thread(target=works.append, args=("work",), daemon=True)
    thread._claim = Claim(thread._claim)  # type: ignore[assignment]
    thread.start()
    assert eventually(lambda: works == ["work"])


def _has_ended(thread: Any) -> bool:
    return thread._started.is_set() and not thread.is_alive()
