"""Connects: how many a pool needs, when each may begin, and what follows from how the last ones went.

The connects of slots and those of leases, whose connection was lost and is opened anew, count together. One at a time
is made while the server is down or full, and with pauses. After `break_after` failures in a row the breaker is open:
callers fail at once, until a connect in the background succeeds.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from . import policy
from .config import PoolConfig
from .slot import Slot, State
from .waiters import Ticket

_NEVER = math.inf


class Failure(enum.Enum):
    """What a failed connect says of the server."""

    DOWN = "it can't be reached, or hangs up"
    FULL = "it has all the clients that it allows"
    DENIED = "it doesn't accept the credentials, or allows them too little"
    NO_TLS = "it speaks no TLS, one side doesn't accept the other's certificate or version, or a file for it is missing"


_LASTING = Failure.DENIED, Failure.NO_TLS
"""What one more try soon won't change: no retry policy is to sit through it."""


class Demand(NamedTuple):
    """What a pool needs connections for, at one moment."""

    waiting: int
    """callers in the wait queue"""
    queued_since: float
    """when none waited, last"""
    newest: float
    """when the last of them came"""
    short: int
    """ready connections that are missing to `min_idle`; below zero, how many there are above"""
    warming: int
    """open connections that are missing to those that a caller waits for"""
    expired: int
    """open connections that are to be replaced"""
    resting: bool
    """nothing is to be connected unless a caller needs it"""
    comes_back: bool
    """a connection may soon be free: one on lease, or one that is being validated"""
    available_at: float
    """when a caller last got a connection"""


class Plan(NamedTuple):
    """How many connects are to begin now, and when to ask anew at the latest."""

    connects: int
    again_at: float


class Connector:
    """The connects under way, and how connecting has gone so far."""

    __slots__ = (
        "_at_once",
        "_break_after",
        "_eager",
        "_name",
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

    def __init__(self, config: PoolConfig, budget: float, random: Random) -> None:
        self._at_once = config.max_connecting
        self._eager = config.limits is not None  # such a pool is never larger than it must be
        self._break_after = _NEVER if config.break_after is None else config.break_after
        self._name = config.name
        self._timeout = config.timeout
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
        self.patience = 0.0 if self._eager else policy.growth_patience(0.0, config.timeout)
        """seconds for which a queue may last before it is a reason to connect"""

    def __len__(self) -> int:
        return len(self.slots)

    # -- how many, and when ------------------------------------------------------------------------------------------

    @property
    def unbegun(self) -> list[Slot]:
        """The slots whose connects were ordered and have not begun; also for a thread that has no lock."""
        return [slot for slot in list(self.slots) if not slot.begun]

    @property
    def under_way(self) -> int:
        """Connects under way: of slots and of leases."""
        return len(self.slots) + len(self.leases)

    @property
    def room(self) -> int:
        """How many more may begin now. While the server is down or full, one is under way at a time."""
        at_once = 1 if self.last_error is not None else self._at_once
        return at_once - len(self.slots) - len(self.leases)

    def wanted(self, demand: Demand) -> int:
        """Return how many connects of slots under way would serve a purpose."""
        return max(self._wanted_in_background(demand), demand.waiting + max(0, demand.short))

    def _wanted_in_background(self, demand: Demand) -> int:
        """Return how many of them are not for callers in the queue."""
        return max(demand.short, demand.warming, demand.expired, int(self.broken and not demand.resting))

    def plan(self, demand: Demand, room: int, now: float) -> Plan:
        """Return which connects of slots are needed and allowed now, of so many that there is room for."""
        wanted, again_at = self._wanted_in_background(demand), _NEVER
        if demand.waiting > len(self.slots):
            due_at = self._due_for_callers(demand)
            if now >= due_at:
                wanted = max(wanted, demand.waiting)
            else:
                again_at = due_at
        connects = min(wanted - len(self.slots), room)
        if connects <= 0:
            return Plan(0, again_at)
        pause_until = self._pause_until(demand)
        return Plan(connects, again_at) if now >= pause_until else Plan(0, min(again_at, pause_until))

    def _due_for_callers(self, demand: Demand) -> float:
        """Return when to connect for those that wait, should connections not come back to them soon enough."""
        if not demand.comes_back:
            return -_NEVER  # and no timer is waited for: the clock may be a frozen one
        # After each step the queue gets time to show what the new connections did for it.
        stalled_since = max(min(demand.queued_since, demand.available_at), self.stepped_at)
        return stalled_since + self.patience

    def _pause_until(self, demand: Demand) -> float:
        """Return when the next connect may begin, for those that need it now."""
        if demand.waiting and self.may_be_passing and demand.newest >= self.failed_at:
            return -_NEVER  # that caller came after the failure
        return self.pause_until if demand.waiting or demand.warming > 0 else self.background_pause_until

    # -- connects of slots -------------------------------------------------------------------------------------------

    def order(self, slot: Slot) -> None:
        """Count a connect that is ordered."""
        slot.state = State.CONNECTING
        self.slots[slot] = None

    def begin(self, slot: Slot, generation: int, now: float) -> None:
        """Note that an ordered connect begins."""
        slot.begun = True
        slot.attempt += 1
        slot.generation = generation
        slot.since = now
        slot.connect_deadline = now + self.budget

    def forget(self, slot: Slot) -> None:
        """Count a connect no more: it isn't needed, or was interrupted, which says nothing of the server."""
        self.slots.pop(slot, None)

    def succeeded(self, slot: Slot, mean_connect: float) -> None:
        """Note that a connection is open; the mean of all connects took so many seconds."""
        self.slots.pop(slot, None)
        slot.connect_deadline = _NEVER
        self.answered()
        self.patience = 0.0 if self._eager else policy.growth_patience(mean_connect, self._timeout)

    def overdue(self, now: float) -> list[Slot]:
        """Return the slots whose connect has used up its own time."""
        return [slot for slot in self.slots if now >= slot.connect_deadline]

    # -- connects of leases ------------------------------------------------------------------------------------------

    def begin_lease(self, ticket: Ticket, now: float) -> float:
        """Note that a lease connects; return until when it counts.

        However it ends, or if word of its end is lost: it counts for no longer than a connect may take.
        """
        self.leases[ticket] = until = now + min(self.budget, policy.LONGEST_CONNECT)
        return until

    def end_lease(self, ticket: Ticket) -> bool:
        """Note that a lease connects no more. Return whether it did."""
        return self.leases.pop(ticket, None) is not None

    def expire_leases(self, now: float) -> None:
        """Count those no more that have used up their time: their callers may have been interrupted."""
        for ticket, until in self.leases.copy().items():
            if now >= until:
                del self.leases[ticket]

    def why_not_lease(self, empty: bool, now: float) -> BaseException | None:
        """Return why a lease may not connect anew, if so; `empty` is whether a slot is."""
        if self.broken and (empty or self.under_way or now < self.pause_until):
            return self.not_connecting(now)  # the probe is another connect
        return self.last_error_again() if self.in_pause(now) else None

    # -- how it went -------------------------------------------------------------------------------------------------

    def answered(self) -> None:
        """Note that the server is up."""
        self.failures = 0
        self.denials = 0
        self.last_error = None
        self.pause_until = self.background_pause_until = -_NEVER

    def failed(
        self,
        slot: Slot | None,
        error: BaseException,
        now: float,
        failure: Failure = Failure.DOWN,
        retryable: bool = True,
    ) -> None:
        """Note that a connect has failed, of a slot or a lease: the next one comes after a pause.

        The pause grows with each failure unless the server is full.
        """
        if slot is not None:
            self.slots.pop(slot, None)
        self.last_error, self.last_failure, self.failed_at = error, failure, now
        self.retryable = retryable and failure not in _LASTING
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

    def try_again(self) -> None:
        """Connect at once, although the server has denied it: the user may have other credentials now."""
        if self.denials:
            self.pause_until = self.background_pause_until = -_NEVER

    # -- what is raised to callers -----------------------------------------------------------------------------------

    @property
    def broken(self) -> bool:
        """Whether so many connects have failed in a row that the next one is to be a probe, for no caller's sake."""
        return self.failures >= self._break_after

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
        return self.broken or (self.last_error is not None and self.last_failure in _LASTING)

    def rejects(self, empty: bool) -> bool:
        """Return whether callers that find nothing idle are rejected, until a probe succeeds; `empty`: a slot is.

        Where no slot is left for a probe, none was left for their own connect either: they wait for what is in use.
        """
        return self.broken and (empty or bool(self.slots))

    def fails_at_once(self, now: float) -> bool:
        """Return whether a caller that only a connect can serve gets the last failure, and doesn't wait for the next.

        One whose retry policy sits through failures waits.
        """
        return self.in_pause(now) and not self.sits_through and not self.may_be_passing

    def serves_sooner(self, comes_back: bool, available_at: float, now: float) -> bool:
        """Return whether a caller may get a connection sooner than the next connect may begin.

        Where the server has failed, what is on lease counts only if such connections have come back of late.
        """
        if self.slots:
            return True
        of_late = now < available_at + policy.LONGEST_PAUSE
        return comes_back and (of_late or self.last_failure is Failure.FULL)

    def ends_wait(self, ticket: Ticket) -> bool:
        """Count one more failure for a waiter; return whether it is one too many."""
        ticket.connect_failures += 1
        return self.broken or not self.retryable or ticket.connect_failures > ticket.connect_retries

    def last_error_again(self) -> BaseException | None:
        """Return the last error, as one of a caller's own."""
        last = self.last_error  # which another thread may change, where none holds the guard
        return None if last is None else own_copy(last)

    def not_connecting(self, now: float) -> BaseException:
        """Return what callers get that are rejected: an error of the last one's kind, which is its cause."""
        last = self.last_error
        assert last is not None
        message = (
            f"{self._name}: not connecting: every connect has failed for {now - self.failed_since:.1f} s, "
            f"{self.failures} in a row; the last one: {last}"
        )
        try:
            error = type(last)(message)
        except Exception:
            return last  # not to be made from a message
        error.__cause__ = last
        return error

    # -- time, repair ------------------------------------------------------------------------------------------------

    def due_at(self) -> float:
        """Return when the time of a connect is up."""
        deadlines = [slot.connect_deadline for slot in self.slots]
        return min((*self.leases.values(), *deadlines), default=_NEVER)

    def rebuild(self, slots: Iterable[Slot]) -> None:
        """Count the slots that are connecting by their state, and the leases whose callers know that they connect."""
        connecting = dict.fromkeys((*self.slots, *slots))
        self.slots = {slot: None for slot in connecting if slot.state is State.CONNECTING}
        self.leases = {ticket: until for ticket, until in self.leases.items() if ticket.waker is not None}


def own_copy(error: BaseException) -> BaseException:
    """Return one more error like it, for one of several callers, so that their tracebacks don't mix."""
    try:
        copy = type(error)(*error.args)
    except Exception:
        return error  # not to be made from its arguments
    copy.__cause__ = error
    return copy
