"""What the engines of both shells decide alike: who gets which error, what becomes of a connection that comes back.

An engine drives one core. Whatever changes the core goes through `apply`, which each shell has in its own way: it calls
the change with the time as its last argument, and carries out what follows. The engine doesn't know the pool: it is
given what makes connections, and told when the pool is gone.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from random import Random
from types import FrameType
from typing import Any, TypeVar

from ..core.actions import Close, Holder, Note, ReportLeak, ReportWait
from ..core.callsite import describe, leak_message, shown, take_site, take_stack
from ..core.config import PoolConfig
from ..core.instrument import Hooks
from ..core.long_waits import wait_line
from ..core.pool import PoolCore
from ..core.priorities import PrioritizedCore
from ..core.slot import Reason, Slot, State
from ..core.stats import CallerClass, Decision, Lease, PoolDump
from ..core.waiters import Ticket, TicketState
from ..deadline import deadline
from ..errors import DeadlineExceeded
from ..forks import same_process
from ..priority import current as current_priority
from ..registry import crowd_advice
from . import lifecycle, options, pubsub, retry
from .factory import ConnectionFactory
from .reference import Reference
from .tracking import Tracked

logger = logging.getLogger("redpool")

_monotonic = time.monotonic
_NEVER = float("inf")

T = TypeVar("T")


class Reports:
    """What the log and the user's hooks hear of a pool's connections."""

    def __init__(self, name: str, hooks: Hooks, borrower_name: Callable[[Any], str]) -> None:
        self._name, self._hooks, self._borrower_name = name, hooks, borrower_name

    def connected(self, seconds: float) -> None:
        """Report that a connect is through, which took so long."""
        self._hooks.fire("connected", self._name, seconds)

    def connect_failed(self, error: BaseException) -> None:
        """Report that a connect has failed."""
        self._hooks.fire("connect_failed", self._name, error)

    def closed(self, action: Close) -> None:
        """Report that a connection was closed."""
        logger.debug("%s: closed a connection: %s", self._name, action.reason.value)
        if self._hooks.closed:
            self._hooks.fire("closed", self._name, action.reason.value, action.age)

    def noted(self, action: Note) -> None:
        """Log what the pool has decided by itself."""
        logger.debug("%s: %s", self._name, action.what)

    def leaked(self, action: ReportLeak) -> None:
        """Report a connection that was held too long, or dropped; where all ends, what is dropped is no fault."""
        borrower = self._borrower_name(action.borrower)
        no_fault = action.dropped and (action.over or _interpreter_ends())
        logger.log(logging.DEBUG if no_fault else logging.WARNING, "%s", leak_message(self._name, action, borrower))
        self._hooks.fire("leaked", self._name, action.age, borrower, shown(action.stack))


def _interpreter_ends() -> bool:
    return sys.is_finalizing() or not threading.main_thread().is_alive()


def _core(config: PoolConfig, connect_budget: float) -> PoolCore:
    if config.reserved:
        return PrioritizedCore(config, _monotonic(), Random(), connect_budget, current_priority)
    return PoolCore(config, _monotonic(), Random(), connect_budget)


class EngineBase:
    """The connections of one pool: what both shells do alike."""

    reentered: Callable[[], bool] = staticmethod(bool)
    """whether this very thread was interrupted in the midst of a change to the core"""
    multiplexed: Any = None
    """the multiplexed connections of a pool that has some"""
    inherited = False
    """whether this is a forked child, and what is open here is its parent's"""

    def __init__(
        self, owner: object, config: PoolConfig, hooks: Hooks, factory: ConnectionFactory, max_connections: int
    ) -> None:
        self._config, self._hooks, self._factory = config, hooks, factory
        self.retry_sent = config.retry_sent
        self.when_dropped = self._dropped  # one for all connections
        self.reports = Reports(config.name, hooks, self.borrower_name)
        self.core = _core(config, factory.connect_budget)
        self.retries_changed()
        if max_connections != self.core.asked and self.core.sizing is None:
            self.core.resize(max_connections, _monotonic())
        self.armed = _NEVER
        """when time makes the core tick next"""
        self._share_since = _monotonic()  # of a budget
        self._ended_listeners: set[Slot] = set()
        """on lease to listeners that were ended: they come back by themselves"""
        # Of the owner, the pool, nothing is known but whether it is still there.
        self.owner = weakref.ref(owner, self._owner_gone)

    # -- what each shell has in its own way --------------------------------------------------------------------------

    @staticmethod
    @abstractmethod
    def intact(connection: Any) -> bool:
        """Return whether a connection that comes back may be used again."""

    @staticmethod
    @abstractmethod
    def close_connection(connection: Any) -> None:
        """Close a connection that no caller uses."""

    @staticmethod
    @abstractmethod
    def cut_connection(connection: Any) -> None:
        """End a connection that its borrower may be using."""

    @staticmethod
    def uses_alone(connection: Any) -> bool:  # noqa: ARG004  threads look at it
        """Return whether none but its borrower can be using a connection."""
        return True

    @staticmethod
    @abstractmethod
    def borrower_name(borrower: Any) -> str:
        """Return what logs and dumps call a borrower."""

    @abstractmethod
    def apply(self, change: Callable[..., T], *arguments: Any) -> T:
        """Let `change` alter the core, and carry out what follows; its last argument is the time."""

    @abstractmethod
    def apply_later(self, change: Callable[..., Any], *arguments: Any) -> None:
        """Have that done soon. It may be called anywhere: by finalizers, and by what interrupts a change."""

    @abstractmethod
    def caller(self) -> Any:
        """Return the thread or the task that calls, as leases note it."""

    @abstractmethod
    def _owner_gone(self, _reference: object) -> None:
        """End the engine of a pool that was collected, wherever that was."""

    def do(self, change: Callable[..., Any], *arguments: Any) -> None:
        """Apply a change that the user asks for, be it by a signal handler."""
        self.apply(change, *arguments)

    # -- callers -----------------------------------------------------------------------------------------------------

    def watch(self, slot: Slot, got: Slot | Ticket, caller: FrameType) -> None:
        """Note where the connection was taken, and tell the hooks."""
        if self._config.leak_after is not None:
            slot.taken = take_stack(caller)
        elif self._config.warn_wait is not None:
            slot.taken = slot.taken or take_site(caller)
        waited = slot.since - got.since if isinstance(got, Ticket) else 0.0
        self._hooks.fire("acquired", self._config.name, waited)

    def error_of(self, ticket: Ticket, limit: deadline | None) -> BaseException:
        """Return what the caller gets whose ticket was not granted."""
        error = ticket.error
        assert error is not None
        if ticket.state is not TicketState.TIMED_OUT:
            return lifecycle.own_error(error)
        if self._hooks.timed_out:
            self._hooks.fire("timed_out", self._config.name, _monotonic() - ticket.since)
        if advice := crowd_advice(self.owner()):
            error.args = (f"{error}; {advice}",)  # made for this caller alone
        if limit is None or limit.at >= ticket.deadline:
            return error
        exceeded = DeadlineExceeded(str(error))
        exceeded.__cause__ = error
        return exceeded

    def hand_on(self, got: Slot | Ticket | None, borrower: Any, now: float) -> None:
        """Take back what its borrower, interrupted on its way out, has not used yet: whole, it goes to the next caller.

        Nothing but a validation can have been made over it; where one was under way, the connection is closed.
        """
        slot = self.core.give_up(got, now) if isinstance(got, Ticket) else got
        if slot is None or slot.state is not State.LEASED or slot.borrower not in (got, borrower):
            return
        slot.connection = connection = slot.current
        whole = connection is not None and not slot.validating and self.intact(connection)
        self.core.release(slot, now, None if whole else Reason.ERROR)

    # -- leases that connect anew ------------------------------------------------------------------------------------

    def turn_of(self, ticket: Ticket) -> Ticket:
        """Return the ticket of a lease whose turn to connect has come; raise why it won't come."""
        if ticket.error is None:
            return ticket
        error = lifecycle.own_error(ticket.error)
        raise retry.final(error) if self.core.closed or self.core.connector.hopeless else error

    def connect_ended(self, ticket: Ticket, error: BaseException | None, interrupted: bool = False) -> None:
        """Say how the connect went for which the ticket was granted."""
        self.apply(self._connect_ended, ticket, error, interrupted)

    def _connect_ended(self, ticket: Ticket, error: BaseException | None, interrupted: bool, now: float) -> None:
        if error is not None and lifecycle.says_of_server(error):
            self.core.lease_connect_failed(ticket, lifecycle.bare_copy(error), now, options.failure(error))
        elif error is not None or interrupted:
            self.core.give_up_connect(ticket, now)
        else:
            self.core.lease_connected(ticket, now)

    def refused_write(self, slot: Slot | None, starts_over: bool) -> bool:
        """Replace the connections made before a replica refused a write over the connection in `slot`.

        See `PoolCore.refused_write`.
        """
        if self.inherited or self.reentered():
            return False
        replaced, drained = self.apply(self._refused_write, slot, starts_over)
        if drained and self.multiplexed is not None:
            self.multiplexed.retire_all()
        return replaced

    def _refused_write(self, slot: Slot | None, starts_over: bool, now: float) -> tuple[bool, bool]:
        before = self.core.generation
        replaced = self.core.refused_write(slot, starts_over, now)
        return replaced, self.core.generation != before

    # -- connects of the pool's own ----------------------------------------------------------------------------------

    def adopt(self, connection: Any, slot: Slot) -> None:
        """Note that a connection is this engine's, in that slot; it is closed where that is interrupted."""
        try:
            slot.reference = lifecycle.mark(connection, self, slot, self.when_dropped)
        except BaseException:
            self.close_connection(connection)
            raise

    # -- connections that come back ----------------------------------------------------------------------------------

    def lends(self, connection: Any) -> bool:
        """Return whether the connection is on lease from here, and the pool not shut down."""
        reference = connection._redpool
        return (
            reference.engine is self
            and reference.slot.reference is reference
            and reference.slot.connection is None
            and not self.core.closed
        )

    def release_unsound(self, slot: Slot, lease: int, connection: Any) -> None:
        """Take back a connection that isn't intact: what may be used again is validated first, all else is closed.

        It is closed before the core hears of it, so that its slot is free at once.
        """
        again = self._usable_again(slot, connection)
        if again is None:
            self.close_connection(connection)
        closed = self.apply(self._release_unsound, slot, lease, again)
        if closed is not None:
            self.reports.closed(closed)

    def _release_unsound(self, slot: Slot, lease: int, again: Any, now: float) -> Close | None:
        if slot.state is not State.LEASED or slot.lease != lease:
            return None  # taken back already
        if again is None:
            return self.core.release_closed(slot, now, Reason.ERROR)
        slot.connection = again
        self.core.release_to_validate(slot, now)
        return None

    def reject(self, slot: Slot, connection: Any) -> None:
        """End the lease of a connection that was found to be dead at its checkout."""
        self.close_connection(connection)
        self.reports.closed(self.apply(self.core.reject_at_checkout, slot))

    def _usable_again(self, slot: Slot, connection: Any) -> Any:
        """Return what may be used again, once validated, of a connection that isn't intact; `None`: nothing."""
        if getattr(connection, "handing_over", False):
            return self._successor(slot, connection)
        unread = isinstance(connection, Tracked) and connection.unread and connection.only_unread()
        return connection if unread else None

    def _successor(self, slot: Slot, connection: Any) -> Any:
        """Return a new connection with the socket of one that its subscriber has left, for the same slot."""
        successor = self._factory.connection()
        if pubsub.adopt_socket(connection, successor):
            slot.reference = lifecycle.mark(successor, self, slot, self.when_dropped)
            return successor
        self.close_connection(successor)
        return None

    def reclaim(self, connection: Any) -> None:
        """Take back a multiplexed connection, the pool being gone; its slot waits for no caller to drop it."""
        slot = connection._redpool.slot
        self.apply_later(self.take_back, slot, slot.lease, Reason.POOL_CLOSED, connection)

    def take_back(self, slot: Slot, lease: int, fault: Reason | None, connection: Any, now: float) -> None:
        """End a lease late, if it goes on: what came back in an interruption, or was dropped."""
        if slot.state is not State.LEASED or slot.lease != lease:
            return
        if fault is Reason.LEAKED:
            self.core.leaked(slot, now)
        else:
            slot.connection = connection
            self.core.release(slot, now, fault)

    def _dropped(self, reference: Reference) -> None:
        """Reclaim the slot of a connection that was collected: anywhere, maybe in the midst of a change."""
        slot = reference.slot
        if (
            slot.reference is reference
            and slot.state is State.LEASED
            and slot.connection is None
            and not self.inherited
        ):
            self.apply_later(self.take_back, slot, slot.lease, Reason.LEAKED, None)

    # -- a share of a budget -----------------------------------------------------------------------------------------

    # The budget's thread calls these, and looks at what changes meanwhile: see `PoolCore.may_hold`.

    def join_budget(self) -> None:
        """Have a part of the process's share, where the pool has a budget; this is complete."""
        if self._config.budget is not None:
            needs_some = bool(self._config.min_idle) or 0 in (self._config.timeout, self._config.max_waiting)
            self._config.budget.join(self, at_once=needs_some and same_process[0])  # a child begins with its callers

    def may_hold(self) -> int:
        """Return how many connections may be open, at most, before the share changes."""
        return self.core.may_hold

    def wants(self) -> int:
        """Return how many connections could be used."""
        return self.core.wants(_monotonic())

    def is_busy(self) -> bool:
        """Return whether callers have a connection, or wait for one; so it is while a multiplexed one is open."""
        return bool(self.core.in_use or len(self.core.queue))

    @abstractmethod
    def is_over(self) -> bool:
        """Return whether none is open any more, nor will be."""

    @abstractmethod
    def take_share(self, granted: int) -> None:
        """Have no more than so many connections, as soon as what is in use beyond that comes back."""

    def _take_share(self, granted: int) -> None:
        if granted != self.core.granted:
            self._share_since = _monotonic()
        self.apply(self.core.share, granted)
        if self.multiplexed is not None and self.core.surplus:
            self.multiplexed.make_room()  # the pool's own leases come back

    # -- the whole pool ----------------------------------------------------------------------------------------------

    def may_send_again(self) -> bool:
        """Return whether a command whose reply was late may be sent again; answers over shared connections count."""
        return self.core.may_send_again(0 if self.multiplexed is None else self.multiplexed.in_time())

    def retries_changed(self) -> None:
        """Callers sit through another number of failed connects from now on."""
        failures = self._factory.retries.failures
        self.core.sit_through(failures, failures > 0 or self._factory.client_tries_again)

    def close(self) -> None:
        """Close what is idle now, what is in use when it comes back, and what is shared once all is answered."""
        self._close(self.core.close)

    def disconnect(self) -> None:
        """Close the same way; the next caller connects, whatever the last connects have ended with."""
        self._close(self.core.disconnect)

    def _close(self, close: Callable[[float], None]) -> None:
        self.do(close)
        if self.multiplexed is not None:
            self.multiplexed.close()

    def end_listeners(self) -> None:
        """End subscribers and monitors, which would listen for ever: no retry policy brings them back."""
        ended = set()
        for slot, connection in self.leases():
            if connection is not None and lifecycle.listens(connection):
                slot.keep()  # should its borrower drop it now, that is no leak
                lifecycle.end(connection)
                self.cut_connection(connection)
                ended.add(slot)
        self._ended_listeners = ended

    def cut_leases(self, others: bool = True) -> None:
        """End the connections in use: the caller's own are closed, others' are cut under their hands."""
        me = self.caller()
        for slot, connection in self.leases():
            if connection is None:
                continue  # dropped: it is closed already
            if me is not None and slot.caller == me and self.uses_alone(connection):
                self.close_connection(connection)
            elif others:
                self.cut_connection(connection)

    def leases(self) -> list[tuple[Slot, Any]]:
        """Return the slots on lease, each with its connection, `None` where that was dropped."""
        return [(slot, slot.current) for slot in self.core.leased()]

    def others_left(self) -> bool:
        """Return whether a pool that was shut down has other connections than listeners' and the caller's own."""
        me = self.caller()
        waived = sum(slot.caller == me or slot in self._ended_listeners for slot, _ in self.leases())
        return bool(len(self.core.slots) - len(self.core.empty) > waived)

    # -- what can be seen --------------------------------------------------------------------------------------------

    def dump(self) -> PoolDump:
        """Return who holds what, and who waits how long."""
        seen, waiters, classes = self.seen()
        leases = [
            (age, borrower, shown(taken) or self.where(borrower), lifecycle.last_command(connection))
            for age, borrower, taken, connection in seen
        ]
        dumped = describe(self._config.name, leases, waiters, self.borrower_name)
        now, budget = _monotonic(), self._config.budget
        share = None if budget is None else budget.describe(self.core.granted, now - self._share_since)
        return replace(dumped, classes=classes, decisions=self._decisions(now), share=share)

    def _decisions(self, now: float) -> tuple[Decision, ...]:
        sizing, budget = self.core.sizing, self._config.budget
        decided = [] if sizing is None else [Decision(now - at, what) for at, what in sizing.decisions.copy()]
        if budget is not None:
            decided += budget.decisions()
        return tuple(sorted(decided, key=lambda decision: -decision.age))

    def seen(self) -> tuple[list[Any], list[Any], tuple[CallerClass, ...]]:
        """Return what a dump is made of.

        That is (age, borrower, where it was taken, connection) of the leases, (age, borrower) of the waiters, and the
        classes of callers.
        """
        core, now = self.core, _monotonic()
        leases = [(now - slot.since, slot.caller, slot.taken, slot.current) for slot in core.leased()]
        waiters = [(now - ticket.since, ticket.borrower) for ticket in core.waiting()]
        return leases, waiters, core.caller_classes()

    def report_wait(self, action: ReportWait) -> None:
        """Log that callers wait for long, and who has what they wait for."""
        holders = [self._lease(each) for each in action.held_by]
        line = wait_line(action.waited, self.borrower_name(action.borrower), action.more, action.counts, holders)
        logger.warning("%s: long wait: %s", self._config.name, line)

    def _lease(self, holder: Holder) -> Lease:
        connection = None if holder.connection is None else holder.connection()
        place = shown(holder.taken).strip() or self.where(holder.borrower)
        command = None if connection is None else lifecycle.last_command(connection)
        return Lease(holder.age, self.borrower_name(holder.borrower), place, command)

    def where(self, _borrower: Any) -> str | None:
        """Return where a borrower is now, if that can be looked at; used where nothing was noted at the checkout."""
        return None
