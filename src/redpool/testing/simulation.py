"""The pool's decisions under a simulated load: the very `PoolCore` of the real pools, with a clock turned by hand.

All chance comes out of one seed, in three streams that don't mix: what callers do is drawn when they arrive, so that
two pools with other options, or over another network, meet the same callers at the same times.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from ..core.actions import Close, ReportLeak
from ..core.config import PoolConfig
from ..core.pool import PoolCore
from ..core.slot import Reason, Slot
from ..core.stats import PoolStats
from ..core.waiters import Ticket, TicketState
from .virtual import VirtualShell


class Event(NamedTuple):
    """When (in seconds) what happened, to which caller and which connection, each numbered from 1 (0: to none)."""

    at: float
    what: str
    caller: int = 0
    connection: int = 0


@dataclass(frozen=True)
class _Caller:
    number: int
    use: float
    patience: float
    breaks: bool


class Simulation(VirtualShell):
    """A pool with callers that come, use a connection, and go; hours of it in moments.

        simulation = Simulation(seed=7, arrivals=300.0, use=0.01, max_connections=4)
        print(simulation.run(60.0).wait.p99)

    The same seed and arguments give the same run, event for event. `options` are the pool's own. Times are means, in
    seconds, of exponential distributions; shares are between 0 and 1.

    Args:
        seed: of all chance
        arrivals: how many callers come in a second, on average, independently of each other
        use: how long each holds its connection
        patience: how long a caller waits before it leaves of its own accord; None: as long as the pool lets it
        connect: how long it takes to connect, or to validate a connection in the background
        connect_failures: the share of connects that fail
        broken: the share of leases after which a connection is broken, and of validations that find it so

    Attributes:
        core: the pool (`redpool.core.pool.PoolCore`)
        clock: a `redpool.testing.Clock` that starts at 0
        trace: what happened, as a list of `(at, what, caller, connection)`

    Raises `ValueError` or `TypeError` with the name and the value of an argument that makes no sense.

    """

    def __init__(
        self,
        seed: int = 0,
        *,
        arrivals: float = 100.0,
        use: float = 0.01,
        patience: float | None = None,
        connect: float = 0.005,
        connect_failures: float = 0.0,
        broken: float = 0.0,
        **options: Any,
    ) -> None:
        _check(arrivals=arrivals, use=use, patience=patience or 0.0, connect=connect)
        _check_shares(connect_failures=connect_failures, broken=broken)
        super().__init__(PoolCore(PoolConfig(**options), 0.0, Random(f"pool {seed}")))
        self.trace: list[Event] = []
        self._arrivals, self._mean_use, self._patience, self._connect = arrivals, use, patience, connect
        self._connect_failures, self._broken = connect_failures, broken
        self._load, self._network = Random(f"load {seed}"), Random(f"network {seed}")
        self._callers, self._connections = itertools.count(1), itertools.count(1)
        self._waiting: dict[Ticket, _Caller] = {}
        self._connects: dict[Slot, int] = {}
        if arrivals:
            self.after(self._load.expovariate(arrivals), self._arrive)

    def run(self, seconds: float) -> PoolStats:
        """Let so much time pass, and say how the pool stands then. May be called again, to go on."""
        _check(seconds=seconds)
        self.run_until(self.clock.now + seconds)
        return self.stats()

    def stats(self) -> PoolStats:
        """As `stats()` of a pool."""
        return self.core.stats(self.clock.now)

    # -- callers ---------------------------------------------------------------------------------------------------

    def _arrive(self) -> None:
        draw = self._load
        patience = draw.expovariate(1 / self._patience) if self._patience else math.inf
        caller = _Caller(next(self._callers), self._spell(draw, self._mean_use), patience, draw.random() < self._broken)
        self.after(draw.expovariate(self._arrivals), self._arrive)
        self._note("arrives", caller)
        self._ask(caller)

    def _ask(self, caller: _Caller) -> None:
        got = self.core.acquire(self.clock.now)
        if isinstance(got, Slot):
            self._look_at(caller, got)
        elif got.state in (TicketState.WAITING, TicketState.GRANTED):
            self._waiting[got] = caller  # until the pool says Wake
            if caller.patience < math.inf:
                self.after(caller.patience, lambda: self._lose_patience(got))
        else:
            self._note(got.state.value, caller)

    def _look_at(self, caller: _Caller, slot: Slot) -> None:
        if slot.needs_validation and self._chance(self._broken):
            connection = slot.connection
            self._note("found broken", caller, connection)
            self.closed(self.core.reject_at_checkout(slot, self.clock.now)._replace(connection=connection))
            self._ask(caller)
            return
        slot.needs_validation = None
        self._use(caller, slot)

    def _use(self, caller: _Caller, slot: Slot) -> None:
        self._note("gets", caller, slot.connection)
        self.after(caller.use, lambda: self._release_now(caller, slot))

    def _release_now(self, caller: _Caller, slot: Slot) -> None:
        self._note("breaks" if caller.breaks else "gives back", caller, slot.connection)
        self.core.release(slot, self.clock.now, Reason.ERROR if caller.breaks else None)

    def _lose_patience(self, ticket: Ticket) -> None:
        caller = self._waiting.pop(ticket, None)
        if caller is not None:
            self.core.give_up(ticket, self.clock.now)
            self._note(ticket.state.value, caller)

    def woken(self, ticket: Ticket) -> None:
        """Have the caller use what it got, or note why it got nothing."""
        caller = self._waiting.pop(ticket)
        if ticket.slot is not None:
            self._use(caller, ticket.slot)
        else:
            self._note(ticket.state.value, caller)

    # -- connections -----------------------------------------------------------------------------------------------

    def connect_begins(self, slot: Slot) -> None:
        """Draw whether it fails, and for how long it takes."""
        number, attempt = next(self._connections), slot.attempt
        self._connects[slot] = number
        error = ConnectionError(f"connect {number} failed") if self._chance(self._connect_failures) else None
        self._note("connect begins", connection=number)
        self.after(self._spell(self._network, self._connect), lambda: self.end_connect(slot, attempt, number, error))

    def connect_ended(self, slot: Slot, error: BaseException | None) -> None:
        """Note it."""
        self._note("connect succeeds" if error is None else "connect fails", connection=self._connects.pop(slot))

    def validation_begins(self, slot: Slot) -> None:
        """Draw whether it fails, and for how long it takes."""
        ok = not self._chance(self._broken)
        self.after(self._spell(self._network, self._connect), lambda: self._end_validation(slot, ok))

    def _end_validation(self, slot: Slot, ok: bool) -> None:
        self._note("validation succeeds" if ok else "validation fails", connection=slot.connection)
        self.core.validated(slot, ok, self.clock.now)

    def closed(self, action: Close) -> None:
        """Note it, with the reason."""
        self._note(f"closed: {action.reason.value}", connection=action.connection)

    def leak_reported(self, action: ReportLeak) -> None:
        """Note it."""
        self._note("leak reported", connection=action.slot.connection)

    # -- chance, and what is noted ---------------------------------------------------------------------------------

    def _chance(self, share: float) -> bool:
        return self._network.random() < share

    def _spell(self, draw: Random, mean: float) -> float:
        return draw.expovariate(1 / mean) if mean else 0.0

    def _note(self, what: str, caller: _Caller | None = None, connection: Any = 0) -> None:
        self.trace.append(Event(self.clock.now, what, caller.number if caller else 0, connection))


def _check(**spans: float) -> None:
    for name, value in spans.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}={value!r} must be a number from 0 on")


def _check_shares(**shares: float) -> None:
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value!r} must be between 0 and 1")
