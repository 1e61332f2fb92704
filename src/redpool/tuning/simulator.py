"""The pool's own decisions under a virtual clock: a `PoolCore`, callers that come and go, and a virtual server.

    workload = workloads.poisson(2000, workloads.exponential(0.002))
    simulator = Simulator(PoolConfig(max_connections=7), seed=1)
    outcome = simulator.run(workload(Random(1), 60.0), 60.0)
    outcome.wait(0.99)

An hour passes in moments; the same arguments give the same outcome. What is not simulated: threads, the interpreter and
its lock. Derive from `Simulator` for a core that is asked otherwise (`ask`), or to look at it meanwhile (`every`).
"""

from __future__ import annotations

import heapq
import itertools
import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple, TypeAlias

from ..core.actions import AnyAction, Close, Connect, CutConnect, Validate, Wake
from ..core.config import PoolConfig
from ..core.pool import PoolCore
from ..core.slot import Reason, Slot, State
from ..core.waiters import Ticket, TicketState
from .servers import Parallel, Server
from .workloads import Caller

Event: TypeAlias = Callable[[float], None]
"""something that is to happen, given the time"""


class Manner(NamedTuple):
    """How callers behave. Each time is in seconds."""

    deadline: float = math.inf
    """for the wait and the call together: then the caller gives up, and its connection is closed"""
    socket_timeout: float = math.inf
    """for the call alone"""
    retries: int = 0
    """how often a caller that got no reply comes again"""
    pause: float = 0.0
    """before it does"""


@dataclass
class Outcome:
    """What became of the callers of one run, and what it cost. Times are in seconds."""

    seconds: float
    attempts: int = 0
    """callers that came, each retry counted once more"""
    served: int = 0
    """callers that got a reply in time"""
    lost: int = 0
    """leases that ended without a reply: too late for the caller"""
    timeouts: int = 0
    """callers that waited in vain"""
    rejected: int = 0
    """callers that were turned away at once, or while they waited"""
    connects: int = 0
    granted: int = 0
    open_seconds: float = 0.0
    """connections times seconds that they were open"""
    used_seconds: float = 0.0
    """connections times seconds that callers had them"""
    peak: int = 0
    """the most connections open at once"""
    waits: array[float] = field(default_factory=lambda: array("d"))
    """of all callers that had to wait, those included that waited in vain"""
    waited_at: array[float] = field(default_factory=lambda: array("d"))
    """when each of these waits ended"""
    replies: array[float] = field(default_factory=lambda: array("d"))
    """seconds from a caller's arrival to its reply; kept where `Simulator` is told to"""
    replied_at: array[float] = field(default_factory=lambda: array("d"))
    open: list[tuple[float, int]] = field(default_factory=list)
    """how many connections were open since when"""
    stopped: bool = False
    """the run was broken off: too many waits were too long"""

    @property
    def idle_seconds(self) -> float:
        """Connections times seconds that they were open and idle."""
        return self.open_seconds - self.used_seconds

    def wait(self, share: float) -> float:
        """Return the wait that `share` (0 to 1) of all callers have at most; most often 0."""
        return quantile(self.waits, share, self.granted + self.timeouts - len(self.waits))

    def reply(self, share: float) -> float:
        """Return the seconds from arrival to reply that `share` of those served have at most."""
        return quantile(self.replies, share)

    def longer(self, wait: float) -> float:
        """Return the share of all callers whose wait is longer than this."""
        ordered = sorted(self.waits)
        callers = self.granted + self.timeouts
        return (len(ordered) - bisect_left(ordered, math.nextafter(wait, math.inf))) / callers if callers else 0.0


def quantile(values: Iterable[float], share: float, zeros: int = 0) -> float:
    """Return the value that `share` of all are at or below; `zeros` values of 0 count besides."""
    ordered = sorted(values)
    place = math.ceil(share * (zeros + len(ordered))) - zeros
    return ordered[place - 1] if place >= 1 else 0.0


class Call:
    """One attempt of a caller: when it came, and what is left for it to do."""

    __slots__ = ("caller", "hold", "lease", "retries", "since")

    def __init__(self, caller: Caller, hold: float, since: float, retries: int) -> None:
        self.caller = caller
        self.hold = hold
        self.since = since
        self.retries = retries
        self.lease = 0


class Simulator:
    """One pool with callers and a server; `run` it once.

    Args:
        config: the pool's options
        server: what takes the calls and the connects
        seed: of the pool's own chance
        manner: how callers behave
        connect: seconds that a connect takes
        connect_budget: seconds that one may take at most, as the pool cuts it then
        warm: whether all connections are open from the beginning, and stay
        keep_replies: whether the outcome has the time of each reply
        stop_above: `(wait, callers)`: stop once more callers than that have waited longer

    """

    def __init__(
        self,
        config: PoolConfig,
        server: Server | None = None,
        *,
        seed: int = 0,
        manner: Manner | None = None,
        connect: float = 0.005,
        connect_budget: float = math.inf,
        warm: bool = False,
        keep_replies: bool = False,
        stop_above: tuple[float, int] | None = None,
    ) -> None:
        self.core = self.make_core(config, Random(f"pool {seed}"), connect_budget)
        self.server: Server = Parallel() if server is None else server
        self.manner = Manner() if manner is None else manner
        self._plain = self.manner == Manner()  # each caller waits for its reply, however long
        self._connect = connect
        self._keep_replies = keep_replies
        self._stop_above = stop_above
        self._due: list[tuple[float, int, Slot | None, Event | Call]] = []
        self._numbers = itertools.count()
        self._open, self._open_since = 0, 0.0
        self._outcome = Outcome(0.0)
        if warm:
            self._warm_up(config.max_connections)

    # -- for those that derive ---------------------------------------------------------------------------------------

    def make_core(self, config: PoolConfig, random: Random, connect_budget: float) -> PoolCore:
        """Return the core that decides."""
        return PoolCore(config, 0.0, random, connect_budget)

    def ask(self, _caller: Caller, now: float) -> Slot | Ticket:
        """Ask the core for a connection for this caller."""
        return self.core.acquire(now)

    def after(self, now: float, seconds: float, do: Event) -> None:
        """Have something done in so many seconds."""
        heapq.heappush(self._due, (now + seconds, next(self._numbers), None, do))

    def every(self, seconds: float, do: Event) -> None:
        """Have something done again and again."""

        def again(now: float) -> None:
            do(now)
            self.after(now, seconds, again)

        self.after(0.0, seconds, again)

    # -- the run -----------------------------------------------------------------------------------------------------

    def run(self, callers: Iterable[Caller], seconds: float) -> Outcome:
        """Let so much time pass, with callers that come in this order, and return what became of them."""
        outcome = self._outcome
        outcome.seconds = seconds
        core, due, pop = self.core, self._due, heapq.heappop
        coming = iter(callers)
        caller = next(coming, None)
        arrives = math.inf if caller is None else caller.at
        while not outcome.stopped:
            happens = due[0][0] if due else math.inf
            now = min(arrives, happens, core.wake_at)
            if now > seconds:
                break
            if happens == now:
                _, _, slot, what = pop(due)
                if slot is not None:
                    self._release(slot, what, now)  # type: ignore[arg-type]  # a slot comes with a call
                else:
                    what(now)  # type: ignore[operator]  # without one it is an event
            elif core.wake_at <= now:
                core.tick(now)
            else:
                assert caller is not None
                self._arrive(caller, caller.hold, self.manner.retries, now)
                caller = next(coming, None)
                arrives = math.inf if caller is None else caller.at
            if core.outbox:
                self._carry_out_all(now)
        return self._end(now if outcome.stopped else seconds)

    def _end(self, now: float) -> Outcome:
        outcome = self._outcome
        outcome.seconds = now
        self._count_open(0, now)
        outcome.used_seconds += sum(now - slot.since for slot in self.core.leased())
        outcome.timeouts += len(self.core.queue)  # their waits have no end yet
        for ticket in self.core.queue:
            self._note_wait(now - ticket.since, now)
        return outcome

    # -- callers -----------------------------------------------------------------------------------------------------

    def _arrive(self, caller: Caller, hold: float, retries: int, now: float) -> None:
        self._outcome.attempts += 1
        call = Call(caller, hold, now, retries)
        got = self.ask(caller, now)
        if type(got) is Slot:
            self._use(got, call, now)
            return
        if self.core.shedding is not None:  # as both shells do
            self.core.bound(got, now + self.manner.deadline, now)
        if got.state is TicketState.WAITING or got.state is TicketState.GRANTED:
            got.borrower = got.waker = call
            if self.manner.deadline < math.inf:
                self.after(now, self.manner.deadline, lambda now: self._give_up(got, call, now))
        else:
            self._fail(got, call, now)

    def _use(self, slot: Slot, call: Call, now: float) -> None:
        self._outcome.granted += 1
        slot.needs_validation = None
        call.lease = slot.lease
        end = self.server.through(now, call.hold)
        if not self._plain:
            late = min(call.since + self.manner.deadline, now + self.manner.socket_timeout)
            if end > late:
                heapq.heappush(self._due, (late, next(self._numbers), None, lambda now: self._cut(slot, call, now)))
                return
        heapq.heappush(self._due, (end, next(self._numbers), slot, call))

    def _release(self, slot: Slot, call: Call, now: float) -> None:
        outcome = self._outcome
        outcome.served += 1
        outcome.used_seconds += now - slot.since
        if self._keep_replies:
            outcome.replies.append(now - call.since)
            outcome.replied_at.append(now)
        self.core.release(slot, now)
        if call.caller.then is not None:
            self._go_on(call, now)

    def _cut(self, slot: Slot, call: Call, now: float) -> None:
        """End a call whose reply came too late: the connection is no good any more."""
        self._outcome.lost += 1
        self._outcome.used_seconds += now - slot.since
        self.core.release(slot, now, Reason.ERROR)
        self._try_again(call, now)

    def _go_on(self, call: Call, now: float) -> None:
        step = None if call.caller.then is None else next(call.caller.then, None)
        if step is not None:
            pause, hold = step
            self.after(now, pause, lambda now: self._arrive(call.caller, hold, self.manner.retries, now))

    def _give_up(self, ticket: Ticket, call: Call, now: float) -> None:
        if ticket.state is TicketState.WAITING:
            self.core.give_up(ticket, now, timed_out=True)
            self._fail(ticket, call, now)

    def _fail(self, ticket: Ticket, call: Call, now: float) -> None:
        """Note that a caller got no connection."""
        if ticket.state is TicketState.REJECTED:
            self._outcome.rejected += 1
        else:
            self._outcome.timeouts += 1
            self._note_wait(now - ticket.since, now)
        self._try_again(call, now)

    def _try_again(self, call: Call, now: float) -> None:
        if call.retries:
            self.after(now, self.manner.pause, lambda now: self._arrive(call.caller, call.hold, call.retries - 1, now))
        else:
            self._go_on(call, now)

    def _woken(self, ticket: Ticket, now: float) -> None:
        call = ticket.waker
        if call is None:
            return  # of `warm_up`
        if ticket.slot is None:
            self._fail(ticket, call, now)
            return
        self._note_wait(now - ticket.since, now)
        self._use(ticket.slot, call, now)

    def _note_wait(self, wait: float, now: float) -> None:
        outcome = self._outcome
        outcome.waits.append(wait)
        outcome.waited_at.append(now)
        if self._stop_above is not None and wait > self._stop_above[0]:
            left = self._stop_above[1] - 1
            self._stop_above = (self._stop_above[0], left)
            outcome.stopped = left < 0

    # -- connections -------------------------------------------------------------------------------------------------

    def _warm_up(self, connections: int) -> None:
        self.core.warm_up(connections, 0.0, math.inf)
        self.core.idle.max_idle_time = math.inf
        while self.core.outbox:
            for action in self.core.take_actions():
                if isinstance(action, Connect) and self.core.begin_connect(action.slot, 0.0):
                    self._connected(action.slot, action.slot.attempt, 0.0)

    def _connected(self, slot: Slot, attempt: int, now: float) -> None:
        if slot.attempt == attempt and slot.state is State.CONNECTING:
            self._outcome.connects += 1
            self._count_open(1, now)
            self.core.connected(slot, slot, now)

    def _count_open(self, more: int, now: float) -> None:
        outcome = self._outcome
        outcome.open_seconds += self._open * (now - self._open_since)
        self._open += more
        self._open_since = now
        outcome.peak = max(outcome.peak, self._open)
        if more:
            outcome.open.append((now, self._open))

    def _carry_out_all(self, now: float) -> None:
        while self.core.outbox:
            for action in self.core.take_actions():
                if type(action) is Wake:
                    self._woken(action.ticket, now)
                else:
                    self._carry_out(action, now)

    def _carry_out(self, action: AnyAction, now: float) -> None:
        match action:
            case Connect(slot):
                if self.core.begin_connect(slot, now):
                    attempt, seconds = slot.attempt, self.server.connected(now, self._connect) - now
                    self.after(now, seconds, lambda now: self._connected(slot, attempt, now))
            case CutConnect(slot):
                if slot.state is State.CONNECTING:
                    self.core.connect_failed(slot, TimeoutError("the connect took too long"), now)
            case Validate(slot):
                if self.core.begin_validation(slot):
                    self.after(now, self._connect, lambda now: self.core.validated(slot, True, now))
            case Close(slot):
                self._count_open(-1, now)
                self.core.closed_connection(slot, now)
            case _:
                pass  # no call here has a deadline of the core's, and none leaks
