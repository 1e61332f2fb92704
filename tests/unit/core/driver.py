"""A toy shell around the core: it carries out actions at once, or when the test says so."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from random import Random
from typing import Any
from unittest import mock

from redpool.core import pool
from redpool.core.actions import (
    AnyAction,
    Close,
    Connect,
    CutCall,
    CutConnect,
    Note,
    ReportLeak,
    ReportWait,
    Validate,
    Wake,
)
from redpool.core.config import PoolConfig
from redpool.core.connector import Failure
from redpool.core.pool import PoolCore
from redpool.core.priorities import PrioritizedCore
from redpool.core.slot import Reason, Slot, State
from redpool.core.stats import PoolStats
from redpool.core.waiters import Ticket, TicketState

Transition = tuple[State, State]


class WatchedSlot(Slot):  # type: ignore[misc]  # final for speed only
    """A slot that notes each change of its state."""

    __slots__ = ("seen",)

    seen: set[Transition]

    def __init__(self, seen: set[Transition]) -> None:
        object.__setattr__(self, "seen", seen)
        super().__init__()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "state" and hasattr(self, "state"):
            self.seen.add((self.state, value))
        object.__setattr__(self, name, value)


class Connection:
    """Stands for a connection; numbered in the order of opening."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"<Connection {self.number}>"


class Driver:
    """A pool whose actions wait in `ordered`, `begun`, `validations` and `closes` until the test has them carried out.

    With `prompt`, they are carried out at once, and all goes well.
    """

    def __init__(
        self, now: float = 0.0, *, prompt: bool = False, seed: int = 0, connect_budget: float = math.inf,
        connect_retries: float = 0, **options: Any,
    ) -> None:  # fmt: skip
        self.prompt = prompt
        self.caller_class = "default"
        """of the caller that asks next, where classes are told apart"""
        self.transitions: set[Transition] = set()
        with self._watching():
            self.core = self._core(PoolConfig(**options), now, Random(seed), connect_budget)
        self.core.connector.retries = connect_retries
        self.ordered: list[Slot] = []
        """connects ordered, not yet begun"""
        self.begun: list[Slot] = []
        self.validations: list[Slot] = []
        self.closes: list[Close] = []
        self.cuts: list[Slot] = []
        self.cut_calls: list[CutCall] = []
        self.leaks: list[ReportLeak] = []
        self.long_waits: list[ReportWait] = []
        self.to_clear: set[Slot] = set()  # came back to be checked
        self.reported: dict[Slot, int] = {}
        """the lease that was reported last, by its number"""
        self.woken: list[Ticket] = []
        self.closed: list[Close] = []
        """every close that was carried out"""
        self.waiting: list[Ticket] = []
        """who waits, by the order of asking"""
        self.on_action: Callable[[AnyAction], None] | None = None
        self.notes: list[str] = []
        """what the pool has decided by itself"""
        self.connected = 0
        self.resized = False
        self._busy = False

    def _core(self, config: PoolConfig, now: float, random: Random, connect_budget: float) -> PoolCore:
        if config.reserved:
            return PrioritizedCore(config, now, random, connect_budget, lambda: self.caller_class)
        return PoolCore(config, now, random, connect_budget)

    def _watching(self) -> AbstractContextManager[Any]:
        return mock.patch.object(pool, "Slot", partial(WatchedSlot, self.transitions))

    # -- callers ---------------------------------------------------------------------------------------------------

    def acquire(self, now: float) -> Slot | Ticket:
        """As the core's; the actions are collected."""
        got = self.core.acquire(now)
        if isinstance(got, Ticket) and got.state is TicketState.WAITING:
            self.waiting.append(got)
        self.collect(now)
        return got

    def take(self, now: float) -> Slot:
        """A connection, opened at once where that is needed."""
        got = self.acquire(now)
        if isinstance(got, Ticket) and got.slot is None:
            self.warm_up(self.core.open + 1, now)  # a caller alone might have to be patient first
            self.answer_connects(now)
        slot = got.slot if isinstance(got, Ticket) else got
        assert slot is not None, "no connection to be had"
        slot.needs_validation = None
        return slot

    def take_many(self, count: int, now: float) -> list[Slot]:
        """So many connections at the same time."""
        return [self.take(now) for _ in range(count)]

    def ask(self, now: float) -> Ticket:
        """A ticket: nothing is idle."""
        got = self.acquire(now)
        assert isinstance(got, Ticket), "a connection was idle"
        return got

    def release(self, slot: Slot, now: float, fault: Reason | None = None) -> None:
        """The connection comes back."""
        self.core.release(slot, now, fault)
        self.collect(now)

    def release_closed(self, slot: Slot, now: float, fault: Reason = Reason.ERROR) -> None:
        """The connection comes back closed."""
        self.closed.append(self.core.release_closed(slot, now, fault))
        self.collect(now)

    def release_to_validate(self, slot: Slot, now: float) -> None:
        """The connection comes back, and is to be cleared first."""
        self.to_clear.add(slot)
        self.core.release_to_validate(slot, now)
        self.collect(now)

    def give_up(self, ticket: Ticket, now: float, timed_out: bool = False) -> Slot | None:
        """The caller leaves the queue."""
        slot = self.core.give_up(ticket, now, timed_out)
        if ticket in self.waiting:
            self.waiting.remove(ticket)
        self.collect(now)
        return slot

    def reject_at_checkout(self, slot: Slot, now: float) -> None:
        """The connection fails its validation at checkout; the caller has closed it."""
        closed = self.core.reject_at_checkout(slot, now)
        self.closed.append(closed)
        self.collect(now)

    # -- the whole pool --------------------------------------------------------------------------------------------

    def open(self, count: int, now: float) -> None:
        """Have so many connections open and idle."""
        ticket = self.warm_up(count, now)
        while self.answer_connects(now):
            pass
        assert ticket.state is TicketState.GRANTED

    def tick(self, now: float) -> None:
        """Time has passed."""
        self.core.tick(now)
        self.collect(now)

    def run_until(self, end: float) -> None:
        """Tick whenever the core asks for it, until `end`."""
        for _ in range(100_000):
            if self.core.wake_at > end:
                return
            self.tick(self.core.wake_at)
        raise AssertionError(f"the core asks to be woken at {self.core.wake_at} again and again")

    def warm_up(self, opens: int, now: float, deadline: float = math.inf) -> Ticket:
        """Wait for so many open connections."""
        ticket = self.core.warm_up(opens, now, deadline)
        self.collect(now)
        return ticket

    def resize(self, max_connections: int, now: float) -> None:
        """Allow another number of connections."""
        self.resized = True
        with self._watching():
            self.core.resize(max_connections, now)
        self.collect(now)

    def share(self, granted: int, now: float) -> None:
        """Allow no more than this share of a budget, of what there may be at most before and after."""
        self.resized = True
        before = self.core.may_hold
        with self._watching():
            self.core.share(granted, now)
        assert self.core.may_hold <= max(before, granted)
        assert self.core.max_connections <= granted
        self.collect(now)

    def drain(self, now: float) -> None:
        """Replace every connection."""
        self.core.drain(now)
        self.collect(now)

    def close(self, now: float) -> None:
        """Close the pool, which serves again when it is asked."""
        self.core.close(now)
        self.collect(now)

    def disconnect(self, now: float) -> None:
        """Close all, and try again at once when the pool is asked."""
        self.core.disconnect(now)
        self.collect(now)

    def shutdown(self, now: float) -> None:
        """Shut the pool down for good."""
        self.core.shutdown(now)
        self.collect(now)

    # -- actions ----------------------------------------------------------------------------------------------------

    def collect(self, now: float) -> None:
        """Sort the actions by kind; carry them out where the driver is prompt."""
        actions = self.core.take_actions()
        self._leave_queue(actions)
        for action in actions:
            if self.on_action is not None:
                self.on_action(action)
            self._file(action)
        if self.prompt and not self._busy:
            self._busy = True
            while self.ordered or self.begun or self.validations or self.closes:
                self.answer_connects(now)
                self.answer_validations(True, now)
                self.close_all(now)
            self._busy = False

    def _file(self, action: AnyAction) -> None:
        if isinstance(action, Connect):
            assert action.slot not in (*self.ordered, *self.begun), "a connect was ordered twice"
            self.ordered.append(action.slot)
        elif isinstance(action, Validate):
            assert action.slot not in self.validations, "a validation was ordered twice"
            self.validations.append(action.slot)
        elif isinstance(action, Close):
            assert action.connection is not None
            self.closes.append(action)
        elif isinstance(action, CutConnect):
            assert action.slot in self.begun, "no connect to cut"
            self.cuts.append(action.slot)
        elif isinstance(action, CutCall):
            self.cut_calls.append(action)
        elif isinstance(action, ReportWait):
            self.long_waits.append(action)
        elif isinstance(action, ReportLeak):
            assert self.reported.get(action.slot) != action.slot.lease, "a lease was reported twice"
            self.reported[action.slot] = action.slot.lease
            self.leaks.append(action)
        elif isinstance(action, Note):
            self.notes.append(action.what)
        else:
            assert action.ticket not in self.woken, "a ticket ended twice"
            self.woken.append(action.ticket)

    def _leave_queue(self, actions: list[AnyAction]) -> None:
        ended = [
            action.ticket
            for action in actions
            if isinstance(action, Wake) and not (action.ticket.opens or action.ticket.reconnects)
        ]
        granted = [ticket for ticket in ended if ticket.state is TicketState.GRANTED]
        self.waiting = [ticket for ticket in self.waiting if ticket not in ended or ticket in granted]
        for ticket in granted:
            first = next(other for other in self.waiting if other.priority == ticket.priority)
            assert ticket is first, "a caller overtook another one of its class"
            self.waiting.remove(ticket)

    def begin_connects(self, now: float, count: int | None = None) -> list[Slot]:
        """Begin the connects ordered (or the first `count`); those still wanted."""
        wanted = []
        for slot in self.ordered[:count]:
            self.ordered.remove(slot)
            if self.core.begin_connect(slot, now):
                self.begun.append(slot)
                wanted.append(slot)
        self.collect(now)
        return wanted

    def answer_connects(self, now: float, count: int | None = None) -> int:
        """Every connect goes through (or only the first `count`); how many."""
        self.begin_connects(now)
        answered = self.begun[:count]
        for slot in answered:
            self.begun.remove(slot)
            self.connected += 1
            self.core.connected(slot, Connection(self.connected), now)
            self.collect(now)
        return len(answered)

    def fail_connects(
        self, error: BaseException, now: float, count: int | None = None, retryable: bool = True,
        failure: Failure = Failure.DOWN,
    ) -> int:  # fmt: skip
        """Every connect fails (or only the first `count`); how many."""
        self.begin_connects(now)
        failed = self.begun[:count]
        for slot in failed:
            self.begun.remove(slot)
            self.core.connect_failed(slot, error, now, retryable, failure)
            self.collect(now)
        return len(failed)

    def answer_validations(self, ok: bool, now: float, count: int | None = None) -> int:
        """Every background check ends (or only the first `count`); how many."""
        answered = self.validations[:count]
        for slot in answered:
            self.validations.remove(slot)
            self.to_clear.discard(slot)
            self.core.validated(slot, ok, now)
            self.collect(now)
        return len(answered)

    def close_all(self, now: float, count: int | None = None) -> list[Reason]:
        """Carry out every close (or the first `count`); their reasons."""
        done = self.closes[:count]
        for action in done:
            self.closes.remove(action)
            self.closed.append(action)
            self.core.closed_connection(action.slot, now)
            self.collect(now)
        return [action.reason for action in done]

    # -- what can be seen ------------------------------------------------------------------------------------------

    @property
    def reasons(self) -> list[Reason]:
        """Why connections were closed, carried out or not, in order."""
        return [action.reason for action in (*self.closed, *self.closes)]

    def numbers(self) -> list[int]:
        """The idle connections, longest-idle first, by the order in which they were opened."""
        return [slot.connection.number for slot in self.core.idle]

    def stats(self, now: float) -> PoolStats:
        """As users see them."""
        return self.core.stats(now)

    def counts(self, now: float) -> str:
        """As messages have them."""
        return self.core.counts(now)
