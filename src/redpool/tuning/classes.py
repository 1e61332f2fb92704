"""Callers of several classes in one simulated pool, with the option `reserved`: what becomes of each class. Pure."""

from __future__ import annotations

from collections import defaultdict
from random import Random
from typing import Any

from ..core.config import PoolConfig
from ..core.pool import PoolCore
from ..core.priorities import PrioritizedCore
from ..core.slot import Slot
from ..core.waiters import Ticket, TicketState
from .simulator import Call, Outcome, Simulator
from .workloads import Caller


class ClassedSimulator(Simulator):
    """A pool whose callers are of the class that their `kind` names; `by_class` has an outcome of each.

    Of a class's outcome what concerns connections is left empty: these are the pool's.
    """

    def __init__(self, config: PoolConfig, *args: Any, **options: Any) -> None:
        self._asking = ""
        self.by_class: defaultdict[str, Outcome] = defaultdict(lambda: Outcome(0.0))
        super().__init__(config, *args, **options)

    def make_core(self, config: PoolConfig, random: Random, connect_budget: float) -> PoolCore:
        """Return the core of a pool with classes, where some connections are reserved."""
        if not config.reserved:
            return super().make_core(config, random, connect_budget)
        return PrioritizedCore(config, 0.0, random, connect_budget, lambda: self._asking)

    def ask(self, caller: Caller, now: float) -> Slot | Ticket:
        """Ask the core for a connection for this caller, in the name of its class."""
        self._asking = caller.kind
        self.by_class[caller.kind].attempts += 1
        return super().ask(caller, now)

    def _use(self, slot: Slot, call: Call, now: float) -> None:
        outcome = self.by_class[call.caller.kind]
        outcome.granted += 1
        if now > call.since:
            outcome.waits.append(now - call.since)
        super()._use(slot, call, now)

    def _release(self, slot: Slot, call: Call, now: float) -> None:
        outcome = self.by_class[call.caller.kind]
        outcome.served += 1
        outcome.replies.append(now - call.since)
        super()._release(slot, call, now)

    def _cut(self, slot: Slot, call: Call, now: float) -> None:
        self.by_class[call.caller.kind].lost += 1
        super()._cut(slot, call, now)

    def _fail(self, ticket: Ticket, call: Call, now: float) -> None:
        outcome = self.by_class[call.caller.kind]
        if ticket.state is TicketState.REJECTED:
            outcome.rejected += 1
        else:
            outcome.timeouts += 1
            outcome.waits.append(now - call.since)
        super()._fail(ticket, call, now)

    def _end(self, now: float) -> Outcome:
        for ticket in self.core.queue:
            if ticket.waker is not None:  # else it is of `warm_up`
                outcome = self.by_class[ticket.waker.caller.kind]
                outcome.timeouts += 1  # its wait has no end yet
                outcome.waits.append(now - ticket.since)
        for outcome in self.by_class.values():
            outcome.seconds = now
        return super()._end(now)
