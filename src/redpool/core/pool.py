"""The pool's decisions: who gets which connection, who waits, and what must be opened, checked or closed, and when.

Theory of operation. There are as many slots as there may be connections. A caller who finds an idle slot leaves with
it; any other draws a ticket and waits. Whatever becomes available, by a release, a connect or a check, goes to the
longest-waiting ticket, and becomes idle only where no caller waits: so an idle slot means an empty queue, and no
newcomer can overtake. `growth` is the only place where a connect is ordered, and it is asked after everything that
could make one necessary. `upkeep` is what time brings about.

Each call takes `now`, changes state, returns the caller's outcome and leaves orders in the outbox. It never performs
I/O. `tick` is due at `wake_at`: that is the whole contract on time.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable
from random import Random
from typing import Any

from ..errors import PoolClosed, PoolFull, PoolTimeout
from . import growth, lifecycle, policy, reconnecting, repair, upkeep, validation, view
from .actions import AnyAction, Close, CutConnect, ReportLeak, Wake
from .config import PoolConfig
from .connector import Connector, Failure
from .counters import Counters
from .histogram import GATHER
from .slot import Reason, Slot, State
from .ticket import Ticket, TicketState
from .waiters import Queue

# Looking a member up in its Enum costs more than the rest of a checkout's bookkeeping.
_EMPTY, _IDLE = State.EMPTY, State.IDLE
_LEASED, _CLOSING = State.LEASED, State.CLOSING

_NEVER = math.inf


class PoolCore:
    """One pool, without a socket, a thread, a loop or a clock."""

    def __init__(self, config: PoolConfig, now: float, random: Random, connect_budget: float = _NEVER) -> None:
        self.config = config
        self.max_connections = config.max_connections
        self.generation = 0
        self.closed = False  # shut down
        self.resting = False  # closed until a caller asks: connects nothing by itself
        self.wake_at = now if config.min_idle else _NEVER
        self.outbox: list[AnyAction] = []
        self.counters = Counters(now)
        self._uses = self.counters.use.gathered
        self.queue = Queue()
        self._tickets = self.queue.tickets
        self.connector = Connector(config.max_connecting, connect_budget, config.timeout, random, config.break_after)

        self.slots = [Slot() for _ in range(config.max_connections)]
        self.empty = list(self.slots)
        self.idle: list[Slot] = []
        self.validating: set[Slot] = set()
        self.closing: set[Slot] = set()
        # Idle or in use beyond their lifetime, waiting for a replacement.
        self.expired: OrderedDict[Slot, None] = OrderedDict()
        # When the number of idle (or checking) connections last rose to 1, 2, 3, ...: the oldest entry says since
        # when one of them has not been needed, whichever the order in which they are taken.
        self.idle_since: deque[float] = deque()

        self.random = random
        self._pick = policy.picker(config.order, random)
        self.ping_after = _NEVER if config.ping_after_idle is None else config.ping_after_idle
        self.ping_every = max(self.ping_after, policy.LEAST_IDLE_TIME)
        self.validate_after = min(config.validate_after_idle, self.ping_after)
        self.max_idle_time = _NEVER if config.max_idle_time is None else config.max_idle_time
        self.min_idle = config.min_idle  # 0 while it is resting
        self.leak_after = _NEVER if config.leak_after is None else config.leak_after
        self.steady = True  # neither closed nor shrinking: what comes back in order may stay
        self.available_at = -_NEVER  # when a caller last got a connection
        self.others_asked_at = -_NEVER  # when a PING that went unanswered last had the other idle ones asked
        self.refused_at = -_NEVER  # when connections were last replaced since a replica had refused a write
        self.inconsistent = False  # a change or the carrying out of orders was interrupted: `repair` is due

    # -- checkout and release ------------------------------------------------------------------------------------

    def acquire(self, now: float) -> Slot | Ticket:
        """A leased slot, or a ticket: one that waits, or one that has ended already (full, closed, never waits).

        Where the slot `needs_validation`, the caller validates and calls `reject_at_checkout` if it is no good.
        """
        idle = self.idle
        if not idle:
            return self._join_queue(now)
        slot = idle.pop() if self._pick is None else idle.pop(self._pick(len(idle)))
        self.idle_since.pop()
        rest = now - slot.verified_at
        slot.needs_validation = None if rest < self.validate_after else "ping" if rest >= self.ping_after else "peek"
        slot.state = _LEASED
        slot.since = self.available_at = now
        if self.min_idle and len(self.idle_since) < self.min_idle:
            self.wake_by(now + self.connector.patience)  # unless it is back by then
        return slot

    def release(self, slot: Slot, now: float, fault: Reason | None = None) -> None:
        """The lease ends. With a `fault` the connection must not be used again."""
        slot.taken = None
        uses = self._uses
        uses.append(now - slot.since)
        if len(uses) >= GATHER:
            self.counters.use.sort_in()
        if fault is not None or not self.steady or slot.generation != self.generation or now >= slot.expires_at:
            self._reclaim(slot, now, fault)
        elif self._tickets:
            self._grant(slot, now)
        else:
            slot.state = _IDLE
            slot.verified_at = now
            self.idle.append(slot)
            self.idle_since.append(now)

    def release_to_validate(self, slot: Slot, now: float) -> None:
        """The lease ends; what it leaves behind on the connection has to be cleared away first."""
        self.counters.use.add(now - slot.since)
        slot.taken = None
        if self.may_stay(slot, now):
            validation.validate_returned(self, slot, now)
        else:
            self.close_slot(slot, self.why_ended(slot, now), now)
        self.grow(now)

    def reject_at_checkout(self, slot: Slot, now: float) -> None:
        """An idle connection failed its check at checkout: the lease ends, and the caller acquires again."""
        self.counters.use.add(now - slot.since)
        self.close_slot(slot, Reason.INVALID, now)
        if slot.since - slot.verified_at >= self.ping_after:
            validation.validate_others(self, slot.since, now)
        validation.suspect_all(self, now)
        self.grow(now)

    def give_up(self, ticket: Ticket, now: float, timed_out: bool = False) -> Slot | None:
        """The caller stops waiting. Where a grant was faster, the slot is returned, and is the caller's to release."""
        if ticket.state is not TicketState.WAITING:
            return ticket.slot
        if timed_out:
            self.time_out(ticket, now)
        else:
            self.queue.end(ticket, TicketState.GIVEN_UP)
        return None

    def _join_queue(self, now: float) -> Ticket:
        timeout = self.config.timeout
        ticket = Ticket(now, _NEVER if timeout is None else now + timeout, self.connector.retries)
        self.serve_again(now)
        servable = self._servable
        rejection = self.rejection(now)
        if rejection is not None:
            self.reject(ticket, rejection)
        elif (failure := self.failure_in_pause(now)) is not None:
            self.queue.end(ticket, TicketState.REJECTED, failure)
        elif self.config.max_waiting is not None and servable <= -self.config.max_waiting:
            self.reject(ticket, PoolFull(f"{self.config.name}: the queue is full: {self.counts(now)}"))
        elif timeout == 0 and servable <= 0:
            self.time_out(ticket, now)
        else:
            if timeout == 0:  # the caller that never waits in a queue still waits for the connect made for it
                ticket.deadline = now + self.connector.budget
            self.queue.join(ticket, now)
            self.wake_by(ticket.deadline)
            self.grow(now)
        return ticket

    @property
    def _servable(self) -> int:
        """How many slots may serve one more caller without a release; below zero, how many wait for one."""
        slots = len(self.empty) + len(self.connector) + len(self.validating) + len(self.closing)
        return slots - len(self.queue)

    @property
    def crowded(self) -> bool:
        """Whether callers wait that only a release can serve."""
        return self._servable < 0

    def _grant(self, slot: Slot, now: float) -> None:
        ticket = self.queue.first()
        ticket.slot = slot  # from here on `repair` would complete it
        slot.borrower = ticket
        ticket.state = TicketState.GRANTED
        slot.state = _LEASED
        # Its last borrower may have lost it without noticing; one just opened, which had none, is taken as it is.
        slot.needs_validation = None if self.validate_after or slot.connected_at == now else "peek"
        slot.since = slot.verified_at = self.available_at = now
        del self._tickets[ticket]
        self.counters.wait.add(now - ticket.since)
        self.outbox.append(Wake(ticket))

    def offer(self, slot: Slot, now: float, to_far_end: bool = False) -> None:
        """A good connection is free: it is the longest-waiting caller's, or idle."""
        if self.queue:
            self._grant(slot, now)
            return
        slot.state = _IDLE
        slot.verified_at = now
        self.idle.insert(0 if to_far_end else len(self.idle), slot)
        self.idle_since.append(now)

    def _reclaim(self, slot: Slot, now: float, fault: Reason | None) -> None:
        if fault is None and self.may_stay(slot, now):
            self.offer(slot, now)
        else:
            self.close_slot(slot, self.why_ended(slot, now) if self.closed or fault is None else fault, now)
            if fault is Reason.ERROR:
                validation.suspect_all(self, now)
        self.grow(now)

    def may_stay(self, slot: Slot, now: float) -> bool:
        """Whether a connection that is in order may be used again."""
        if not self.steady or slot.generation != self.generation:
            return False
        if now < slot.expires_at:
            return True
        self.expired[slot] = None
        # With a place left, it serves until its replacement is open; without, it makes room.
        return bool(self.empty or self.connector)

    def why_ended(self, slot: Slot, now: float) -> Reason:
        """Why it may not."""
        if self.closed:
            return Reason.POOL_CLOSED
        if self.surplus:
            return Reason.SURPLUS
        return Reason.LIFETIME if now >= slot.expires_at else Reason.DRAINED

    def reject(self, ticket: Ticket, error: BaseException) -> None:
        """The caller is not even let into the queue."""
        self.queue.end(ticket, TicketState.REJECTED, error)
        self.counters.rejected += 1

    def reject_ticket(self, ticket: Ticket, error: BaseException) -> None:
        """The ticket ends with an error."""
        self.queue.end(ticket, TicketState.REJECTED, error)
        self.outbox.append(Wake(ticket))

    def leaked(self, slot: Slot, now: float) -> None:
        """The connection of a lease was collected: its caller has dropped it without giving it back."""
        if slot.leak_reported_for != slot.since:
            self.report_dropped(slot, now - slot.since, slot.caller, slot.taken)
        self.release(slot, now, Reason.LEAKED)

    def report_dropped(self, slot: Slot, age: float, borrower: Any, taken: Any) -> None:
        """A lease of such an age was dropped by its holder, who took it there."""
        self.counters.leaks += 1
        self.outbox.append(ReportLeak(slot, age, borrower, taken, dropped=True))

    def time_out(self, ticket: Ticket, now: float) -> None:
        """The ticket's time is up: its error says how things stand."""
        self.queue.end(ticket, TicketState.TIMED_OUT, self.timeout_error(ticket.since, now))
        self.counters.timeouts += not (ticket.opens or ticket.reconnects)

    def timeout_error(self, since: float, now: float) -> PoolTimeout:
        """Return what a caller gets that has waited since then: it says how things stand."""
        last = self.connector.last_error
        error = PoolTimeout(
            f"{self.config.name}: no connection within {now - since:.3f} s: {self.counts(now)}"
            + (f"; last connect failed: {last}" if last else "")
        )
        error.__cause__ = last
        return error

    # -- connects -----------------------------------------------------------------------------------------------------

    begin_connect = growth.begin

    connected = growth.finish
    abandon_connect = growth.give_up

    def connect_failed(
        self,
        slot: Slot,
        error: BaseException,
        now: float,
        retryable: bool = True,
        failure: Failure = Failure.DOWN,
    ) -> None:
        """The connect failed: the longest-waiting caller is told, and all of them where nothing else can serve them.

        Where the error is `retryable`, callers sit through as many failures as they said they would. Of a server that
        is full, callers wait on for what is open, if anything is.
        """
        reconnecting.reject_all(self, error)
        growth.fail(self, slot, error, now, retryable, failure)

    def cut_connect(self, slot: Slot) -> None:
        """A connect that no caller needs any more, or that takes too long, is made to fail."""
        slot.cut = True
        slot.connect_deadline = _NEVER
        if slot.begun:
            self.outbox.append(CutConnect(slot))

    def rejection(self, now: float) -> BaseException | None:
        """Why nothing is connected for a caller, if so: the pool was shut down, or the server is given up for now."""
        if self.closed:
            return PoolClosed(f"{self.config.name}: the pool was shut down")
        return growth.not_connecting(self, now) if growth.broken(self) else None

    failure_in_pause = growth.failure_in_pause

    def grow(self, now: float) -> None:
        """Let leases connect anew whose turn it is, and order the connects that are needed and allowed."""
        if not self.closed:
            reconnecting.serve(self, now)
            growth.grow(self, now)

    ask_to_connect = reconnecting.ask
    lease_connected = reconnecting.connected
    lease_connect_failed = reconnecting.failed
    give_up_connect = reconnecting.given_up

    def end_warming(self) -> None:
        """Tell those for whom enough connections are open."""
        for ticket in [ticket for ticket in self.queue.warming if self.open >= ticket.opens]:
            self.queue.end(ticket, TicketState.GRANTED)
            self.outbox.append(Wake(ticket))

    # -- closing a connection --------------------------------------------------------------------------------------

    def close_slot(self, slot: Slot, reason: Reason, now: float) -> None:
        """End the connection in a slot that is in no list."""
        slot.state = _CLOSING
        self.closing.add(slot)
        self.steady = not self.closed and not self.surplus
        self.expired.pop(slot, None)
        self.counters.closed[reason] += 1
        self.outbox.append(Close(slot, slot.connection, reason, now - slot.connected_at))

    def close_idle(self, slot: Slot, reason: Reason, now: float) -> None:
        """End an idle connection."""
        self.idle.remove(slot)
        self.idle_since.pop()
        self.close_slot(slot, reason, now)

    def closed_connection(self, slot: Slot, now: float) -> None:
        """The connection that a Close order named is closed: its place is free."""
        if slot not in self.closing:
            return  # closed twice
        self.closing.discard(slot)
        self.free(slot)
        self.grow(now)

    def free(self, slot: Slot) -> None:
        """The slot has no connection any more: it is empty, or one too many."""
        slot.clear()
        slot.state = _EMPTY
        if len(self.slots) > self.max_connections:
            self.slots.remove(slot)
            self.steady = not self.closed and not self.surplus
        else:
            self.empty.append(slot)

    # -- time ------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due; `wake_at` says when to come back."""
        repair.reclaim(self, now)
        upkeep.end_waits(self, now)
        upkeep.cut_connects(self, now)
        upkeep.shrink(self, now)
        upkeep.renew(self, now)
        validation.validate_idle(self, now)
        upkeep.report_leaks(self, now)
        upkeep.cut_calls(self, now)
        self.wake_at = upkeep.next_deadline(self, now)
        self.grow(now)

    def set_aside(self, slot: Slot, begun: bool = True) -> bool:
        """Keep an idle connection from being handed out until `validated`. False where it isn't idle."""
        return validation.set_aside(self, slot, begun)

    begin_validation = validation.begin
    validated = validation.finish

    def wake_by(self, when: float) -> None:
        """`tick` is due at that time, or sooner."""
        if when < self.wake_at:
            self.wake_at = when

    @property
    def longest_idle_time(self) -> float:
        """Seconds after which a connection, used or not, may at the soonest be up for something."""
        return max(policy.LEAST_IDLE_TIME, min(self.max_idle_time, self.ping_after, self.leak_after))

    # -- the whole pool --------------------------------------------------------------------------------------------

    warm_up = lifecycle.warm_up
    resize = lifecycle.resize
    drain = lifecycle.drain
    close = lifecycle.close
    refused_write = lifecycle.refused_write
    serve_again = lifecycle.serve_again
    disconnect = lifecycle.disconnect
    shutdown = lifecycle.shutdown

    @property
    def surplus(self) -> bool:
        """Whether there are more places than allowed, those that are closing already left aside."""
        return len(self.slots) - len(self.closing) > self.max_connections

    # -- what can be seen ------------------------------------------------------------------------------------------

    @property
    def in_use(self) -> int:
        """Connections on lease."""
        elsewhere = len(self.empty) + len(self.idle) + len(self.connector) + len(self.validating) + len(self.closing)
        return len(self.slots) - elsewhere

    @property
    def open(self) -> int:
        """Connections idle (or being checked) or in use."""
        return len(self.idle_since) + self.in_use

    @property
    def is_empty(self) -> bool:
        """Whether no place holds a connection, not even one being opened or closed."""
        return len(self.empty) == len(self.slots)

    def leased(self) -> list[Slot]:
        """The slots on lease, the longest-held first."""
        return sorted((slot for slot in self.slots if slot.state is _LEASED), key=lambda slot: slot.since)

    def idle_connections(self) -> list[Any]:
        """The connections that a caller could have at once."""
        return [slot.connection for slot in self.idle]

    def waiting(self) -> Iterable[Ticket]:
        """Those in the queue, the longest-waiting first."""
        return tuple(self.queue)

    def take_actions(self) -> list[AnyAction]:
        """Empty the outbox."""
        orders, self.outbox = self.outbox, []
        return orders

    repair = repair.repair
    counts = view.counts
    stats = view.stats
