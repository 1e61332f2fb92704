"""When connections may be opened: how many at a time, how soon after failures, how soon for a queue."""

from __future__ import annotations

import enum
import math
from random import Random

from . import policy
from .slot import Slot
from .ticket import Ticket

_NEVER = math.inf


class Failure(enum.Enum):
    """What a failed connect says of the server."""

    DOWN = "it can't be reached, or hangs up"
    FULL = "it has all the clients that it allows"
    DENIED = "it doesn't accept the credentials, or allows them too little"


class Connector:
    """The connects under way, and how connecting has gone so far."""

    __slots__ = (
        "_at_once",
        "_break_after",
        "_random",
        "_timeout",
        "background_pause_until",
        "budget",
        "denials",
        "failed_at",
        "failed_since",
        "failures",
        "last_error",
        "last_failure",
        "leases",
        "patience",
        "pause_until",
        "retries",
        "retryable",
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
        """seconds that one connect may take in all"""
        self.retries = 0.0
        """how many failed connects in a row a caller sits through"""
        self.slots: dict[Slot, None] = {}  # in the order in which they were ordered
        self.leases: dict[Ticket, float] = {}
        """leases that connect anew, each with the time until which it counts"""
        self.failures = 0
        """connects failed in a row; those that a full server turned away don't count"""
        self.failed_since = 0.0
        """when the first of them failed"""
        self.failed_at = -_NEVER
        """when the last of them failed"""
        self.last_error: BaseException | None = None
        self.last_failure = Failure.DOWN
        """what the last error says of the server"""
        self.retryable = True
        """whether the last error is one that callers sit through"""
        self.denials = 0
        """rounds of connects that the server has denied since it last let one in"""
        self.pause_until = -_NEVER
        self.background_pause_until = -_NEVER
        """the same for connects for which no caller waits: never sooner"""
        self.stepped_at = -_NEVER
        """when the pool last grew by a connection"""
        self.patience = policy.growth_patience(0.0, timeout)
        """seconds for which a queue may last before it is a reason to connect"""

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
        """Whether so many connects have failed in a row that the next one is to be a probe, for no caller's sake."""
        return self.failures >= self._break_after

    def succeeded(self, slot: Slot, mean_connect: float) -> None:
        """A connection is open; the mean of all connects took so many seconds."""
        self.slots.pop(slot, None)
        self.answered()
        self.patience = policy.growth_patience(mean_connect, self._timeout)

    def answered(self) -> None:
        """The server is up."""
        self.failures = 0
        self.denials = 0
        self.last_error = None
        self.pause_until = self.background_pause_until = -_NEVER

    def in_pause(self, now: float) -> bool:
        """Return whether a connect has failed, and the next one must wait, the caller that needs it."""
        return now < self.pause_until and self.last_error is not None

    @property
    def sits_through(self) -> bool:
        """Whether callers wait for the next connect after one that has failed as the last one did."""
        return self.retries >= 1 and self.retryable

    @property
    def may_be_passing(self) -> bool:
        """Whether what has failed was perhaps no fault of the server's, so that the next caller needn't be told of it.

        Those whose retry policy sits through failures have its pauses, too.
        """
        few = self.failures <= policy.PASSING_FAILURES and self.last_failure is Failure.DOWN
        return few and not self.broken and not self.sits_through

    @property
    def hopeless(self) -> bool:
        """Whether one more try would only get the last failure again: no retry policy is to make it."""
        return self.broken or (self.last_error is not None and self.last_failure is Failure.DENIED)

    def try_again(self) -> None:
        """Connect at once, although the server has denied it: the user may have other credentials now."""
        if self.denials:
            self.pause_until = self.background_pause_until = -_NEVER

    def failed(
        self,
        slot: Slot | None,
        error: BaseException,
        now: float,
        failure: Failure = Failure.DOWN,
        retryable: bool = True,
    ) -> None:
        """A connect failed, of a slot or a lease: the next one comes after a pause.

        The pause grows with each failure unless the server is full.
        """
        if slot is not None:
            self.slots.pop(slot, None)
        self.last_error, self.last_failure, self.failed_at = error, failure, now
        self.retryable = retryable and failure is not Failure.DENIED
        if failure is Failure.DENIED:
            self.failures = 0  # the server is up
            self._deny(now)
            return
        if failure is Failure.FULL:
            pause = policy.pause_when_full(self._random)
        else:
            self.failures += 1
            if self.failures == 1:
                self.failed_since = now
            pause = policy.pause_after(self.failures, self._random)
        self.pause_until = self.background_pause_until = now + pause

    def _deny(self, now: float) -> None:
        if self.denials and now < self.pause_until:
            return  # one of several that were under way together: they count once
        self.denials += 1
        pause = policy.pause_when_denied(self.denials, self._random)
        self.pause_until = now + min(pause, policy.LONGEST_DENIED_PAUSE)
        self.background_pause_until = now + pause
