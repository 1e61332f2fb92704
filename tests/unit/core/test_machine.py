"""Any sequence of calls, found by Hypothesis: the invariants hold after each."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from redpool.core.slot import Reason, Slot
from redpool.core.waiters import Ticket, TicketState

from .driver import Driver
from .invariants import check_after_tick, check_emptied, check_step

ERROR = ConnectionError("rejected")

options = st.fixed_dictionaries(
    {
        "max_connections": st.integers(1, 5),
        "timeout": st.sampled_from([None, 0, 0.5, 5.0]),
        "max_waiting": st.sampled_from([None, 0, 1, 3]),
        "min_idle": st.integers(0, 1),
        "max_idle_time": st.sampled_from([2.0, None, 20.0]),
        "max_lifetime": st.sampled_from([None, 3.0, 30.0]),
        "max_connecting": st.integers(1, 3),
        "validate_after_idle": st.sampled_from([0.0, 1.0]),
        "ping_after_idle": st.sampled_from([1.0, None, 5.0]),
        "order": st.sampled_from(["lifo", "fifo", "random"]),
        "leak_after": st.sampled_from([None, 4.0]),
        "reserved": st.sampled_from([None, {"a": 1}]),
        "shed": st.sampled_from([None, "codel"]),
        "limits": st.sampled_from([None, None, (1, 4), (2, 4)]),
        "warn_wait": st.sampled_from([None, 0.3]),
    }
)


class PoolMachine(RuleBasedStateMachine):
    """Callers, a server, a clock and an owner, each of whom may do anything at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.leased: list[Slot] = []
        self.tickets: list[Ticket] = []
        self.endings: dict[Ticket, TicketState] = {}
        self.driver = Driver()

    @initialize(options=options, budget=st.sampled_from([math.inf, 1.5]), retries=st.sampled_from([0, 2]))
    def create(self, options: dict[str, Any], budget: float, retries: int) -> None:
        if options["limits"]:
            options["max_connections"] = options["limits"][0]
        if options["max_connections"] == 1:
            options["reserved"] = None
        self.driver = Driver(connect_budget=budget, connect_retries=retries, **options)

    # -- callers

    @rule(name=st.sampled_from(["a", "b"]))
    def acquire(self, name: str) -> None:
        self.driver.caller_class = name
        got = self.driver.acquire(self.now)
        if isinstance(got, Ticket):
            self.tickets.append(got)
        else:
            self.leased.append(got)

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), fault=st.sampled_from([None, None, None, Reason.ERROR]))
    def release(self, data: st.DataObject, fault: Reason | None) -> None:
        slot = self.leased.pop(data.draw(st.integers(0, len(self.leased) - 1)))
        slot.needs_validation = None
        self.driver.release(slot, self.now, fault)

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def release_closed(self, data: st.DataObject) -> None:
        slot = self.leased.pop(data.draw(st.integers(0, len(self.leased) - 1)))
        slot.needs_validation = None
        self.driver.release_closed(slot, self.now)

    @precondition(lambda self: any(slot.needs_validation for slot in self.leased))
    @rule()
    def reject_at_checkout(self) -> None:
        slot = next(slot for slot in self.leased if slot.needs_validation)
        self.leased.remove(slot)
        self.driver.reject_at_checkout(slot, self.now)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data(), timed_out=st.booleans())
    def give_up(self, data: st.DataObject, timed_out: bool) -> None:
        ticket = self.tickets.pop(data.draw(st.integers(0, len(self.tickets) - 1)))
        slot = self.driver.give_up(ticket, self.now, timed_out)
        if slot is not None:
            self.leased.append(slot)

    # -- the server

    @rule(count=st.integers(1, 3))
    def begin_connects(self, count: int) -> None:
        self.driver.begin_connects(self.now, count)

    @rule(count=st.integers(1, 3))
    def answer_connects(self, count: int) -> None:
        self.driver.answer_connects(self.now, count)

    @rule(count=st.integers(1, 3), retryable=st.booleans())
    def fail_connects(self, count: int, retryable: bool) -> None:
        self.driver.fail_connects(ERROR, self.now, count, retryable)

    @rule(ok=st.booleans())
    def answer_validation(self, ok: bool) -> None:
        self.driver.answer_validations(ok, self.now, 1)

    @rule(count=st.integers(1, 3))
    def close_done(self, count: int) -> None:
        self.driver.close_all(self.now, count)

    # -- the clock

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.5, 1.0, 5.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        """The shell sleeps until the core wants a tick, or for less."""
        end = self.now + seconds
        while self.driver.core.wake_at <= end:
            self.now = max(self.now, self.driver.core.wake_at)
            self.tick()
        self.now = end

    @rule()
    def tick(self) -> None:
        """A tick at any time does no harm."""
        self.driver.tick(self.now)
        check_after_tick(self.driver, self.now)

    # -- the owner

    @rule(opens=st.integers(0, 5), patience=st.sampled_from([math.inf, 1.0]))
    def warm_up(self, opens: int, patience: float) -> None:
        self.driver.warm_up(min(opens, self.driver.core.max_connections), self.now, self.now + patience)

    @precondition(lambda self: self.driver.core.sizing is None)
    @rule(max_connections=st.integers(1, 6))
    def resize(self, max_connections: int) -> None:
        self.driver.resize(max_connections, self.now)

    # Without any, callers wait for what only others can give back.
    @rule(granted=st.integers(1, 6))
    def share(self, granted: int) -> None:
        self.driver.share(granted, self.now)

    @rule()
    def drain(self) -> None:
        self.driver.drain(self.now)

    @rule()
    def close(self) -> None:
        self.driver.close(self.now)

    @precondition(lambda self: self.now > 10.0)
    @rule()
    def shutdown(self) -> None:
        self.driver.shutdown(self.now)

    # -- what is true

    @invariant()
    def holds(self) -> None:
        check_step(self.driver, self.now)
        self._settle()

    def _settle(self) -> None:
        """Callers whose ticket was granted hold a connection now; no ended ticket changes any more."""
        for ticket in [ticket for ticket in self.tickets if ticket.state is TicketState.GRANTED]:
            self.tickets.remove(ticket)
            assert ticket.slot is not None
            self.leased.append(ticket.slot)
            self.endings[ticket] = ticket.state
        assert len(set(self.leased)) == len(self.leased) == self.driver.core.in_use
        assert all(ticket.state is ending for ticket, ending in self.endings.items())

    def teardown(self) -> None:
        self._settle()
        self.driver.shutdown(self.now)
        for slot in self.leased:
            self.driver.release(slot, self.now)
        self.driver.answer_connects(self.now)
        self.driver.answer_validations(True, self.now)
        self.driver.close_all(self.now)
        check_step(self.driver, self.now)
        check_emptied(self.driver)


PoolMachine.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestPool = PoolMachine.TestCase
