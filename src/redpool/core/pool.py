"""The pool's decisions: who gets which connection, who waits; what is to be connected, validated or closed, and when.

`redpool.core` has the theory of operation. Each method takes `now`, changes state, returns the caller's outcome and
leaves actions in the outbox. `tick` is due at `wake_at`: that is the whole contract on time.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from random import Random

from ..errors import PoolClosed, PoolFull, PoolOverloaded, PoolTimeout
from . import policy, repair, stats
from .actions import (
    AnyAction,
    Close,
    Connect,
    CutCall,
    CutConnect,
    Holder,
    Note,
    ReportLeak,
    ReportWait,
    Validate,
    Wake,
)
from .config import MOST_CONNECTIONS, PoolConfig, refuse_to_resize, whole_number
from .connector import Connector, Demand, Failure, own_copy
from .counters import Counters
from .histogram import GATHER, Distributions
from .idle import IdleSet
from .long_waits import MOST_HOLDERS, LongWaits
from .recent import RecentUses
from .record import MOST_ENDED, Basics, Record
from .retry_budget import RetryBudget
from .shedding import Shedding
from .sizing import LOOKS_BACK, SHRINKS_EVERY, Sizing
from .slot import Borrower, Callsite, Connection, Granted, Reason, Slot, State
from .stats import CallerClass, PoolStats
from .validation import Validation
from .waiters import Ticket, TicketState, WaitQueue

# Looking a member up in its Enum costs more than the rest of a checkout's bookkeeping.
_EMPTY, _IDLE = State.EMPTY, State.IDLE
_LEASED, _CLOSING = State.LEASED, State.CLOSING

_NEVER = math.inf
# The generation of a connection whose replacement is open already: it is retired.
_REPLACED = -1


class PoolCore:
    """One pool, without a socket, a thread, a loop or a clock."""

    # CPython finds these sooner than so many in a dictionary: it shares the keys of fewer than 30 among instances.
    __slots__ = (
        "_arrived",
        "_idle",
        "_idle_since",
        "_leases",
        "_pick",
        "_ping_after",
        "_random",
        "_recent",
        "_tickets",
        "_validate_after",
        "_waits",
        "asked",
        "available_at",
        "closed",
        "closed_at",
        "closing",
        "config",
        "connector",
        "counters",
        "empty",
        "expired",
        "generation",
        "granted",
        "idle",
        "inconsistent",
        "leak_after",
        "long_waits",
        "max_connections",
        "min_idle",
        "outbox",
        "queue",
        "recorder",
        "refused_at",
        "resting",
        "retry_budget",
        "shedding",
        "sizing",
        "slots",
        "steady",
        "surplus",
        "tries_again",
        "validation",
        "wake_at",
    )

    def __init__(self, config: PoolConfig, now: float, random: Random, connect_budget: float = _NEVER) -> None:
        self.config = config
        self.asked = config.max_connections  # what its user allows
        self.granted = MOST_CONNECTIONS if config.budget is None else 0  # its share of a budget
        self.max_connections = min(self.asked, self.granted)
        self.generation = 0
        self.closed = False  # shut down
        self.closed_at = -_NEVER  # when it was last closed, or all was disconnected
        self.resting = False  # closed until a caller asks: connects nothing by itself
        self.inconsistent = False  # a transaction, or the carrying out of its actions, was interrupted: `repair` is due
        self.wake_at = now if config.min_idle else _NEVER
        self.outbox: list[AnyAction] = []
        self.counters = Counters(now)
        self.recorder = self.counters.use  # by what else it does
        self.retry_budget = RetryBudget()
        self.tries_again = False  # whether a policy does so with late commands: the connections', or a cluster's

        self.queue = WaitQueue()
        self.idle = IdleSet(config, random)
        self.validation = Validation(config)
        self.connector = Connector(config, connect_budget, random)

        # `None` where none is turned away before its time.
        self._recent = recent = RecentUses(self.counters.use)
        self.shedding = Shedding(recent, now) if config.shed else None
        # `None` where the pool doesn't size itself.
        self.sizing = None if config.limits is None else Sizing(config.limits, recent, now)
        if self.sizing is not None:
            self.sizing.share(self.granted, 0)  # without a share of its budget it must not grow

        self.slots = [Slot() for _ in range(self.max_connections)]
        self.empty = list(self.slots)
        self.closing: set[Slot] = set()
        # Idle or in use beyond their lifetime, waiting for a replacement.
        self.expired: OrderedDict[Slot, None] = OrderedDict()
        # These two are set by `_update_steady` alone.
        self.surplus = False  # more slots than allowed, those that are closing already left aside
        self.steady = True  # neither shut down nor with a surplus: what comes back in order may stay

        self.min_idle = config.min_idle  # 0 while it is resting
        self.leak_after = _NEVER if config.leak_after is None else config.leak_after
        self.long_waits = None if config.warn_wait is None else LongWaits(config.warn_wait)
        self.available_at = -_NEVER  # when a caller last got a connection
        self.refused_at = -_NEVER  # when connections were last replaced since a replica had refused a write
        self._random = random

        # What a checkout and a release look up, without the way there; none of these is ever replaced by another.
        self._leases = self.recorder.leases  # in place of `recorder.end`
        self._waits = self.counters.wait.gathered  # in place of `counters.wait.add`
        self._arrived = self.recorder.arrived
        self._tickets = self.queue.tickets  # in place of `len(queue)` and `queue.leave`
        self._idle = self.idle.slots  # in place of `idle.take` and `idle.put`
        self._idle_since = self.idle.since  # kept in step with `_idle`
        self._pick = self.idle.pick
        self._validate_after = self.validation.validate_after
        self._ping_after = self.validation.ping_after

    # -- checkout and release ----------------------------------------------------------------------------------------

    def acquire(self, now: float) -> Slot | Ticket:
        """Return a leased slot, or a ticket: one that waits, or one that has ended already (full, closed, never waits).

        Where the slot `needs_validation`, the caller validates and calls `reject_at_checkout` if it is no good.
        """
        idle = self._idle
        if not idle:
            return self._join_queue(now)
        slot = idle.pop() if self._pick is None else self.idle.take_at(self._pick(len(idle)))
        self._idle_since.pop()
        rest = now - slot.verified_at
        slot.needs_validation = None if rest < self._validate_after else "ping" if rest >= self._ping_after else "peek"
        slot.lease += 1
        slot.state = _LEASED
        slot.since = self.available_at = now
        if self.min_idle and len(self._idle_since) < self.min_idle:
            self.wake_by(now + self.connector.patience)  # unless it is back by then
        return slot

    def release(self, slot: Slot, now: float, fault: Reason | None = None) -> None:
        """End the lease. With a `fault` the connection must not be used again."""
        slot.taken = None
        since, leases = slot.since, self._leases
        leases.append(since)
        leases.append(now - since)
        if len(leases) >= MOST_ENDED:
            self._sort_in(now)
        if fault is not None or not self.steady or slot.generation != self.generation or now >= slot.expires_at:
            self._release_to_close(slot, now, fault)
        elif self._tickets:
            self._grant(slot, now)
        else:
            slot.state = _IDLE
            slot.verified_at = now
            self._idle.append(slot)
            self._idle_since.append(now)

    def _sort_in(self, now: float) -> None:
        """Sort in what was gathered of arrivals and leases."""
        self.recorder.sort_in()
        if now >= self.recorder.sample_at:
            self.recorder.sample(self.slots, self.queue, now)

    def release_to_validate(self, slot: Slot, now: float) -> None:
        """End the lease; what it leaves behind on the connection has to be cleared away first."""
        self.recorder.end(slot.since, now)
        slot.taken = None
        if self._may_stay(slot, now):
            self.idle.set_aside_returned(slot, now)
            self._order_validation(slot)
        else:
            self._close(slot, self._why_ended(slot, now), now)
        self._grow(now)

    def release_closed(self, slot: Slot, now: float, fault: Reason) -> Close:
        """End the lease of a connection that was closed: its slot is free at once. Return what is to be reported."""
        self.recorder.end(slot.since, now)
        closed = self._end_closed(slot, self._why_ended(slot, now) if self.closed else fault, now)
        if self._idle:
            self.validation.suspect(self._idle, now)
        self._grow(now)
        return closed

    def reject_at_checkout(self, slot: Slot, now: float) -> Close:
        """End the lease of a caller that has found its connection no good and closed it; it acquires again.

        Return what is to be reported.
        """
        self.recorder.end(slot.since, now)
        asked_at = slot.since if slot.since - slot.verified_at >= self._ping_after else None
        closed = self._end_closed(slot, Reason.INVALID, now)
        if asked_at is not None:
            self._validate_others(asked_at, now)
        if self._idle:
            self.validation.suspect(self._idle, now)
        self._grow(now)
        return closed

    def give_up(self, ticket: Ticket, now: float, timed_out: bool = False) -> Slot | None:
        """Have the caller wait no more. Where a grant was faster, return its slot, which is the caller's to release."""
        if ticket.state is not TicketState.WAITING:
            return ticket.slot
        if timed_out:
            self._time_out(ticket, now)
        else:
            self.queue.leave(ticket, TicketState.GIVEN_UP)
        return None

    def reclaim(self, now: float) -> None:
        """Take back each lease whose connection was collected, where word of it was lost."""
        for slot in self.slots:
            if slot.state is not _LEASED or slot.connection is not None or slot.reference is None:
                continue
            if slot.reference() is None:
                self.leaked(slot, now)

    def leaked(self, slot: Slot, now: float) -> None:
        """End a lease whose connection was collected: its caller has dropped it without releasing it."""
        if slot.leak_reported_for != slot.lease:
            self.report_dropped(slot, slot.since, slot.caller, slot.taken, now)
        self.release(slot, now, Reason.LEAKED)

    def report_dropped(self, slot: Slot, since: float, borrower: Borrower, taken: Callsite, now: float) -> None:
        """Report that a lease was dropped by its borrower, which took it there and then.

        Where the pool was closed meanwhile, the borrower is at its end as well.
        """
        over = self.closed or since <= self.closed_at
        self._report_leak(ReportLeak(slot, now - since, borrower, taken, dropped=True, over=over))

    def may_send_again(self, answered: int = 0) -> bool:
        """Return whether a command whose reply was late may be sent again; it is taken for sent where it may.

        So many commands were `answered` in time over shared connections. Where no policy tries again, nothing is
        bounded.
        """
        if not self.tries_again:
            return True
        counters = self.counters
        return self.retry_budget.take(answered + counters.use.count - counters.closed[Reason.ERROR])

    def _report_leak(self, leak: ReportLeak) -> None:
        self.counters.leaks += 1
        self.outbox.append(leak)

    def _join_queue(self, now: float) -> Ticket:
        timeout = self.config.timeout
        ticket = Ticket(now, _NEVER if timeout is None else now + timeout, self.connector.retries)
        self._note_arrival(now)
        if self.resting:
            self._serve_again(now)
        servable = self._servable
        if (self.closed or self.connector.last_error is not None) and self._reject_at_once(ticket, now):
            pass
        elif self.config.max_waiting is not None and servable <= -self.config.max_waiting:
            self._reject(ticket, PoolFull(f"{self.config.name}: the queue is full: {self.counts(now)}"))
        elif timeout == 0 and servable <= 0:
            self._time_out(ticket, now)
        else:
            if timeout == 0:  # the caller that never waits in a queue still waits for the connect made for it
                ticket.deadline = now + self.connector.budget
            if self.shedding is not None and not self._tickets:
                self.shedding.queue_begins()
            self.queue.join(ticket, now)
            self._wake_for(ticket)
            self._grow(now)
        return ticket

    def _note_arrival(self, now: float) -> None:
        """Record that a caller has come that finds no idle connection; and what is known of the others."""
        self._arrived.append(now)
        if len(self._arrived) >= GATHER:
            self._sort_in(now)
        elif now >= self.recorder.sample_at:
            self.recorder.sample(self.slots, self.queue, now)

    def _wake_for(self, ticket: Ticket) -> None:
        """Have `tick` be due when a wait that begins is to be ended, or reported."""
        self.wake_by(ticket.deadline)
        if self.long_waits is not None:
            self.wake_by(ticket.since + self.long_waits.warn_wait)

    def bound(self, ticket: Ticket, end: float, now: float) -> None:
        """Take note that a caller that has just joined must be done by `end`; turn it away where it can't be.

        None is turned away where a connection may be free for it without a release, or where it is the only one.
        """
        ticket.end = end
        if self.shedding is not None and ticket in self._tickets and self._servable < 0:
            self._turn_away(self.shedding, ticket, len(self._tickets) - 1, now)

    def _turn_away(self, shedding: Shedding, ticket: Ticket, ahead: int, now: float) -> None:
        """Turn the last of those that wait away where it can't be served in time, with so many `ahead` of it."""
        if ahead and shedding.comes_too_late(ahead, self.in_use, ticket, now):
            self.queue.leave(ticket, TicketState.REJECTED, self._overloaded("it would wait for too long", now))

    def _overloaded(self, why: str, now: float) -> PoolOverloaded:
        assert self.shedding is not None
        self.shedding.shed += 1
        return PoolOverloaded(f"{self.config.name}: overloaded: {why}: {self.counts(now)}")

    def _shed_first(self, now: float) -> None:
        """Turn those away, where callers are shed, that are not to get the connection that is free for the first."""
        if self.shedding is not None:
            self._shed(self.shedding, self._tickets, now)

    def _shed(self, shedding: Shedding, waiting: Mapping[Ticket, None], now: float) -> None:
        """Turn those away whose turn comes and that have waited too long, or can't be done in time; never the last."""
        while len(waiting) > 1:
            first = next(iter(waiting))
            waited = now - first.since
            if shedding.turn_comes(waited, now):
                why = f"the queue stands, and this caller has waited {waited:.3f} s"
            elif first.end - now < shedding.usual_use:
                why = f"{max(0.0, first.end - now):.3f} s are left of its deadline, after {waited:.3f} s"
            else:
                return
            self._end_wait(first, TicketState.REJECTED, self._overloaded(why, now))

    def _reject_at_once(self, ticket: Ticket, now: float) -> bool:
        """Reject a caller for which nothing is connected, now or ever. Return whether that is so."""
        rejection, failure = self.rejection(now), None
        if rejection is not None:
            self._reject(ticket, rejection)
        elif (failure := self.failure_in_pause(now)) is not None:
            self.queue.leave(ticket, TicketState.REJECTED, failure)
        return rejection is not None or failure is not None

    @property
    def _servable(self) -> int:
        """How many slots may serve one more caller without a release; below zero, how many wait for one."""
        slots = len(self.empty) + len(self.connector.slots) + len(self.idle.validating) + len(self.closing)
        return slots - len(self._tickets)

    @property
    def crowded(self) -> bool:
        """Whether callers wait that only a release can serve."""
        return self._servable < 0

    def claims(self, now: float) -> bool:
        """Return whether callers wait to which the pool is to leave what it keeps open for all: no slot is added soon.

        A pool that sizes itself adds slots for them first, while that pays. This may be asked without the guard.
        """
        stalled_since = max(self.queue.since, self.available_at)
        if self.max_connections < self.most_connections and now < stalled_since + policy.MOST_PATIENCE:
            return False
        return self.crowded

    @property
    def most_connections(self) -> int:
        """The most connections that are ever allowed, as things stand."""
        return self.max_connections if self.sizing is None else self.sizing.high

    @property
    def _kept(self) -> int:
        """How many connections are kept for callers that may come, on top of those that were needed of late."""
        return 0

    def _grant(self, slot: Slot, now: float) -> None:
        self._shed_first(now)
        ticket = next(iter(self._tickets))
        ticket.slot = slot  # from here on `repair` would complete it
        slot.borrower = ticket
        ticket.state = TicketState.GRANTED
        slot.lease += 1
        slot.state = _LEASED
        # Its last borrower may have lost it without noticing; one just opened, which had none, is taken as it is.
        slot.needs_validation = None if self._validate_after or slot.connected_at == now else "peek"
        slot.verified_at = self.available_at = now
        self.recorder.granted += 1
        since = Granted(now)
        since.came = ticket.since
        slot.since = since
        del self._tickets[ticket]
        self._waits.append(now - ticket.since)
        if len(self._waits) >= GATHER:
            self.counters.wait.sort_in()
        self.outbox.append(Wake(ticket))  # as `_wake` does

    def _offer(self, slot: Slot, now: float) -> None:
        """Give a good connection to the first waiter, or have it idle."""
        if self._tickets:
            self._grant(slot, now)
        else:
            self.idle.put(slot, now)

    def _release_to_close(self, slot: Slot, now: float, fault: Reason | None) -> None:
        if fault is None and self._may_stay(slot, now):
            self._offer(slot, now)
        else:
            self._close(slot, self._why_ended(slot, now) if self.closed or fault is None else fault, now)
            if fault is Reason.ERROR:
                self.validation.suspect(self._idle, now)
        self._grow(now)

    def _may_stay(self, slot: Slot, now: float) -> bool:
        """Return whether a connection that is in order may be used again."""
        if not self.steady or slot.generation != self.generation:
            return False
        if now < slot.expires_at:
            return True
        self.expired[slot] = None
        # With a slot left, it serves until its replacement is open; without, it makes room.
        return bool(self.empty or self.connector.slots)

    def _why_ended(self, slot: Slot, now: float) -> Reason:
        """Return why it may not."""
        if self.closed:
            return Reason.POOL_CLOSED
        if self.surplus:
            return Reason.SURPLUS
        return Reason.LIFETIME if now >= slot.expires_at else Reason.DRAINED

    # -- the end of a wait -------------------------------------------------------------------------------------------

    def _end_wait(self, ticket: Ticket, state: TicketState, error: BaseException | None = None) -> None:
        """End the wait of a caller that sleeps."""
        self.queue.leave(ticket, state, error)
        self._wake(ticket)

    def _wake(self, ticket: Ticket) -> None:
        self.outbox.append(Wake(ticket))

    def _reject(self, ticket: Ticket, error: BaseException) -> None:
        """Keep the caller from waiting at all."""
        self.queue.leave(ticket, TicketState.REJECTED, error)
        self.counters.rejected += 1

    def _time_out(self, ticket: Ticket, now: float) -> None:
        """End a wait whose time is up: the error says how things stand."""
        if now >= self.recorder.sample_at:
            self.recorder.sample(self.slots, self.queue, now)
        self.queue.leave(ticket, TicketState.TIMED_OUT, self.timeout_error(ticket.since, now))
        self.counters.timeouts += not (ticket.opens or ticket.reconnects)

    def timeout_error(self, since: float, now: float) -> PoolTimeout:
        """Return what a caller gets that has waited since then: it says how things stand."""
        last = self.connector.last_error
        error = PoolTimeout(
            f"{self.config.name}: no connection within {now - since:.3f} s: {self.counts(now)}"
            + (f"; its share of the budget is {self.granted}" if self.granted < self.asked else "")
            + (f"; last connect failed: {last}" if last else "")
        )
        error.__cause__ = last
        return error

    def _pool_closed(self) -> PoolClosed:
        return PoolClosed(f"{self.config.name}: the pool was shut down")

    def rejection(self, now: float) -> BaseException | None:
        """Return why nothing is connected for a caller: the pool was shut down, or the server is given up for now."""
        if self.closed:
            return self._pool_closed()
        return self.connector.not_connecting(now) if self.connector.rejects(bool(self.empty)) else None

    def failure_in_pause(self, now: float) -> BaseException | None:
        """Return what a caller gets that comes in the pause after a failure, where nothing but a connect can serve it.

        Where no slot is left for one, all wait for what is in use.
        """
        connector = self.connector
        if not connector.fails_at_once(now) or not self.empty or self._served_otherwise(now):
            return None
        return connector.last_error_again()

    def _served_otherwise(self, now: float) -> bool:
        return self.connector.serves_sooner(self._comes_back(), self.available_at, now)

    def _comes_back(self) -> bool:
        """Return whether a connection may soon be free: one on lease, or one that is being validated.

        What the pool keeps for itself doesn't come back, nor does a lease that was reported as a leak.
        """
        if self.idle.validating:
            return True
        # What is taken first stands last.
        return self.in_use > 0 and any(slot.may_leak for slot in reversed(self.slots))

    # -- connects ----------------------------------------------------------------------------------------------------

    def _grow(self, now: float) -> None:
        """Let leases connect anew whose turn it is, and order the connects that are needed and allowed.

        It is called after everything that could make a connect necessary or possible.
        """
        if self.closed:
            return
        if self.queue.reconnects:
            self._let_reconnect(now)
        # Most often there is nothing to plan for.
        if self.empty and (
            self._tickets
            or self.queue.warming
            or self.expired
            or len(self._idle_since) < self.min_idle
            or self.connector.failures
        ):
            self._order_connects(now)
        if self.sizing is not None and len(self.queue):
            self._size_up(self.sizing, now)

    def _size_up(self, sizing: Sizing, now: float) -> None:
        """Allow a connection more where callers wait that only a release can serve, and it pays."""
        sizing.due_at = min(sizing.due_at, now + SHRINKS_EVERY)
        oldest = self.queue.oldest_wait(now)
        if (seen := sizing.look(self.max_connections, len(self.connector), oldest, now)) is not None:
            self.outbox.append(Note(sizing.decide(seen, now)))
        while self._lacks_slots and self.max_connections < sizing.high:
            oldest = self.queue.oldest_wait(now)
            why = sizing.why_grow(self.max_connections, oldest, len(self.connector))
            if why is None:
                left = sizing.target - oldest
                self.wake_by(now + max(policy.LEAST_SIZING_TIME, left if left > 0 else sizing.target))
                return
            self._resize_itself(sizing, self.max_connections + 1, why, now)
            self._use_empty(now)

    def _use_empty(self, now: float) -> None:
        """Have callers that wait make use of a slot that was added."""
        if self.empty:
            self._order_connects(now)

    @property
    def _lacks_slots(self) -> bool:
        """Whether no slot is left for a further connect."""
        return not self.empty

    def _size_down(self, sizing: Sizing, now: float) -> None:
        """Allow fewer connections where fewer were needed of late."""
        if len(self.queue) or self.queue.warming:
            sizing.due_at = now + SHRINKS_EVERY
            return
        unneeded = sum(since <= now - LOOKS_BACK for since in self._idle_since)
        busiest = self.open - unneeded
        size = sizing.smaller(self.max_connections, busiest + self._kept, now)
        if size < self.max_connections:
            why = f"{busiest} were in use at the busiest moment of the last {LOOKS_BACK:g} s"
            self._resize_itself(sizing, size, why, now)
        if self.max_connections <= sizing.low:
            sizing.due_at = _NEVER

    def _resize_itself(self, sizing: Sizing, size: int, why: str, now: float) -> None:
        what = sizing.decide(f"{size} connections are allowed in place of {self.max_connections}: {why}", now)
        self._resize(size, now)
        self.outbox.append(Note(what))

    def _order_connects(self, now: float) -> None:
        room = min(len(self.empty), self.connector.room)
        if room <= 0:
            return
        plan = self.connector.plan(self._demand(), room, now)
        self.wake_by(plan.again_at)
        for _ in range(plan.connects):
            slot = self.empty.pop()
            self.connector.order(slot)
            self.outbox.append(Connect(slot))

    def _demand(self) -> Demand:
        queue, waiting = self.queue, len(self._tickets)
        return Demand(
            waiting=waiting,
            queued_since=queue.since,
            newest=next(reversed(self._tickets)).since if waiting else -_NEVER,
            short=self.min_idle - len(self._idle_since),
            warming=max(ticket.opens for ticket in queue.warming) - self.open if queue.warming else 0,
            expired=len(self.expired),
            resting=self.resting,
            comes_back=bool(waiting) and self._comes_back(),
            available_at=self.available_at,
        )

    def begin_connect(self, slot: Slot, now: float) -> bool:
        """Begin a connect that was ordered. Return whether it is still needed."""
        if slot.begun or slot.state is not State.CONNECTING:
            return False  # ordered twice
        if self.closed or self.surplus or len(self.connector) > self.connector.wanted(self._demand()):
            self._free_connecting(slot)
            return False
        self.connector.begin(slot, self.generation, now)
        self.wake_by(slot.connect_deadline)
        return True

    def connected(self, slot: Slot, connection: Connection, now: float) -> None:
        """Take in a new connection: it goes to the first waiter, unless it came too late for any caller."""
        self.counters.connect.add(now - slot.since)
        self.recorder.connects.append((slot.since, now - slot.since))
        self.connector.succeeded(slot, self.counters.connect.mean)
        slot.connection = connection
        slot.connected_at = slot.verified_at = now
        if self.config.max_lifetime is not None:
            slot.expires_at = now + policy.lifetime(self.config.max_lifetime, self.config.lifetime_jitter, self._random)
        if slot.cut:
            # It was through at the last moment, but may have been cut all the same.
            self._close(slot, self._why_ended(slot, now) if self.closed else Reason.ERROR, now)
        elif self.steady and slot.generation == self.generation:
            self.available_at = self.connector.stepped_at = now
            self._offer(slot, now)
            self._replace_expired(now)
            self._end_warming()
        else:
            self._close(slot, self._why_ended(slot, now), now)
        self.wake_by(min(slot.expires_at, now + self.longest_idle_time))
        self._grow(now)

    def connect_failed(
        self,
        slot: Slot,
        error: BaseException,
        now: float,
        retryable: bool = True,
        failure: Failure = Failure.DOWN,
    ) -> None:
        """Tell the longest-waiting caller that the connect failed; all of them where nothing else can serve them.

        Where the error is `retryable`, callers sit through as many failures as they said they would. Of a server that
        is full, callers wait on for what is open, if anything is.
        """
        self._reject_reconnects(error)
        self.connector.failed(slot, error, now, failure, retryable)
        self._free(slot)
        self.counters.connect_failures += 1
        for ticket in (*self._concerned(now), *self.queue.warming):
            if self.connector.ends_wait(ticket):
                self._end_wait(ticket, TicketState.REJECTED, error)
        self._grow(now)

    def abandon_connect(self, slot: Slot, attempt: int, now: float) -> Connection:
        """Free the slot of a connect that was interrupted, which says nothing of the server.

        Return the connection that it has left half-made, if any.
        """
        if slot.state is not State.CONNECTING or slot.attempt != attempt:
            return None  # it was through
        connection = slot.connection
        self._free_connecting(slot)
        self._grow(now)
        return connection

    def _free_connecting(self, slot: Slot) -> None:
        self.connector.forget(slot)
        self._free(slot)

    def _concerned(self, now: float) -> list[Ticket]:
        """Return those in the queue for whom a failed connect is news."""
        waiting = list(self.queue)
        if self.connector.broken or not self._served_otherwise(now):
            return waiting
        # A server that is full still serves what is open; of any other failure one caller is told at a time.
        return [] if self.connector.last_failure is Failure.FULL else waiting[:1]

    def _cut_connect(self, slot: Slot) -> None:
        """Make a connect fail that no caller needs any more, or that takes too long."""
        slot.cut = True
        slot.connect_deadline = _NEVER
        if slot.begun:
            self.outbox.append(CutConnect(slot))

    def _replace_expired(self, now: float) -> None:
        if not self.expired:
            return
        slot, _ = self.expired.popitem(last=False)
        if slot.state is _IDLE:
            self._close_idle(slot, Reason.LIFETIME, now)
        else:
            slot.generation = _REPLACED

    def _end_warming(self) -> None:
        """Tell those for whom enough connections are open."""
        for ticket in self.queue.warmed(self.open):
            self._end_wait(ticket, TicketState.GRANTED)

    # -- leases that connect anew ------------------------------------------------------------------------------------

    # The shell asks before such a connect begins, and answers once when it has ended: `lease_connected`,
    # `lease_connect_failed`, or `give_up_connect` where it was interrupted, which says nothing of the server.

    def ask_to_connect(self, now: float, deadline: float = _NEVER) -> Ticket:
        """Return a ticket that is granted when the lease may connect, perhaps at once; or rejected with the reason."""
        ticket = Ticket(now, min(deadline, now + self.connector.budget), reconnects=True)
        error = self._pool_closed() if self.closed else self.connector.why_not_lease(bool(self.empty), now)
        if error is not None:
            self.queue.leave(ticket, TicketState.REJECTED, error)
            return ticket
        self.queue.join(ticket, now)
        self.wake_by(ticket.deadline)
        self._let_reconnect(now)
        return ticket

    def _let_reconnect(self, now: float) -> None:
        """Let those connect whose turn it is."""
        reconnects = self.queue.reconnects
        while reconnects and self.connector.room > 0:
            ticket = next(iter(reconnects))
            self.wake_by(self.connector.begin_lease(ticket, now))
            self._end_wait(ticket, TicketState.GRANTED)

    def lease_connected(self, ticket: Ticket, now: float) -> None:
        """Note that the lease has its connection: the server is up."""
        if self.connector.end_lease(ticket):
            self.connector.answered()
            self._grow(now)

    def lease_connect_failed(
        self, ticket: Ticket, error: BaseException, now: float, failure: Failure = Failure.DOWN
    ) -> None:
        """Count the failure like that of a slot's connect; those whose turn was next get its error."""
        if not self.connector.end_lease(ticket):
            return
        self.connector.failed(None, error, now, failure)
        self._reject_reconnects(error)
        if self.connector.rejects(bool(self.empty)):
            for waiting in list(self.queue):
                self._end_wait(waiting, TicketState.REJECTED, own_copy(error))
        self._grow(now)

    def give_up_connect(self, ticket: Ticket, now: float) -> None:
        """Have a caller that was interrupted or cancelled, or whose deadline came, wait or connect no more."""
        if ticket.state is TicketState.WAITING:
            self.queue.leave(ticket, TicketState.GIVEN_UP)
        self.connector.end_lease(ticket)
        self._grow(now)

    def _reject_reconnects(self, error: BaseException) -> None:
        """Tell those that wait for their turn that the connect before theirs has failed."""
        for waiting in list(self.queue.reconnects):
            self._end_wait(waiting, TicketState.REJECTED, own_copy(error))

    def sit_through(self, failures: float, tries_again: bool) -> None:
        """Have callers sit through so many failed connects in a row; say whether any policy tries commands again."""
        self.connector.retries, self.tries_again = failures, tries_again

    # -- closing a connection ----------------------------------------------------------------------------------------

    def _close(self, slot: Slot, reason: Reason, now: float) -> None:
        """End the connection in a slot that no component holds."""
        slot.state = _CLOSING
        self.closing.add(slot)
        self._update_steady()
        self.expired.pop(slot, None)
        self.counters.closed[reason] += 1
        self.outbox.append(Close(slot, slot.connection, reason, now - slot.connected_at))

    def _end_closed(self, slot: Slot, reason: Reason, now: float) -> Close:
        """Free the slot of a connection that is closed already. Return the action that needs no carrying out."""
        closed = Close(slot, None, reason, now - slot.connected_at)
        slot.state = _CLOSING  # should this be interrupted, `repair` frees it
        self.expired.pop(slot, None)
        self.counters.closed[reason] += 1
        self._free(slot)
        return closed

    def _close_idle(self, slot: Slot, reason: Reason, now: float) -> None:
        self.idle.remove(slot)
        self._close(slot, reason, now)

    def closed_connection(self, slot: Slot, now: float) -> None:
        """Free the slot of a connection that was closed, as a `Close` has asked for."""
        if slot not in self.closing:
            return  # closed twice
        self.closing.discard(slot)
        self._free(slot)
        self._grow(now)

    def _free(self, slot: Slot) -> None:
        """Have a slot without a connection: it is empty, or one too many."""
        slot.clear()
        slot.state = _EMPTY
        if len(self.slots) > self.max_connections:
            self.slots.remove(slot)
            self._update_steady()
        else:
            self.empty.append(slot)

    def _update_steady(self) -> None:
        """Set `surplus` and `steady` anew, after every change of the slots, of those closing and of the limit."""
        self.surplus = len(self.slots) - len(self.closing) > self.max_connections
        self.steady = not self.closed and not self.surplus

    # -- time --------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due; `wake_at` says when to come back."""
        self.reclaim(now)
        if self.long_waits is not None:
            self._report_long_wait(self.long_waits, now)
        for ticket in self.queue.expired(now):
            self._time_out(ticket, now)
            self._wake(ticket)
        if self.connector.slots or self.connector.leases:
            self._cut_connects(now)
        if self.idle.slots:
            self._look_after_idle(now)
        self._look_after_leases(now)
        if self.sizing is not None and now >= self.sizing.due_at:
            self._size_down(self.sizing, now)
        self.wake_at = self._next_due(now)
        self._grow(now)

    def wake_by(self, when: float) -> None:
        """Have `tick` be due at that time, or sooner."""
        if when < self.wake_at:  # noqa: PLR1730  on the hot path `min` would be a call more
            self.wake_at = when

    @property
    def longest_idle_time(self) -> float:
        """Seconds after which a connection, used or not, may at the soonest be up for something."""
        return max(policy.LEAST_IDLE_TIME, min(self.idle.max_idle_time, self._ping_after, self.leak_after))

    def _report_long_wait(self, long_waits: LongWaits, now: float) -> None:
        """Report those that have waited for `warn_wait`, by the first of them, with who has what they wait for."""
        tickets = long_waits.take(self.queue, now)
        if not tickets:
            return
        holders = [
            Holder(now - slot.since, slot.caller, slot.taken, slot.reference) for slot in self.leased()[:MOST_HOLDERS]
        ]
        counts = {
            "in_use": self.in_use,
            "max_connections": self.max_connections,
            "connecting": len(self.connector),
            "waiting": len(self.queue),
        }
        first, more = tickets[0], len(tickets) - 1
        self.outbox.append(ReportWait(now - first.since, first.borrower, more, counts, tuple(holders)))

    def _cut_connects(self, now: float) -> None:
        """Cut each connect that has used up its own time, so that it can't hold its slot for ever."""
        for slot in self.connector.overdue(now):
            self._cut_connect(slot)
        self.connector.expire_leases(now)

    def _look_after_idle(self, now: float) -> None:
        """Close what was not needed for `max_idle_time`; replace what is beyond its lifetime; validate the others.

        Those beyond their lifetime make room first only where there is none.
        """
        while (excess := self.idle.take_excess(now)) is not None:
            self._close(excess, Reason.IDLE, now)
        for slot in [slot for slot in self.idle if now >= slot.expires_at]:
            if not self._may_stay(slot, now):
                self._close_idle(slot, Reason.LIFETIME, now)
        self._validate_idle(now)

    def _look_after_leases(self, now: float) -> None:
        """Report each lease that is older than `leak_after`, once; cut each call that goes on beyond its deadline.

        By then such a call should have ended by itself.
        """
        if self.leak_after < _NEVER:
            for slot in self.leased():
                if slot.may_leak and now >= slot.since + self.leak_after:
                    slot.keep()
                    self._report_leak(ReportLeak(slot, now - slot.since, slot.caller, slot.taken))
        for slot in self.slots:
            if slot.limited is not None and (limit := slot.limit) is not None and now >= limit.at + policy.CALL_GRACE:
                if slot.cut_call_at == _NEVER:
                    slot.cut_call_at = now + policy.CALL_LAST_GRACE
                elif now >= slot.cut_call_at:
                    slot.limited = None
                    self.outbox.append(CutCall(slot, limit))

    def _next_due(self, now: float) -> float:
        """Return when the next thing is due: always later than `now`.

        What goes idle or on lease from now on is due no sooner than `longest_idle_time`.
        """
        due = [self.queue.next_deadline()]
        if self.long_waits is not None:
            due.append(self.long_waits.due_at(self.queue))
        if not self.is_empty:
            due.append(now + self.longest_idle_time)
        if self.connector.slots or self.connector.leases:
            due.append(self.connector.due_at())
        if self.idle.slots:
            due += [self.idle.excess_at(), self.validation.due_at(self.idle, len(self.idle.validating))]
        if self.sizing is not None and not self.closed:  # else maintenance would come for it without end
            due.append(self.sizing.due_at)
        for slot in self.slots:
            if slot.state is _LEASED and slot.leak_reported_for != slot.lease:
                due.append(slot.since + self.leak_after)
            if slot.limited is not None and (limit := slot.limit) is not None:
                due.append(limit.at + policy.CALL_GRACE if slot.cut_call_at == _NEVER else slot.cut_call_at)
            if slot.expires_at > now:
                due.append(slot.expires_at)
        return min(due)

    # -- validation --------------------------------------------------------------------------------------------------

    def set_aside(self, slot: Slot, begun: bool = True) -> bool:
        """Keep an idle connection from callers until `validated` is called. Return whether it was idle."""
        return self.idle.set_aside(slot, begun)

    def begin_validation(self, slot: Slot) -> bool:
        """Begin a validation that was ordered. Return whether it is still to be made."""
        wanted = slot in self.idle.validating and not slot.begun
        slot.begun = True
        return wanted

    def validated(self, slot: Slot, ok: bool, now: float) -> None:
        """Take note that a connection was validated in the background, and how that went."""
        if slot not in self.idle.validating:
            return  # validated twice
        idle_since = self.idle.validated(slot)
        if not ok:
            self._close(slot, Reason.INVALID, now)
            self._validate_others(slot.since, now)
            self.validation.suspect(self._idle, now)
        elif not self._may_stay(slot, now):
            self._close(slot, self._why_ended(slot, now), now)
        elif self._tickets:
            self._grant(slot, now)
        else:
            self.idle.put_oldest(slot, idle_since, now)
            self.wake_by(max(now + policy.LEAST_IDLE_TIME, idle_since + self.idle.max_idle_time))
        self._validate_idle(now)
        self._grow(now)

    def _validate_idle(self, now: float) -> None:
        self._validate(self.validation.due(self.idle, len(self.idle.validating), now), now)

    def _validate_others(self, asked_at: float, now: float) -> None:
        self._validate(self.validation.others(self.idle, asked_at, now), now)

    def _validate(self, slots: Iterable[Slot], now: float) -> None:
        for slot in slots:
            self.idle.set_aside(slot, begun=False)
            slot.since = now
            self._order_validation(slot)

    def _order_validation(self, slot: Slot) -> None:
        self.outbox.append(Validate(slot))

    # -- the whole pool ----------------------------------------------------------------------------------------------

    def warm_up(self, opens: int, now: float, deadline: float) -> Ticket:
        """Return a ticket that is granted when `opens` connections are open, or rejected with what a connect raised."""
        most, limit = self._most_asked, "max_connections" if self.config.limits is None else "limits[1]"
        if whole_number("n", opens, at_least=0) > most:
            raise ValueError(f"n={opens!r} is more than {limit}={most!r}")
        ticket = Ticket(now, deadline, opens=opens)
        if self.closed:
            self._reject(ticket, self._pool_closed())
        elif self.open >= opens:
            self.queue.leave(ticket, TicketState.GRANTED)
        elif self.connector.denials and self.connector.in_pause(now):  # the next connect may be long in coming
            self.queue.leave(ticket, TicketState.REJECTED, self.connector.last_error_again())
        else:
            self._serve_again(now)
            if self.sizing is not None:
                self._size_for_warm_up(self.sizing, ticket, now)
            self.queue.join(ticket, now)
            self.wake_by(deadline)
            self._grow(now)
        return ticket

    def _size_for_warm_up(self, sizing: Sizing, ticket: Ticket, now: float) -> None:
        """Allow as many connections as are to be open, as far as the limits and the share go; without one it waits."""
        size = min(ticket.opens, sizing.high)
        if size > self.max_connections:
            self._resize_itself(sizing, size, f"warm_up({ticket.opens}) asks for them", now)
            sizing.due_at = min(sizing.due_at, now + SHRINKS_EVERY)
            self.wake_by(sizing.due_at)
        ticket.opens = size or ticket.opens

    def resize(self, max_connections: int, now: float) -> None:
        """Allow so many connections; what is open beyond that closes, idle ones now, used ones as they come back."""
        whole_number("max_connections", max_connections, at_least=max(1, self.config.min_idle))
        refuse_to_resize(self.config, max_connections)
        self.asked = min(max_connections, MOST_CONNECTIONS)
        self._resize(min(self.asked, self.granted), now)
        self._grow(now)

    def share(self, granted: int, now: float) -> None:
        """Allow no more than this share of a budget, whatever the pool's own options allow."""
        self.granted = granted
        sizing = self.sizing
        size = min(self.asked, granted) if sizing is None else sizing.share(granted, self.max_connections)
        if size != self.max_connections:
            self._resize(size, now)
            self._grow(now)

    @property
    def may_hold(self) -> int:
        """The most connections that may be open before the share is changed, those being connected or closed, too.

        Another thread may look: `share` lowers `granted` before all else, and what is beyond that only becomes fewer.
        """
        granted = self.granted
        slots = len(self.slots)
        return max(granted, slots - len(self.empty))

    def wants(self, now: float) -> int:
        """Return how many connections could be used: one more than were in use at the busiest moment of late."""
        unneeded = sum(since <= now - LOOKS_BACK for since in self._idle_since.copy())
        wanted = len(self.slots) - len(self.empty) - unneeded + len(self.queue) + 1
        return min(self._most_asked, max(self.min_idle, wanted))

    @property
    def _most_asked(self) -> int:
        """The most connections that the pool's user allows, whatever its share of a budget is."""
        return self.asked if self.config.limits is None else self.config.limits[1]

    def _resize(self, max_connections: int, now: float) -> None:
        self.counters.capacity_changes(self.max_connections, now)
        self.max_connections = max_connections
        added = [Slot() for _ in range(max_connections - len(self.slots))]
        self.slots += added
        self.empty += added
        surplus = max(0, len(self.slots) - max_connections)
        unused = set(self.empty[len(self.empty) - min(surplus, len(self.empty)) :])
        self.empty[:] = [slot for slot in self.empty if slot not in unused]
        self.slots[:] = [slot for slot in self.slots if slot not in unused]
        self._update_steady()
        while self.idle.slots and self.surplus:
            self._close(self.idle.take_oldest(), Reason.SURPLUS, now)
        for ticket in self.queue.warming:
            ticket.opens = max(1, min(ticket.opens, max_connections))  # without a share, it waits for one
        self._end_warming()

    def drain(self, now: float) -> None:
        """Replace every connection: a new generation begins, and the old one ends as it comes back."""
        self.connector.try_again()
        self._end_generation(Reason.DRAINED, now)
        self._grow(now)

    def _end_generation(self, reason: Reason, now: float) -> None:
        self.generation += 1
        self.expired.clear()
        self._close_all_idle(reason, now)

    def _close_all_idle(self, reason: Reason, now: float) -> None:
        for slot in list(self.idle):
            self._close_idle(slot, reason, now)

    def refused_write(self, slot: Slot | None, starts_over: bool, now: float) -> bool:
        """Have connections replaced, as the server that was written to is a replica: their name may lead elsewhere now.

        Return whether the one in `slot` is to be replaced. Its borrower connects it anew, and it is new then, where it
        `starts_over`; without a slot, whether all are replaced now. A pool that is meant for a replica is left alone
        for a while.
        """
        if self.closed:
            return False
        if slot is None or slot.generation == self.generation:
            if now < self.refused_at + policy.REPLACED_AGAIN_AFTER:
                return False
            self.refused_at = now
            self.drain(now)
        if slot is not None and starts_over and not self.resting:
            slot.generation = self.generation
        return True

    def close(self, now: float) -> None:
        """Close idle connections now, used ones as they come back; connect nothing until a caller asks.

        Callers that wait have asked: they are served.
        """
        self.closed_at = now
        self.reclaim(now)  # else maintenance would have to find what was dropped unnoticed before all is closed
        if not (len(self.queue) or self.queue.warming):
            self.resting = True
            self.min_idle = 0
        self._end_generation(Reason.POOL_CLOSED, now)
        self.wake_by(now)  # maintenance may have nothing left to do
        self._grow(now)

    def disconnect(self, now: float) -> None:
        """Close the same way; the next caller connects, whatever the last connects have ended with."""
        self.connector.try_again()
        self.close(now)

    def _serve_again(self, now: float) -> None:
        """Have all as before in a pool that was closed: a caller asks."""
        if self.resting:
            self.resting = False
            self.min_idle = self.config.min_idle
            self._grow(now)

    def shutdown(self, now: float) -> None:
        """Lend nothing any more, for good: waiters fail, idle connections close now, used ones as they come back."""
        self.reclaim(now)  # as `close` does
        self.closed = True
        self._update_steady()
        for ticket in (*self.queue, *self.queue.warming):
            self._end_wait(ticket, TicketState.REJECTED, self._pool_closed())
            self.counters.rejected += 1
        for ticket in list(self.queue.reconnects):
            self._end_wait(ticket, TicketState.REJECTED, self._pool_closed())
        self._close_all_idle(Reason.POOL_CLOSED, now)
        for slot in self.connector.slots:
            self._cut_connect(slot)

    # -- repair ------------------------------------------------------------------------------------------------------

    def repair(self, now: float) -> None:
        """Put in order what an exception has interrupted in the midst of a change: see the module `repair`."""
        self.inconsistent = True  # until this is through
        parts = repair.Parts(self.slots, self.empty, self.closing, self.expired, self.idle, self.queue, self.connector)
        self.outbox[:] = repair.known(self.outbox)
        for ticket in repair.rebuild(parts, now):
            self._wake(ticket)
        self.recorder.repair(self.slots)
        self._update_steady()
        self.reclaim(now)
        for slot in self.slots:
            if slot.state is _LEASED and slot.connection is not None:
                self._see_to_lease(slot, now)
        self.outbox += repair.unanswered(parts, self.outbox, now)
        while self.empty and len(self.slots) > self.max_connections:
            self.slots.remove(self.empty.pop())
        self._update_steady()
        while self._tickets and self.idle.slots:
            self._grant(self.idle.take(), now)
        self._grow(now)
        self.wake_at = now
        self.inconsistent = False

    def order_again(self) -> None:
        """Order the connects again that have not begun: what was to carry them out may wait for them, in a handler."""
        self.outbox += [Connect(slot) for slot in self.connector.unbegun]

    def _see_to_lease(self, slot: Slot, now: float) -> None:
        """See to a connection on lease that is in its slot: its caller is about to take it out, or was interrupted.

        That was in a checkout or a release, between the core's decision and what follows from it, both under the guard.
        """
        if isinstance(slot.borrower, Ticket):
            self._wake(slot.borrower)
        else:
            if not self._leases or self._leases[-2] is not slot.since:  # else the release has counted it
                self.recorder.end(slot.since, now)
            self._close(slot, Reason.ERROR, now)

    # -- what can be seen --------------------------------------------------------------------------------------------

    @property
    def in_use(self) -> int:
        """Connections on lease."""
        elsewhere = len(self.empty) + len(self._idle_since) + len(self.connector.slots) + len(self.closing)
        return len(self.slots) - elsewhere

    @property
    def open(self) -> int:
        """Connections idle (or being validated) or in use."""
        return self.idle.ready + self.in_use

    @property
    def is_empty(self) -> bool:
        """Whether no slot holds a connection, not even one being opened or closed."""
        return len(self.empty) == len(self.slots)

    def leased(self) -> list[Slot]:
        """Return the slots on lease, the oldest lease first."""
        return sorted((slot for slot in self.slots if slot.state is _LEASED), key=lambda slot: slot.since)

    def idle_connections(self) -> list[Connection]:
        """Return the connections that a caller could have at once; also for a thread that isn't the loop's."""
        return [slot.connection for slot in list(self.idle.slots)]

    def waiting(self) -> tuple[Ticket, ...]:
        """Return the tickets in the queue, the longest-waiting first."""
        return tuple(sorted(self.queue, key=lambda ticket: ticket.since))

    def caller_classes(self) -> tuple[CallerClass, ...]:
        """Return the classes of callers, where the pool tells them apart."""
        return ()

    def take_actions(self) -> list[AnyAction]:
        """Empty the outbox."""
        actions, self.outbox = self.outbox, []
        return actions

    def counts(self, now: float) -> str:
        """Return the counts for a message: `10 of 10 in use, 37 waiting, oldest lease 12.4 s`."""
        oldest = min((slot.since for slot in self.slots if slot.state is _LEASED), default=now)
        return stats.counts(self.in_use, self.max_connections, len(self.connector.slots), len(self.queue), now - oldest)

    def record(self, now: float) -> Record:
        """Return what the pool was asked for in the last minute."""
        basics = Basics(self.config.name, self.max_connections, self.stats(now).wait.p99, self.counters.timeouts)
        return self.recorder.record(now, self.slots, self.waiting(), basics)

    def distributions(self) -> Distributions:
        """Return how long callers waited and used connections, and how long connects took."""
        counters = self.counters
        at_once = max(0, counters.use.count + len(self.leased()) - counters.wait.count)
        return Distributions(
            counters.wait.distribution(zeros=at_once), counters.use.distribution(), counters.connect.distribution()
        )

    def _leased_for(self, now: float) -> float:
        """Return for how many seconds the leases have lasted so far, all together."""
        in_use = self.in_use
        return in_use * now - sum([slot.since for slot in self.slots if slot.state is _LEASED]) if in_use else 0.0

    def stats(self, now: float) -> PoolStats:
        """Return everything that is counted, at one moment."""
        return stats.summarize(
            self.counters,
            self.in_use,
            self._leased_for(now),
            now,
            name=self.config.name,
            max_connections=self.max_connections,
            idle=self.idle.ready,
            connecting=len(self.connector),
            waiting=len(self.queue),
            oldest_wait=self.queue.oldest_wait(now),
            shed=0 if self.shedding is None else self.shedding.shed,
            retries_refused=self.retry_budget.refused,
        )
