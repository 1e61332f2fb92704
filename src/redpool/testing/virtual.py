"""A shell in virtual time: a core with a clock turned by hand, whose actions are carried out as soon as they are given.

Both simulated loads and tests of what may befall a call are made of it: each says how connects, validations and callers
go, and how long they take.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

from ..core.actions import (
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
from ..core.pool import PoolCore
from ..core.slot import Connection, Slot, State
from ..core.waiters import Ticket
from .clock import Clock


class VirtualShell:
    """What drives a core from one event to the next, in no time."""

    def __init__(self, core: PoolCore) -> None:
        self.core = core
        self.clock = Clock()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._turns = itertools.count()

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Have something done in so many seconds; of what is due at the same time, what was asked first comes first."""
        heapq.heappush(self._due, (self.clock.now + seconds, next(self._turns), do))

    def run_until(self, end: float) -> None:
        """Let everything happen that is due by then."""
        self._carry_out_all()
        while (when := min(self.core.wake_at, self._due[0][0] if self._due else math.inf)) <= end:
            self._turn_to(when)
            if when == self.core.wake_at:
                self.core.tick(self.clock.now)
            else:
                heapq.heappop(self._due)[2]()
            self._carry_out_all()
        self._turn_to(end)

    def _turn_to(self, when: float) -> None:
        self.clock.advance(max(0.0, when - self.clock.now))

    # -- what is told ------------------------------------------------------------------------------------------------

    def connect_begins(self, slot: Slot) -> None:
        """Begin a connect: `end_connect` is to be called, at once or later."""
        raise NotImplementedError

    def validation_begins(self, slot: Slot) -> None:
        """Begin to validate a connection: `core.validated` is to be called, at once or later."""
        raise NotImplementedError

    def woken(self, ticket: Ticket) -> None:
        """Go on with the caller that waits with a ticket."""
        raise NotImplementedError

    def connect_ended(self, slot: Slot, error: BaseException | None) -> None:
        """Take note of how a connect has ended."""

    def closed(self, action: Close) -> None:
        """Take note that a connection is closed."""

    def leak_reported(self, action: ReportLeak) -> None:
        """Take note of a leak."""

    def wait_reported(self, action: ReportWait) -> None:
        """Take note of a long wait."""

    # -- actions -----------------------------------------------------------------------------------------------------

    def end_connect(
        self, slot: Slot, attempt: int, connection: Connection = None, error: BaseException | None = None
    ) -> None:
        """End a connect, with an error or a connection, unless it was cut before."""
        if slot.attempt != attempt or slot.state is not State.CONNECTING:
            return
        self.connect_ended(slot, error)
        if error is None:
            self.core.connected(slot, connection, self.clock.now)
        else:
            self.core.connect_failed(slot, error, self.clock.now)

    def _carry_out_all(self) -> None:
        while actions := self.core.take_actions():
            for action in actions:
                self._carry_out(action)

    def _carry_out(self, action: AnyAction) -> None:
        match action:
            case Connect(slot):
                if self.core.begin_connect(slot, self.clock.now):
                    self.connect_begins(slot)
            case CutConnect(slot):
                self.end_connect(slot, slot.attempt, error=TimeoutError("the connect took too long"))
            case Validate(slot):
                if self.core.begin_validation(slot):
                    self.validation_begins(slot)
            case Close(slot):
                self.closed(action)
                self.core.closed_connection(slot, self.clock.now)
            case Wake(ticket):
                self.woken(ticket)
            case ReportLeak():
                self.leak_reported(action)
            case ReportWait():
                self.wait_reported(action)
            case CutCall() | Note():
                pass  # no call here has a deadline; what a pool has decided, its `sizing` tells
