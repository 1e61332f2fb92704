"""Long runs from a seed: the invariants hold at every step, every caller is served in the end, runs can be repeated."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest

from redpool.core.actions import AnyAction, Close, Note, ReportWait, Wake
from redpool.core.slot import TRANSITIONS, Reason, Slot
from redpool.core.waiters import Ticket, TicketState

from .driver import Driver
from .invariants import check_after_tick, check_cheaply, check_counts, check_emptied

STEPS = 5_000


def options_from(chance: Random) -> dict[str, Any]:
    """A pool of some size and temper."""
    return {
        "max_connections": chance.choice([1, 2, 4, 10]),
        "timeout": chance.choice([None, 0, 0.5, 5.0]),
        "max_waiting": chance.choice([None, None, 0, 4]),
        "min_idle": chance.choice([0, 0, 1]),
        "max_idle_time": chance.choice([None, 2.0, 20.0]),
        "max_lifetime": chance.choice([None, 3.0, 30.0]),
        "max_connecting": chance.choice([1, 2, 4]),
        "validate_after_idle": chance.choice([0.0, 1.0]),
        "ping_after_idle": chance.choice([None, 1.0, 5.0]),
        "order": chance.choice(["lifo", "fifo", "random"]),
        "leak_after": chance.choice([None, 4.0]),
        "warn_wait": chance.choice([None, 0.3]),
        "connect_budget": chance.choice([math.inf, 1.5]),
        "connect_retries": chance.choice([0, 2]),
    }


class Run:
    """A pool under a random script that a seed decides."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.now = 0.0
        self.driver = Driver(seed=seed, **options_from(self.chance))
        self.driver.on_action = self.note
        self.leased: list[Slot] = []
        self.tickets: list[Ticket] = []
        self.log: list[object] = []
        self.steps = [
            (30, self.acquire),
            (30, self.release),
            (3, self.release_to_validate),
            (2, self.release_closed),
            (3, self.reject_at_checkout),
            (4, self.give_up),
            (15, self.answer_connects),
            (3, self.fail_connects),
            (3, self.begin_connects),
            (8, self.answer_validations),
            (12, self.close_done),
            (30, self.time_passes),
            (1, self.warm_up),
            (1, self.resize),
            (0.5, self.drain),
            (0.5, self.close),
        ]

    def note(self, action: AnyAction) -> None:
        """Write an action down in words that are the same in each run."""
        words: list[object] = [type(action).__name__, self.now]
        if isinstance(action, Wake):
            words += [action.ticket.since, action.ticket.state]
        elif isinstance(action, Close):
            words += [action.connection.number, action.reason, action.age]
        elif isinstance(action, Note):
            words.append(action.what)
        elif isinstance(action, ReportWait):
            words += [action.waited, action.more, len(action.held_by)]
        else:
            words.append(self.driver.core.slots.index(action.slot))
        self.log.append(tuple(words))

    def go(self, steps: int) -> None:
        """So many steps, with every invariant checked after each."""
        weights = [weight for weight, _ in self.steps]
        acts = [act for _, act in self.steps]
        for number, act in enumerate(self.chance.choices(acts, weights, k=steps)):
            act()
            self.settle()
            check_cheaply(self.driver, self.now)
            if number % 25 == 0:
                check_counts(self.driver, self.now)

    def settle(self) -> None:
        """The caller that was granted a connection holds it now."""
        for ticket in [ticket for ticket in self.tickets if ticket.state is not TicketState.WAITING]:
            self.tickets.remove(ticket)
            if ticket.slot is not None:
                self.leased.append(ticket.slot)
        assert len(self.leased) == self.driver.core.in_use

    def acquire(self) -> None:
        got = self.driver.acquire(self.now)
        if isinstance(got, Ticket):
            self.tickets.append(got)
        else:
            self.leased.append(got)

    def release(self) -> None:
        if self.leased:
            slot = self.leased.pop(self.chance.randrange(len(self.leased)))
            slot.needs_validation = None
            self.driver.release(slot, self.now, Reason.ERROR if self.chance.random() < 0.1 else None)

    def release_to_validate(self) -> None:
        if self.leased:
            slot = self.leased.pop(self.chance.randrange(len(self.leased)))
            slot.needs_validation = None
            self.driver.release_to_validate(slot, self.now)

    def release_closed(self) -> None:
        if self.leased:
            slot = self.leased.pop(self.chance.randrange(len(self.leased)))
            slot.needs_validation = None
            self.driver.release_closed(slot, self.now)

    def reject_at_checkout(self) -> None:
        for slot in [slot for slot in self.leased if slot.needs_validation][:1]:
            self.leased.remove(slot)
            self.driver.reject_at_checkout(slot, self.now)

    def give_up(self) -> None:
        if self.tickets:
            ticket = self.tickets.pop(self.chance.randrange(len(self.tickets)))
            slot = self.driver.give_up(ticket, self.now, self.chance.random() < 0.5)
            assert slot is None

    def begin_connects(self) -> None:
        self.driver.begin_connects(self.now, 1)

    def answer_connects(self) -> None:
        self.driver.answer_connects(self.now, self.chance.randint(1, 3))

    def fail_connects(self) -> None:
        self.driver.fail_connects(ConnectionError("rejected"), self.now, 1, self.chance.random() < 0.8)

    def answer_validations(self) -> None:
        self.driver.answer_validations(self.chance.random() < 0.9, self.now, 1)

    def close_done(self) -> None:
        self.driver.close_all(self.now, self.chance.randint(1, 3))

    def time_passes(self) -> None:
        end = self.now + self.chance.choice([0.0, 0.001, 0.01, 0.1, 0.5, 1.0, 5.0])
        while self.driver.core.wake_at <= end:
            self.now = max(self.now, self.driver.core.wake_at)
            self.driver.tick(self.now)
            self.settle()
            check_after_tick(self.driver, self.now)
        self.now = end

    def warm_up(self) -> None:
        opens = self.chance.randint(0, self.driver.core.max_connections)
        self.driver.warm_up(opens, self.now, self.now + self.chance.choice([0.5, 10.0]))

    def resize(self) -> None:
        self.driver.resize(self.chance.randint(1, 12), self.now)

    def drain(self) -> None:
        self.driver.drain(self.now)

    def close(self) -> None:
        self.driver.close(self.now)

    def repair(self) -> None:
        """The server answers everything, callers release what they get: no caller is left waiting."""
        for _ in range(2_000):
            self.driver.answer_connects(self.now)
            self.driver.answer_validations(True, self.now)
            self.driver.close_all(self.now)
            self.settle()
            while self.leased:
                self.release()
                self.settle()
            if not self.tickets and not self.driver.core.queue.warming:
                return
            self.now = min(self.now + 0.01, max(self.now, self.driver.core.wake_at))
            self.driver.tick(self.now)
        raise AssertionError("a caller is still waiting")


@pytest.mark.parametrize("seed", range(20))
def test_the_invariants_hold_at_every_step(seed: int) -> None:
    """Whatever callers, server, clock and owner do, nothing that must be true of a pool becomes untrue."""
    run = Run(seed)
    run.go(STEPS)
    check_counts(run.driver, run.now)


def test_the_table_lists_no_transition_that_never_happens() -> None:
    """Each one is seen in some run."""
    seen = set()
    for seed in range(10):
        run = Run(seed)
        run.go(1_000)
        run.driver.shutdown(run.now)
        run.go(20)
        seen |= run.driver.transitions
    assert seen == TRANSITIONS.keys()


@pytest.mark.parametrize("seed", range(20))
def test_everybody_is_served_once_the_server_answers_again(seed: int) -> None:
    """After any history, with a server that answers and callers that release, every waiter is served."""
    run = Run(1_000 + seed)
    run.go(300)
    waiting = list(run.tickets)
    run.repair()
    assert all(ticket.state is not TicketState.WAITING for ticket in waiting)
    assert not run.driver.waiting


@pytest.mark.parametrize("seed", range(20))
def test_a_pool_that_was_shut_down_ends_up_empty(seed: int) -> None:
    """After any history, a shutdown with every action done leaves every slot empty and no caller waiting."""
    run = Run(2_000 + seed)
    run.go(300)
    run.driver.shutdown(run.now)
    run.go(50)
    run.settle()
    while run.leased:
        run.release()
    run.driver.answer_connects(run.now)
    run.driver.answer_validations(True, run.now)
    run.driver.close_all(run.now)
    check_emptied(run.driver)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_seed_and_script_give_the_same_actions(seed: int) -> None:
    """A run can be repeated: every action comes again, in the same place and at the same time."""
    runs = [Run(seed), Run(seed)]
    for run in runs:
        run.go(2_000)
    assert len(runs[0].log) > 100
    assert runs[0].log == runs[1].log


def test_another_seed_gives_other_actions() -> None:
    """The script does depend on the seed, or repeating it would show nothing."""
    runs = [Run(1), Run(2)]
    for run in runs:
        run.go(200)
    assert runs[0].log != runs[1].log
