"""The scheduler itself: what is planted is found, and what is found can be run again."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from .scheduler import Decider, Interrupted, Schedule, Scheduler
from .search import Chance, Replay, Report, Script, by_chance, explore
from .world import Server, Socket, VirtualLock

HERE = {__file__}


def run_counter(decide: Decider) -> Scheduler:
    """Two threads add one each, and look in between."""
    scheduler = Scheduler(decide, HERE)
    count = 0

    def add() -> None:
        nonlocal count
        before = count
        count = before + 1

    scheduler.spawn("a", add)
    scheduler.spawn("b", add)
    scheduler.run()
    if count != 2:
        scheduler.failure = f"lost update: {count}"
    return scheduler


def run_deadlock(decide: Decider) -> Scheduler:
    """Two threads take two locks, each in its own order."""
    scheduler = Scheduler(decide, HERE)
    first, second = VirtualLock(scheduler), VirtualLock(scheduler)

    def take(one: VirtualLock, other: VirtualLock) -> None:
        with one, other:
            pass

    scheduler.spawn("a", lambda: take(first, second))
    scheduler.spawn("b", lambda: take(second, first))
    scheduler.run()
    return scheduler


def run_write_after_end(decide: Decider) -> Scheduler:
    """A thread writes if the socket is still its own, while another one gives it away."""
    scheduler = Scheduler(decide, HERE)
    socket = Socket(scheduler, Server(scheduler))
    mine = True

    def write() -> None:
        if mine:
            socket.send(b"*1\r\n$4\r\nPING\r\n")

    def give_away() -> None:
        nonlocal mine
        mine = False
        socket.lent = True

    scheduler.spawn("a", write)
    scheduler.spawn("b", give_away)
    scheduler.run()
    return scheduler


RUNS = {"lost update": run_counter, "blocked for ever": run_deadlock, "written after detach": run_write_after_end}


@pytest.mark.parametrize("planted", RUNS)
def test_what_is_planted_is_found_with_one_preemption(planted: str) -> None:
    """A lost update, a deadlock, a write to what was given away; without a preemption there is none of them."""
    run = RUNS[planted]
    assert not explore(run, most=1000, preemptions=0).failures
    report = explore(run, most=1000, preemptions=1)
    assert report.complete
    assert list(report.failures) == [planted]


@pytest.mark.parametrize("planted", RUNS)
def test_a_schedule_is_a_run(planted: str) -> None:
    """The schedule of a failure, run again, fails the same way, step by step."""
    run = RUNS[planted]
    failed = explore(run, most=1000).failures[planted]
    again = run(Replay(failed.schedule))
    assert (again.failure, again.schedule) == (failed.failure, failed.schedule)
    assert again.trace() == failed.trace()


def test_a_seed_is_a_run() -> None:
    """What chance finds has a schedule, too."""
    report = by_chance(run_counter, range(2000))
    failed = report.failures["lost update"]
    assert run_counter(Replay(failed.schedule)).trace() == failed.trace()


def test_more_than_the_most_are_sampled() -> None:
    """A search above its bound draws the same sample each time, and says that it is one."""

    def search() -> tuple[Report, list[Schedule]]:
        seen: list[Schedule] = []

        def run(decide: Decider) -> Scheduler:
            scheduler = run_counter(decide)
            seen.append(scheduler.schedule)
            return scheduler

        return explore(run, most=5), seen

    (report, seen), (_, again) = search(), search()
    assert not report.complete
    assert report.runs <= 5
    assert seen == again


def test_a_script_says_who_goes_how_far() -> None:
    """The lost update by hand."""
    assert run_counter(Script(("a", "count = before"), ("b", ""))).failure == "lost update: 1"


def interrupted_where(victims_code: Callable[[list[str]], None]) -> set[tuple[str, ...]]:
    """What is left behind by an interruption at each place where CPython has one."""
    left: set[tuple[str, ...]] = set()

    def run(decide: Decider) -> Scheduler:
        scheduler = Scheduler(decide, HERE, opcodes=True)
        notes: list[str] = []
        victim = scheduler.spawn("a", lambda: victims_code(notes))
        victim.victim = True
        scheduler.run()
        if scheduler.schedule:
            assert isinstance(victim.error, Interrupted), scheduler.trace()
            left.add(tuple(notes))
        return scheduler

    assert explore(run, most=1000).complete
    return left


def test_an_interruption_comes_where_cpython_looks_for_one() -> None:
    """At the entry and behind each call; never between two lines that call nothing."""

    def work(notes: list[str]) -> None:
        notes.append("one")
        first = 1
        second = first
        try:
            notes.append("two")
        finally:
            notes.append(f"last {first + second}")

    assert interrupted_where(work) == {(), ("one",), ("one", "two", "last 2")}


def test_what_follows_an_interruption_is_still_traced() -> None:
    """CPython ends the tracing of a thread whose trace function raises: it goes on at the next call."""

    def work() -> None:
        try:
            len("x")
        except Interrupted:
            len("y")
            traced.append(sys.gettrace() is not None)

    traced: list[bool] = []

    def run(decide: Decider) -> Scheduler:
        scheduler = Scheduler(decide, HERE, opcodes=True)
        scheduler.spawn("a", work).victim = True
        scheduler.run()
        return scheduler

    assert explore(run, most=100).complete
    assert traced
    assert all(traced)


def test_the_clock_moves_when_all_are_blocked() -> None:
    """A timeout takes no time, and is exact."""
    scheduler = Scheduler(Chance(0), HERE)
    lock, times = VirtualLock(scheduler), []

    def wait() -> None:
        lock.acquire()
        lock.acquire(timeout=2.5)
        times.append(scheduler.now)

    scheduler.spawn("a", wait)
    scheduler.run()
    assert times == [2.5]
