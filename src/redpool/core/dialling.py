"""When connections may be opened: how many at a time, how soon after failures, how soon for a queue."""

from __future__ import annotations

import math
from random import Random

from . import policy
from .slot import Slot
from .ticket import Ticket

_NEVER = math.inf


class Dialling:
    """The dials under way, and how dialling has gone so far."""

    __slots__ = (
        "_at_once",
        "_break_after",
        "_random",
        "_timeout",
        "budget",
        "failed_since",
        "failures",
        "last_error",
        "leases",
        "patience",
        "pause_until",
        "retries",
        "slots",
        "stepped_at",
    )

    def __init__(
        self, at_once: int, budget: float, timeout: float | None, random: Random, break_after: int | None = None
    ) -> None:
        self._at_once = at_once
        self._break_after = _NEVER if break_after is None else break_after
        self._timeout = timeout
        self._random = random
        self.budget = budget
        """seconds that one dial may take in all"""
        self.retries = 0.0
        """how many failed dials in a row a caller sits through"""
        self.slots: dict[Slot, None] = {}  # in the order in which they were ordered
        self.leases: dict[Ticket, float] = {}
        """leases that connect anew, each with the time until which it counts"""
        self.failures = 0
        """connects failed in a row; those that a full server turned away don't count"""
        self.failed_since = 0.0
        """when the first of them failed"""
        self.last_error: BaseException | None = None
        self.pause_until = -_NEVER
        self.stepped_at = -_NEVER
        """when the pool last grew by a connection"""
        self.patience = policy.growth_patience(0.0, timeout)
        """seconds for which a queue may last before it is a reason to dial"""

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def under_way(self) -> int:
        """Connects under way: of slots and of leases."""
        return len(self.slots) + len(self.leases)

    @property
    def limit(self) -> int:
        """How many connects may be under way: one while the server is down or full."""
        return 1 if self.last_error is not None else self._at_once

    @property
    def broken(self) -> bool:
        """Whether so many dials have failed in a row that the next one is to be a probe, for nobody's sake."""
        return self.failures >= self._break_after

    def succeeded(self, slot: Slot, mean_dial: float) -> None:
        """A connection is open; the mean of all dials took so many seconds."""
        self.slots.pop(slot, None)
        self.answered()
        self.patience = policy.growth_patience(mean_dial, self._timeout)

    def answered(self) -> None:
        """The server is up."""
        self.failures = 0
        self.last_error = None
        self.pause_until = -_NEVER

    def failed(self, slot: Slot | None, error: BaseException, now: float, full: bool = False) -> None:
        """A connect failed, of a slot or a lease: the next one comes after a pause.

        The pause grows with each failure unless the server is full.
        """
        if slot is not None:
            self.slots.pop(slot, None)
        self.last_error = error
        if full:
            pause = policy.pause_when_full(self._random)
        else:
            self.failures += 1
            if self.failures == 1:
                self.failed_since = now
            pause = policy.pause_after(self.failures, self._random)
        self.pause_until = now + pause
