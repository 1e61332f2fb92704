"""The circuit breaker: who is turned away, who is still served, and how one probe at a time finds out for all."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from redpool.core.connector import Failure
from redpool.core.slot import Slot, State
from redpool.core.waiters import TicketState
from redpool.errors import PoolFull, PoolTimeout

from . import test_seeded
from .driver import Driver
from .test_seeded import Run, options_from

DOWN = ConnectionError("connection refused")
FAILURES = [Failure.DOWN] * 6 + [Failure.FULL] * 3 + [Failure.DENIED]


def broken(now: float = 0.0, **options: Any) -> Driver:
    """A pool whose breaker has opened after one failed connect."""
    driver = Driver(now, break_after=1, **options)
    driver.ask(now)
    assert driver.fail_connects(DOWN, now) == 1
    return driver


def raised_at_once(driver: Driver, now: float) -> BaseException:
    """The error of a caller that doesn't even enter the queue."""
    ticket = driver.ask(now)
    assert ticket.state is TicketState.REJECTED
    assert ticket.error is not None
    return ticket.error


def test_without_the_option_there_is_no_breaker() -> None:
    """However many connects fail, callers join the queue, and no connect is made without a caller."""
    driver = Driver(connect_retries=0)
    for number in range(50):
        driver.ask(float(number))
        driver.run_until(float(number))
        driver.fail_connects(DOWN, float(number))
    assert driver.ask(50.0).state is TicketState.WAITING
    driver.give_up(driver.waiting[0], 50.0)
    driver.begin_connects(50.0)
    driver.run_until(60.0)
    assert driver.ordered == driver.begun == []


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    """Not one sooner."""
    driver = Driver(break_after=3, max_connections=1, connect_retries=100)
    for now in (0.0, 1.0, 2.0):
        assert driver.ask(now).state is TicketState.WAITING
        driver.run_until(now)
        assert driver.fail_connects(DOWN, now) == 1
    raised_at_once(driver, 2.001)


def test_a_success_in_between_begins_the_count_anew() -> None:
    """Two failures, a success, two failures: three in a row there never were."""
    driver = Driver(break_after=3, max_connections=10, connect_retries=100, timeout=None)
    driver.ask(0.0)
    for at in (0.0, 1.0):
        driver.run_until(at)
        assert driver.fail_connects(DOWN, at) == 1
    driver.run_until(2.0)
    assert driver.answer_connects(2.0) == 1
    driver.ask(3.0)
    for at in (3.0, 4.0):
        driver.run_until(at)
        assert driver.fail_connects(DOWN, at) == 1
    assert driver.ask(4.001).state is TicketState.WAITING


def test_those_who_wait_when_it_opens_are_raised_at_once() -> None:
    """All of them, though a connection is in use, and though they would sit through many failures."""
    driver = Driver(break_after=2, max_connections=3, connect_retries=100, timeout=None)
    driver.take(0.0)
    tickets = [driver.ask(1.0) for _ in range(3)]
    assert driver.fail_connects(DOWN, 1.1, 1) == 1
    assert {ticket.state for ticket in tickets} == {TicketState.WAITING}
    assert driver.fail_connects(DOWN, 1.2, 1) == 1
    assert [ticket.error for ticket in tickets] == [DOWN] * 3
    assert driver.woken[-3:] == tickets


@pytest.mark.parametrize("timeout", [None, 0, 5.0])
def test_while_it_is_open_callers_neither_wait_nor_connect(timeout: float | None) -> None:
    """Whatever their patience: the answer is there when `acquire` returns, and counts as refused."""
    driver = broken(timeout=timeout, connect_retries=0)
    before = driver.stats(0.001).rejected
    raised_at_once(driver, 0.001)
    assert driver.ordered == []
    assert driver.waiting == []
    assert driver.stats(0.001).rejected == before + 1


def test_they_are_raised_how_long_and_how_often() -> None:
    """An error of the kind that the connect raised, which is its cause; another one for each caller."""
    driver = Driver(10.0, break_after=2, name="shop", connect_retries=100)
    driver.ask(10.0)
    driver.fail_connects(DOWN, 10.0)
    driver.run_until(10.5)
    driver.fail_connects(DOWN, 10.5)
    first, second = raised_at_once(driver, 22.5), raised_at_once(driver, 22.5)
    assert type(first) is ConnectionError
    assert str(first) == (
        "shop: not connecting: every connect has failed for 12.5 s, 2 in a row; the last one: connection refused"
    )
    assert first.__cause__ is DOWN
    assert first is not second


def test_an_error_that_cannot_be_made_from_a_message_is_raised_as_it_is() -> None:
    """Its constructor may want anything."""

    class Particular(Exception):
        def __init__(self, *, code: int) -> None:
            super().__init__(code)

    driver = Driver(break_after=1)
    driver.ask(0.0)
    error = Particular(code=7)
    driver.fail_connects(error, 0.0)
    assert raised_at_once(driver, 1.0) is error


def test_one_probe_at_a_time_is_made_though_no_caller_waits() -> None:
    """`wake_at` says when; the pauses double from 20 ms to half a second, and no caller makes them shorter."""
    driver = broken(connect_retries=0)
    now, pauses = 0.0, []
    for _ in range(8):
        raised_at_once(driver, now)
        assert driver.ordered == []
        pauses.append(driver.core.wake_at - now)
        now = driver.core.wake_at
        driver.tick(now)
        assert len(driver.ordered) == 1
        raised_at_once(driver, now)
        assert driver.fail_connects(DOWN, now) == 1
    for pause, longest in zip(pauses, [0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5, 0.5], strict=True):
        assert 0.79 * longest < pause <= longest + 1e-9


def test_while_a_probe_is_under_way_there_is_nothing_to_wake_for() -> None:
    """But its own deadline: the shell may sleep."""
    driver = broken(timeout=None, connect_budget=2.0)
    driver.run_until(1.0)
    driver.begin_connects(1.0)
    driver.tick(1.0)
    assert driver.core.wake_at == 3.0


def test_one_probe_that_succeeds_closes_it() -> None:
    """Its connection is idle, and callers may have connects of their own again."""
    driver = broken(max_connections=3)
    driver.run_until(1.0)
    assert driver.answer_connects(1.0) == 1
    assert driver.numbers() == [1]
    assert isinstance(driver.acquire(1.1), Slot)
    assert driver.ask(1.2).state is TicketState.WAITING
    driver.run_until(1.4)
    assert driver.answer_connects(1.4) == 1
    assert driver.core.wake_at > 2.0
    assert not driver.ordered


def test_idle_connections_serve_while_it_is_open() -> None:
    """What is open is as good as ever; the caller after the last gets the error."""
    driver = Driver(break_after=1, max_connections=4, timeout=None)
    driver.open(1, 0.0)
    first = driver.take(1.0)
    waiting = driver.ask(2.0)
    driver.fail_connects(DOWN, 2.0)
    assert waiting.error is DOWN
    driver.release(first, 2.1)
    assert driver.acquire(2.2) is first
    raised_at_once(driver, 2.3)


def test_a_full_pool_is_no_failure() -> None:
    """Timeouts in the queue and callers turned away from it say nothing about the server."""
    driver = Driver(break_after=1, max_connections=1, max_waiting=1, timeout=1.0)
    driver.take(0.0)
    waiting = driver.ask(0.0)
    assert isinstance(driver.ask(0.0).error, PoolFull)
    driver.run_until(5.0)
    assert isinstance(waiting.error, PoolTimeout)
    assert not driver.core.connector.broken
    assert driver.ask(6.0).state is TicketState.WAITING


def test_where_no_place_is_left_for_a_probe_callers_wait() -> None:
    """A pool made smaller may be full of good connections: the breaker must not stand between them and the callers."""
    driver = Driver(break_after=1, max_connections=2, timeout=None)
    slot = driver.take(0.0)
    driver.ask(1.0)
    driver.fail_connects(DOWN, 1.0)
    driver.resize(1, 1.001)
    ticket = driver.ask(1.002)
    driver.release(slot, 1.003)
    assert ticket.slot is slot


def test_a_closed_pool_stops_probing() -> None:
    """The probe under way is cut off, and no other comes."""
    driver = broken(connect_budget=5.0)
    driver.run_until(1.0)
    (probe,) = driver.begin_connects(1.0)
    driver.shutdown(1.1)
    assert driver.cuts == [probe]
    driver.fail_connects(DOWN, 1.2)
    driver.run_until(100.0)
    assert driver.ordered == []
    assert driver.core.is_empty
    assert driver.core.wake_at == float("inf")


def test_a_probe_ordered_before_a_close_is_not_begun() -> None:
    """Its slot is empty again."""
    driver = broken()
    driver.run_until(1.0)
    assert len(driver.ordered) == 1
    driver.shutdown(1.1)
    assert driver.begin_connects(1.2) == []
    assert driver.core.is_empty


def test_a_caller_that_warms_the_pool_up_waits_for_the_next_probe() -> None:
    """And has its answer, either way."""
    driver = broken(max_connections=2, connect_retries=100)
    ticket = driver.warm_up(1, 0.001)
    assert ticket.state is TicketState.WAITING
    driver.run_until(1.0)
    driver.fail_connects(DOWN, 1.0)
    assert ticket.error is DOWN
    ticket = driver.warm_up(1, 1.001)
    driver.run_until(2.0)
    driver.answer_connects(2.0)
    assert ticket.state is TicketState.GRANTED


class Breaking(Run):
    """A random script in which the server is often down or full for a while."""

    connected = 0

    def fail_connects(self) -> None:
        for _ in range(self.chance.randint(1, 6)):
            self.acquire()
            self.driver.begin_connects(self.now)
            for slot in self.driver.begun[:2]:
                self.driver.begun.remove(slot)
                self.driver.core.connect_failed(slot, DOWN, self.now, failure=self.chance.choice(FAILURES))
                self.driver.collect(self.now)
            self.connected += self.driver.core.connector.broken
            self.time_passes()


def breaking_options(chance: Random) -> dict[str, Any]:
    return {**options_from(chance), "break_after": chance.choice([1, 2, 3])}


@pytest.mark.parametrize("seed", range(10))
def test_the_invariants_hold_with_a_breaker(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever callers, server, clock and owner do; and once the server answers again, the breaker closes unasked."""
    monkeypatch.setattr(test_seeded, "options_from", breaking_options)
    run = Breaking(seed)
    run.go(2_000)
    assert run.connected
    run.repair()
    for _ in range(10):
        run.driver.answer_connects(run.now)
        run.driver.close_all(run.now)
        run.now += 0.5
        run.driver.run_until(run.now)
    assert not run.driver.core.connector.rejects(empty=bool(run.driver.core.empty))


def test_a_ticket_refused_at_the_door_was_never_in_the_queue() -> None:
    """Nothing has to wake its caller, and no slot is left behind."""
    driver = broken()
    woken = len(driver.woken)
    ticket = driver.ask(0.001)
    assert ticket not in driver.core.waiting()
    assert len(driver.woken) == woken
    assert all(slot.state is State.EMPTY for slot in driver.core.slots)
