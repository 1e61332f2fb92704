"""The pool's decisions: who gets which connection, who waits, and what must be opened, checked or closed, and when.

Theory of operation. There are as many slots as there may be connections. A caller who finds an idle slot leaves with
it; any other draws a ticket and waits. Whatever becomes available, by a release, a dial or a check, goes to the
longest-waiting ticket, and becomes idle only where nobody waits: so an idle slot means an empty queue, and no newcomer
can overtake. `_grow` is the only place where a dial is ordered, and it is asked after everything that could make one
necessary.

Each call takes `now`, changes state, returns the caller's outcome and leaves orders in the outbox. It never performs
I/O. `tick` is due at `wake_at`: that is the whole contract on time.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from random import Random
from typing import Any

from ..errors import PoolClosed, PoolFull, PoolTimeout
from . import policy
from .config import PoolConfig, whole_number
from .deadlines import Deadlines
from .histogram import Histogram
from .orders import AnyOrder, Check, Close, CutDial, Dial, ReportLeak, Wake
from .slot import Reason, Slot, State
from .stats import PoolStats
from .ticket import Ticket, TicketState

# Looking a member up in its Enum costs more than the rest of a checkout's bookkeeping.
_EMPTY, _DIALLING, _IDLE = State.EMPTY, State.DIALLING, State.IDLE
_LEASED, _CHECKING, _CLOSING = State.LEASED, State.CHECKING, State.CLOSING

_NEVER = math.inf
# The generation of a connection whose replacement is open already: it ends when it comes back.
_REPLACED = -1


class PoolCore:
    """One pool, without a socket, a thread, a loop or a clock."""

    def __init__(self, config: PoolConfig, now: float, random: Random, dial_budget: float = _NEVER) -> None:
        self.config = config
        self.max_connections = config.max_connections
        self.generation = 0
        self.closed = False
        self.wake_at = now if config.min_idle else _NEVER
        self.last_dial_error: BaseException | None = None
        self.acquired = self.timeouts = self.refused = self.dialed_count = self.dial_failures = self.leaks = 0
        self.closed_by: Counter[Reason] = Counter()

        self.slots = [Slot() for _ in range(config.max_connections)]
        self._empty = list(self.slots)
        self._idle: list[Slot] = []
        self._connecting: set[Slot] = set()
        self._checking: set[Slot] = set()
        self._closing: set[Slot] = set()
        # Idle or in use beyond their lifetime, waiting for a replacement.
        self._outlived: OrderedDict[Slot, None] = OrderedDict()
        # When the number of idle (or checking) connections last rose to 1, 2, 3, ...: the oldest entry says since
        # when one of them has not been needed, whichever the order in which they are taken.
        self._rested: deque[float] = deque()

        self._tickets: OrderedDict[Ticket, None] = OrderedDict()
        self._warming: list[Ticket] = []
        self._deadlines = Deadlines()
        self.outbox: list[AnyOrder] = []

        self._random = random
        self._pick = policy.picker(config.order, random)
        self._check_after = config.check_after_idle
        self._ping_after = _NEVER if config.ping_after_idle is None else config.ping_after_idle
        self._max_idle_time = _NEVER if config.max_idle_time is None else config.max_idle_time
        self._leak_after = _NEVER if config.leak_after is None else config.leak_after
        self._dial_budget = dial_budget

        self._steady = True  # neither closed nor shrinking: what comes back in order may stay
        self._failures = 0  # dials failed in a row
        self._pause_until = -_NEVER
        self._patience = 0.0 if config.timeout == 0 else policy.growth_patience(0.0)
        self._available_at = -_NEVER  # when a caller last got a connection
        self._queued_since = now  # when the queue was last empty
        self._wait, self._use, self._dial = Histogram(), Histogram(), Histogram()
        self._capacity_since = now
        self._capacity = 0.0  # connection-seconds that could have been used, up to _capacity_since

    # -- checkout and release ------------------------------------------------------------------------------------

    def acquire(self, now: float, dial_retries: float = 0) -> Slot | Ticket:
        """A leased slot, or a ticket: one that waits, or one that has ended already (full, closed, never waits).

        Where the slot has a `doubt`, the caller checks the connection and says `reject` if it is no good.
        `dial_retries` is how many failed dials the caller is willing to sit through.
        """
        idle = self._idle
        if not idle:
            return self._join_queue(now, dial_retries)
        slot = idle.pop() if self._pick is None else idle.pop(self._pick(len(idle)))
        self._rested.pop()
        rest = now - slot.verified_at
        if rest >= self._check_after:
            slot.doubt = policy.doubt(rest, self._check_after, self._ping_after)
        slot.state = _LEASED
        slot.since = self._available_at = now
        self.acquired += 1
        return slot

    def release(self, slot: Slot, now: float, fault: Reason | None = None) -> None:
        """The lease ends. With a `fault` the connection must not be used again."""
        self._use.add(now - slot.since)
        if fault is not None or not self._steady or slot.generation != self.generation or now >= slot.expires_at:
            self._take_back(slot, now, fault)
        elif self._tickets:
            self._grant(slot, now)
        else:
            slot.state = _IDLE
            slot.verified_at = now
            self._idle.append(slot)
            self._rested.append(now)

    def reject(self, slot: Slot, now: float) -> None:
        """The connection failed its check at checkout. The caller acquires again; this did not count as a checkout."""
        self.acquired -= 1
        self._close(slot, Reason.CHECK_FAILED, now)
        self._distrust(now)
        self._grow(now)

    def give_up(self, ticket: Ticket, now: float, timed_out: bool = False) -> Slot | None:
        """The caller stops waiting. Where a grant was faster, the slot is returned, and is the caller's to release."""
        if ticket.state is not TicketState.WAITING:
            return ticket.slot
        if timed_out:
            self._time_out(ticket, now)
        else:
            self._forget(ticket)
            ticket.state = TicketState.GIVEN_UP
        return None

    def _join_queue(self, now: float, dial_retries: float) -> Ticket:
        timeout = self.config.timeout
        ticket = Ticket(now, _NEVER if timeout is None else now + timeout, dial_retries)
        # Places that a dial could still fill for one more caller; below zero, how many wait for a release.
        spare = len(self._empty) + len(self._connecting) - len(self._tickets)
        if self.closed:
            self._turn_away(ticket, PoolClosed(f"{self.config.name}: the pool is closed"))
        elif self.config.max_waiting is not None and spare <= -self.config.max_waiting:
            self._turn_away(ticket, PoolFull(f"{self.config.name}: the queue is full: {self.counts(now)}"))
        elif timeout == 0 and spare <= 0:
            self._time_out(ticket, now)
        else:
            if timeout == 0:  # whoever never waits in a queue still waits for the dial made for him
                ticket.deadline = now + self._dial_budget
            if not self._tickets:
                self._queued_since = now
            self._tickets[ticket] = None
            self._deadlines.add(ticket, len(self._tickets))
            self._wake_by(ticket.deadline)
            self._grow(now)
        return ticket

    def _grant(self, slot: Slot, now: float) -> None:
        ticket, _ = self._tickets.popitem(last=False)
        ticket.state = TicketState.GRANTED
        ticket.slot = slot
        slot.state = _LEASED
        slot.since = slot.verified_at = self._available_at = now
        slot.holder = ticket.holder
        self.acquired += 1
        self._wait.add(now - ticket.since)
        self.outbox.append(Wake(ticket))

    def _offer(self, slot: Slot, now: float) -> None:
        if self._tickets:
            self._grant(slot, now)
        else:
            slot.state = _IDLE
            slot.verified_at = now
            self._idle.append(slot)
            self._rested.append(now)

    def _take_back(self, slot: Slot, now: float, fault: Reason | None) -> None:
        if fault is None and self._may_stay(slot, now):
            self._offer(slot, now)
        else:
            self._close(slot, fault or self._why_ended(slot, now), now)
            if fault is not None:
                self._distrust(now)
        self._grow(now)

    def _may_stay(self, slot: Slot, now: float) -> bool:
        if not self._steady or slot.generation != self.generation:
            return False
        if now >= slot.expires_at:
            self._outlived[slot] = None
            # With a place left, it serves until its replacement is open; without, it makes room.
            return bool(self._empty or self._connecting)
        return True

    def _why_ended(self, slot: Slot, now: float) -> Reason:
        if self.closed:
            return Reason.POOL_CLOSED
        if len(self.slots) > self.max_connections:
            return Reason.SURPLUS
        return Reason.LIFETIME if now >= slot.expires_at else Reason.GENERATION

    def _distrust(self, now: float) -> None:
        """One connection was found dead: look at the others before they are handed out."""
        for slot in self._idle:
            slot.verified_at = min(slot.verified_at, now - self._check_after)

    # -- the end of a ticket ---------------------------------------------------------------------------------------

    def _forget(self, ticket: Ticket) -> None:
        if ticket.opens:
            self._warming.remove(ticket)
        else:
            del self._tickets[ticket]

    def _refuse(self, ticket: Ticket, error: BaseException) -> None:
        self._forget(ticket)
        ticket.state = TicketState.REFUSED
        ticket.error = error
        self.outbox.append(Wake(ticket))

    def _turn_away(self, ticket: Ticket, error: BaseException) -> None:
        ticket.state = TicketState.REFUSED
        ticket.error = error
        self.refused += 1

    def _time_out(self, ticket: Ticket, now: float) -> None:
        error = PoolTimeout(
            f"{self.config.name}: no connection within {now - ticket.since:.3f} s: {self.counts(now)}"
            + (f"; last dial failed: {self.last_dial_error}" if self.last_dial_error else "")
        )
        error.__cause__ = self.last_dial_error
        if ticket in self._tickets or ticket.opens:
            self._forget(ticket)
        ticket.state = TicketState.TIMED_OUT
        ticket.error = error
        self.timeouts += 1

    # -- dials -----------------------------------------------------------------------------------------------------

    def begin_dial(self, slot: Slot, now: float) -> bool:
        """Whether the dial is still wanted, asked just before it starts; if not, the slot is empty again."""
        if self.closed or len(self._connecting) > self._dials_wanted() or len(self.slots) > self.max_connections:
            self._connecting.discard(slot)
            self._vacate(slot)
            return False
        slot.generation = self.generation
        slot.since = now
        slot.dial_deadline = now + self._dial_budget
        self._wake_by(slot.dial_deadline)
        return True

    def dialed(self, slot: Slot, connection: object, now: float) -> None:
        """The connection is open, its handshake done."""
        self._connecting.discard(slot)
        self.dialed_count += 1
        self._dial.add(now - slot.since)
        self._failures = 0
        self.last_dial_error = None
        if self.config.timeout != 0:
            self._patience = policy.growth_patience(self._dial.mean)
        slot.connection = connection
        slot.dial_deadline = _NEVER
        slot.opened_at = slot.verified_at = now
        if self.config.max_lifetime is not None:
            slot.expires_at = now + policy.lifetime(
                self.config.max_lifetime, self.config.lifetime_jitter, self._random
            )
        if not self._steady or slot.generation != self.generation:
            self._close(slot, self._why_ended(slot, now), now)
        else:
            self._available_at = now
            self._offer(slot, now)
            self._end_outlived(now)
            self._end_warming()
        self._wake_by(min(slot.expires_at, now + min(self._max_idle_time, self._ping_after, self._leak_after)))
        self._grow(now)

    def dial_failed(self, slot: Slot, error: BaseException, now: float, retryable: bool = True) -> None:
        """The dial failed: the longest-waiting caller is told, and all of them where nothing else can serve them.

        Where the error is `retryable`, callers sit through as many failures as they said they would.
        """
        self._connecting.discard(slot)
        self._vacate(slot)
        self.dial_failures += 1
        self.last_dial_error = error
        self._failures += 1
        self._pause_until = now + policy.pause_after(self._failures, self._random)
        nothing_else = len(self._empty) == len(self.slots)
        told = list(self._tickets) if nothing_else else list(self._tickets)[:1]
        for ticket in (*told, *self._warming):
            ticket.dial_failures += 1
            if not retryable or ticket.dial_failures > ticket.dial_retries:
                self._refuse(ticket, error)
        self._grow(now)

    def _grow(self, now: float) -> None:
        """Order the dials that are needed and allowed. While the server is down, one at a time, with pauses."""
        if self.closed or not self._empty:
            return
        limit = 1 if self._failures else self.config.max_connecting
        while self._empty and len(self._connecting) < min(limit, self._dials_due(now)):
            if now < self._pause_until and self._failures:
                self._wake_by(self._pause_until)
                return
            slot = self._empty.pop()
            slot.state = _DIALLING
            self._connecting.add(slot)
            self.outbox.append(Dial(slot))

    def _dials_wanted(self) -> int:
        """How many dials under way would serve a purpose."""
        return max(self._dials_for_upkeep(), len(self._tickets) + self.config.min_idle - len(self._rested))

    def _dials_due(self, now: float) -> int:
        """The same, but counting callers only where connections don't come back to them soon enough."""
        upkeep = self._dials_for_upkeep()
        if len(self._tickets) <= len(self._connecting):
            return upkeep
        due_at = min(self._queued_since, self._available_at) + self._patience
        if now < due_at:
            self._wake_by(due_at)
            return upkeep
        return max(upkeep, self._dials_wanted())

    def _dials_for_upkeep(self) -> int:
        ready = self.config.min_idle - len(self._rested)
        if self._warming:
            ready = max(ready, max(ticket.opens for ticket in self._warming) - self.open)
        return max(ready, len(self._outlived))

    def _end_outlived(self, now: float) -> None:
        if not self._outlived:
            return
        slot, _ = self._outlived.popitem(last=False)
        if slot.state is _IDLE:
            self._close_idle(slot, Reason.LIFETIME, now)
        else:
            slot.generation = _REPLACED

    def _end_warming(self) -> None:
        for ticket in [ticket for ticket in self._warming if self.open >= ticket.opens]:
            self._warming.remove(ticket)
            ticket.state = TicketState.GRANTED
            self.outbox.append(Wake(ticket))

    # -- closing a connection --------------------------------------------------------------------------------------

    def _close(self, slot: Slot, reason: Reason, now: float) -> None:
        slot.state = _CLOSING
        self._closing.add(slot)
        self._outlived.pop(slot, None)
        self.closed_by[reason] += 1
        self.outbox.append(Close(slot, slot.connection, reason, now - slot.opened_at))

    def _close_idle(self, slot: Slot, reason: Reason, now: float) -> None:
        self._idle.remove(slot)
        self._rested.pop()
        self._close(slot, reason, now)

    def closed_connection(self, slot: Slot, now: float) -> None:
        """The connection that a Close order named is closed: its place is free."""
        self._closing.discard(slot)
        self._vacate(slot)
        self._grow(now)

    def _vacate(self, slot: Slot) -> None:
        slot.clear()
        slot.state = _EMPTY
        if len(self.slots) > self.max_connections:
            self.slots.remove(slot)
            self._steady = not self.closed and len(self.slots) <= self.max_connections
        else:
            self._empty.append(slot)

    # -- upkeep ----------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due; `wake_at` says when to come back."""
        for ticket in self._deadlines.expire(now):
            self._time_out(ticket, now)
            self.outbox.append(Wake(ticket))
        for slot in self._connecting:
            if now >= slot.dial_deadline:
                slot.dial_deadline = _NEVER
                self.outbox.append(CutDial(slot))
        self._shrink(now)
        self._renew(now)
        self._check_rested(now)
        self._report_leaks(now)
        self.wake_at = self._next_deadline(now)
        self._grow(now)

    def _shrink(self, now: float) -> None:
        while (
            self._idle and len(self._rested) > self.config.min_idle and now - self._rested[0] >= self._max_idle_time
        ):
            self._rested.popleft()
            self._close(self._idle.pop(0), Reason.IDLE, now)

    def _renew(self, now: float) -> None:
        for slot in [slot for slot in self._idle if now >= slot.expires_at]:
            if self._may_stay(slot, now):
                continue
            self._close_idle(slot, Reason.LIFETIME, now)

    def _check_rested(self, now: float) -> None:
        for slot in list(self._idle):
            if len(self._checking) >= self.config.max_connecting:
                return
            if now - slot.verified_at >= self._ping_after:
                self._idle.remove(slot)
                slot.state = _CHECKING
                self._checking.add(slot)
                self.outbox.append(Check(slot))

    def checked(self, slot: Slot, ok: bool, now: float) -> None:
        """A connection that was checked in the background has answered, or has not."""
        self._checking.discard(slot)
        if not ok:
            self._rested.pop()
            self._close(slot, Reason.CHECK_FAILED, now)
            self._distrust(now)
        elif not self._may_stay(slot, now):
            self._rested.pop()
            self._close(slot, self._why_ended(slot, now), now)
        elif self._tickets:
            self._rested.pop()
            self._grant(slot, now)
        else:
            # It rested the longest: back to the far end, so that it can still be shrunk away.
            slot.state = _IDLE
            slot.verified_at = now
            self._idle.insert(0, slot)
        self._check_rested(now)
        self._grow(now)

    def _report_leaks(self, now: float) -> None:
        if self._leak_after == _NEVER:
            return
        for slot in self.leased():
            if not slot.leak_reported and now - slot.since >= self._leak_after:
                slot.leak_reported = True
                self.leaks += 1
                self.outbox.append(ReportLeak(slot, now - slot.since))

    def _next_deadline(self, now: float) -> float:
        """When the next thing is due. What goes idle or is leased from now on is due no sooner than `rests`."""
        due = self._deadlines.next_deadline()
        rests = min(self._max_idle_time, self._ping_after, self._leak_after)
        if len(self._empty) < len(self.slots):
            due = min(due, now + rests)
        if len(self._rested) > self.config.min_idle:
            due = min(due, self._rested[0] + self._max_idle_time)
        for slot in self.slots:
            if slot.state is _IDLE:
                due = min(due, slot.verified_at + self._ping_after)
            elif slot.state is _LEASED and not slot.leak_reported:
                due = min(due, slot.since + self._leak_after)
            if slot.expires_at > now:
                due = min(due, slot.expires_at)
            due = min(due, slot.dial_deadline)
        return due

    def _wake_by(self, when: float) -> None:
        if when < self.wake_at:
            self.wake_at = when

    # -- the whole pool --------------------------------------------------------------------------------------------

    def warm_up(self, opens: int, now: float, deadline: float) -> Ticket:
        """A ticket that is granted when `opens` connections are open, or refused with what a dial raised."""
        if whole_number("n", opens, at_least=0) > self.max_connections:
            raise ValueError(f"n={opens!r} is more than max_connections={self.max_connections!r}")
        ticket = Ticket(now, deadline, opens=opens)
        if self.closed:
            self._turn_away(ticket, PoolClosed(f"{self.config.name}: the pool is closed"))
        elif self.open >= opens:
            ticket.state = TicketState.GRANTED
        else:
            self._warming.append(ticket)
            self._deadlines.add(ticket, len(self._tickets) + len(self._warming))
            self._wake_by(deadline)
            self._grow(now)
        return ticket

    def resize(self, max_connections: int, now: float) -> None:
        """Allow so many connections; what is open beyond that closes, idle ones now, used ones as they come back."""
        whole_number("max_connections", max_connections, at_least=max(1, self.config.min_idle))
        self._capacity += self.max_connections * (now - self._capacity_since)
        self._capacity_since = now
        self.max_connections = max_connections
        added = [Slot() for _ in range(max_connections - len(self.slots))]
        self.slots += added
        self._empty += added
        while self._empty and len(self.slots) > max_connections:
            self.slots.remove(self._empty.pop())
        for slot in self._idle[: max(0, len(self.slots) - len(self._closing) - max_connections)]:
            self._close_idle(slot, Reason.SURPLUS, now)
        self._steady = not self.closed and len(self.slots) <= max_connections
        self._grow(now)

    def drain(self, now: float) -> None:
        """Replace every connection: a new generation begins, and the old one ends as it comes back."""
        self.generation += 1
        self._outlived.clear()
        for slot in list(self._idle):
            self._close_idle(slot, Reason.GENERATION, now)
        self._grow(now)

    def close(self, now: float) -> None:
        """No more checkouts; whoever waits is told; idle connections close now, used ones as they come back."""
        self.closed = True
        self._steady = False
        for ticket in (*self._tickets, *self._warming):
            self._refuse(ticket, PoolClosed(f"{self.config.name}: the pool was closed"))
            self.refused += 1
        for slot in list(self._idle):
            self._close_idle(slot, Reason.POOL_CLOSED, now)

    # -- what can be seen ------------------------------------------------------------------------------------------

    @property
    def idle(self) -> int:
        """Connections that nobody uses, those being checked included."""
        return len(self._rested)

    @property
    def in_use(self) -> int:
        """Connections on lease."""
        elsewhere = (self._empty, self._idle, self._connecting, self._checking, self._closing)
        return len(self.slots) - sum(map(len, elsewhere))

    @property
    def open(self) -> int:
        """Connections idle or in use."""
        return self.idle + self.in_use

    @property
    def vacant(self) -> bool:
        """Whether no place holds a connection, not even one being opened or closed."""
        return len(self._empty) == len(self.slots)

    def leased(self) -> list[Slot]:
        """The slots on lease, the longest-held first."""
        return sorted((slot for slot in self.slots if slot.state is _LEASED), key=lambda slot: slot.since)

    def idle_connections(self) -> list[Any]:
        """The connections that a caller could have at once."""
        return [slot.connection for slot in self._idle]

    def waiting(self) -> Iterable[Ticket]:
        """Those in the queue, the longest-waiting first."""
        return tuple(self._tickets)

    def take_orders(self) -> list[AnyOrder]:
        """Empty the outbox."""
        orders, self.outbox = self.outbox, []
        return orders

    def counts(self, now: float) -> str:
        """`10 of 10 in use, 37 waiting, oldest lease 12.4 s`, for messages."""
        leased = self.leased()
        parts = [f"{len(leased)} of {self.max_connections} in use"]
        parts += [f"{len(self._connecting)} connecting"] if self._connecting else []
        parts += [f"{len(self._tickets)} waiting"]
        parts += [f"oldest lease {now - leased[0].since:.1f} s"] if leased else []
        return ", ".join(parts)

    def stats(self, now: float) -> PoolStats:
        """Everything that is counted, at one moment."""
        leased = sum(now - slot.since for slot in self.slots if slot.state is _LEASED)
        capacity = self._capacity + self.max_connections * (now - self._capacity_since)
        waited = self._wait.count
        return PoolStats(
            name=self.config.name,
            max_connections=self.max_connections,
            open=self.open,
            idle=self.idle,
            in_use=self.in_use,
            connecting=len(self._connecting),
            waiting=len(self._tickets),
            acquired=self.acquired,
            waited=waited,
            timeouts=self.timeouts,
            refused=self.refused,
            dialed=self.dialed_count,
            dial_failures=self.dial_failures,
            released=self._use.count,
            leaks=self.leaks,
            closed={reason.value: count for reason, count in self.closed_by.items()},
            wait=self._wait.summary(zeros=self.acquired - waited),
            use=self._use.summary(),
            dial=self._dial.summary(),
            utilization=(self._use.total + leased) / capacity if capacity > 0 else 0.0,
        )
