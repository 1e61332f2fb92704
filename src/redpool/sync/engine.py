"""What drives a pool's core with threads: one short lock, parked callers, a thread for each connect, maintenance.

What must stay true: no I/O, no hook, no log call under `guard`; each action is carried out once, by the thread that
took it out of the outbox. A signal handler or a finalizer may interrupt a thread that holds the guard, and use the
pool: it must neither wait for the guard nor touch the core, which may be half-changed. So it leaves a note in `inbox`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from .. import threads
from ..core.actions import AnyAction, ReportWait, Wake
from ..core.config import PoolConfig
from ..core.instrument import Hooks
from ..core.policy import CALL_GRACE
from ..core.pool import PoolCore
from ..core.slot import Slot, State
from ..core.stats import CallerClass
from ..core.waiters import Ticket, TicketState
from ..deadline import current, deadline
from ..errors import PoolClosed
from ..forks import begin_in_child, same_process
from ..redispy import lifecycle, retry
from ..redispy.engine_base import EngineBase
from ..redispy.factory import ConnectionFactory
from .maintenance import MaintenanceThread
from .prolonged import ProlongedWaits
from .workers import Workers

logger = logging.getLogger("redpool")

_monotonic = time.monotonic
_NEVER = float("inf")
# Word of something may be lost to an interruption, so no caller sleeps on for longer than this, in seconds.
_LONGEST_SLEEP = 1.0
# Where no thread is to be had for maintenance, those that wait do what is due, which may change while they sleep.
_LONGEST_SLEEP_ALONE = 0.05
_NEXT_THREAD_AFTER = 1.0  # seconds after which a thread for the maintenance thread is asked for again
# Where anything is open the maintenance thread comes within so many seconds, though nothing may be due; then it stays.
_LONGEST_WITHOUT_UPKEEP = 60.0

T = TypeVar("T")


class Overflow:
    """In an engine's place, for a connection that was made beside the pool."""

    def __init__(self, core: PoolCore, retry_sent: str) -> None:
        self.core, self.retry_sent = core, retry_sent

    def turn_to_connect(self) -> None:
        """Raise why it is not connected again, if so; no caller waits for a turn."""
        rejection = self.core.rejection(_monotonic())
        if rejection is not None:
            raise retry.final(rejection)

    def bound(self, slot: object, limit: deadline) -> None:
        """Do nothing: no maintenance is there to cut the call off."""

    def refused_write(self, _slot: object, _starts_over: bool) -> bool:
        """Return that it isn't replaced."""
        return False

    def may_send_again(self) -> bool:
        """Return whether a command whose reply was late may be sent again."""
        return self.core.may_send_again()

    def lends(self, _connection: object) -> bool:
        """Return that it is not on lease: it goes on to no caller."""
        return False

    def set_aside(self, _slot: object) -> contextlib.AbstractContextManager[bool]:
        """Yield that it isn't idle."""
        return contextlib.nullcontext(False)


class Engine(EngineBase):
    """The connections of one pool in one process, from its creation (or reset) on."""

    intact = staticmethod(lifecycle.intact)
    close_connection = staticmethod(lifecycle.close)
    cut_connection = staticmethod(lifecycle.cut)
    uses_alone = staticmethod(lifecycle.unshared)
    borrower_name = staticmethod(threads.borrower_name)

    _maintenance: MaintenanceThread | None = None  # written under `guard`

    def __init__(
        self, owner: object, config: PoolConfig, hooks: Hooks, factory: ConnectionFactory, max_connections: int
    ) -> None:
        self.guard = threading.RLock()
        # Whether this very thread was interrupted while it held the guard. The lock knows; a flag of ours could lie.
        self.reentered = self.guard._is_owned  # type: ignore[attr-defined]  # as of a `Role`
        # Changes that came where the guard could not be taken: each with its arguments, for `apply`. Any thread may
        # append; one that holds the guard takes them out, each only once it was made. So one may be made twice.
        self.inbox: deque[tuple[Any, ...]] = deque()
        self._to_be_closed = False  # a client was collected that owns the pool; maintenance takes the note
        self._next_thread_at = -_NEVER  # when a thread is asked for again; written under `guard`
        self._prolonged = ProlongedWaits()
        self._progress = threading.Event()  # a pool that was shut down has one connection less
        super().__init__(owner, config, hooks, factory, max_connections)
        self._workers = Workers(
            self.core, self.apply, self.decide, self.adopt, self._expect_upkeep, factory, self.reports
        )
        self.join_budget()

    # -- changes to the core -----------------------------------------------------------------------------------------

    def apply(self, change: Callable[..., T], *arguments: Any) -> T:
        """Let `change` alter the core, and carry out what follows; its last argument is the time."""
        try:
            done = self.decide(change, *arguments)
            self.carry_out(self._taken_actions() if self.core.outbox else ())
        except BaseException:
            self.core.inconsistent = True  # the caller that comes next has the core order anew what was not done
            self.wake_maintenance()
            raise
        return done

    def decide(self, change: Callable[..., T], *arguments: Any) -> T:
        """Let `change` alter the core; leave what follows in the outbox. Whatever interrupts it, the core is in order.

        The guard is entered by a `with` of its own, in this very function: nothing can come between the lock and what
        releases it again.
        """
        with self.guard:
            core, now = self.core, _monotonic()
            if core.inconsistent:
                core.repair(now)
            core.inconsistent = True  # until this is through: its end may be interrupted, too
            try:
                done = change(*arguments, now)
            except BaseException:
                core.repair(now)
                raise
            core.inconsistent = False
        return done

    def apply_later(self, change: Callable[..., Any], *arguments: Any) -> None:
        """Have that done soon. It may be called anywhere: by finalizers, and by what interrupts a change."""
        self.inbox.append((change, *arguments))
        self.wake_maintenance()

    def do(self, change: Callable[..., Any], *arguments: Any) -> None:
        """Apply a change that the user asks for, be it by a signal handler: then a thread makes it."""
        if self.reentered():
            threads.start(self.apply, f"redpool {self._config.name}", change, *arguments)
        else:
            self.apply(change, *arguments)

    def flush(self) -> None:
        """Make the changes that wait in the inbox, and carry out what the core has ordered."""
        self.apply(self._take_in)

    def _take_in(self, now: float) -> None:
        while self.inbox:
            change, *arguments = self.inbox[0]
            change(*arguments, now)
            self.inbox.popleft()

    def _taken_actions(self) -> list[AnyAction]:
        with self.guard:
            return self.core.take_actions()

    def carry_out(self, actions: Iterable[AnyAction]) -> None:
        """Carry out these actions. Who is interrupted says that the core is inconsistent."""
        core = self.core
        for action in actions:
            if type(action) is Wake:
                with contextlib.suppress(RuntimeError):  # woken already
                    action.ticket.waker.release()
            elif type(action) is ReportWait:
                self.report_wait(action)
            else:
                self._workers.carry_out(action)
        if core.wake_at < self.armed:
            self.arm()
        if core.closed:
            self._progress.set()
        if (core.closed or core.resting) and core.is_empty:
            self.wake_maintenance()

    # -- callers -----------------------------------------------------------------------------------------------------

    @staticmethod
    def give_waker(ticket: Ticket) -> None:
        """Give a ticket what wakes its caller, who parks on it: no other caller is ever woken by it. Under `guard`."""
        ticket.borrower = threading.get_ident()
        ticket.waker = threading.Lock()
        ticket.waker.acquire()

    def caller(self) -> int:
        """Return the thread that calls."""
        return threading.get_ident()

    def overflow_connection(self) -> Any:
        """Connect beside the pool, for once, for a caller who has interrupted the pool in this very thread."""
        if self.core.closed:
            raise PoolClosed(f"{self._config.name}: the pool was shut down")
        if (failure := self.core.failure_in_pause(_monotonic())) is not None:
            raise failure
        connection = self._factory.connection()
        lifecycle.connect(connection)
        lifecycle.mark(connection, Overflow(self.core, self.retry_sent), None)
        return connection

    def wait(self, ticket: Ticket) -> Slot | None:
        """Return the slot that the ticket is granted; `None` where it isn't.

        The ticket is the slot's borrower until the caller has taken the connection out.
        """
        limit = current()
        if self.core.shedding is not None:
            self.decide(self.core.bound, ticket, _NEVER if limit is None else limit.at)
        self._park(ticket, limit)
        return ticket.slot

    def _park(self, ticket: Ticket, limit: deadline | None = None) -> None:
        core = self.core
        if self._config.budget is not None:
            self._config.budget.caller_waits()
        if core.outbox or core.inconsistent or self.inbox:
            self.flush()
        elif core.wake_at < self.armed:
            self.arm()
        end = ticket.deadline if limit is None else min(ticket.deadline, limit.at)
        while ticket.state is TicketState.WAITING:
            left = end - _monotonic()
            connects = core.connector
            soon = self._maintenance is None or (connects.slots and connects.unbegun)
            longest = _LONGEST_SLEEP_ALONE if soon else _LONGEST_SLEEP
            if not ticket.waker.acquire(timeout=max(0.0, min(left, longest))):
                self.look_around(ticket if left <= longest else None)

    def catch_up(self) -> None:
        """Have what came in known to the core, before it is looked at; it costs nothing where there was nothing.

        What was dropped while an interruption has swallowed the word of it, maintenance finds.
        """
        if self._maintenance is None:
            self.look_around()
        elif (self.inbox or self.core.inconsistent) and not self.reentered():
            self.flush()

    def look_around(self, late: Ticket | None = None) -> None:
        """Take back what was dropped, also where an interruption has swallowed the word of it; end a wait that is late.

        Where no thread was to be had for the maintenance thread, do its work.
        """
        if self.reentered():
            return
        alone = self._maintenance is None
        self.apply(self._look_around, late, alone)
        if alone:
            self._look_after_connections(_monotonic())

    def _look_around(self, late: Ticket | None, alone: bool, now: float) -> None:
        self._reclaim_lost(now)
        self.core.order_again()
        if alone and now >= self.core.wake_at:
            self.core.tick(now)
            self._expect_upkeep(now)
        if late is not None:
            self.core.give_up(late, now, timed_out=True)

    def _reclaim_lost(self, now: float) -> None:
        """Take back what came in, what was dropped, and what threads have left that have ended. Under `guard`."""
        if self.inbox:
            self._take_in(now)
        self.core.reclaim(now)
        if self._workers.at_work:
            self._workers.reclaim(now)

    def stand_in(self) -> None:
        """Do the maintenance thread's work, for want of a thread: called by a caller that has waited in vain."""
        if self._maintenance is None:
            self.look_around()

    def settle(self, slot: Slot, connection: Any) -> bool:
        """Validate a connection that has been idle long, or over which something has come. False: it was no good.

        It is gone then. Meanwhile it is `validating`: a caller that is interrupted here leaves one to be closed.
        """
        slot.validating = True
        if lifecycle.peek(connection) and (slot.needs_validation != "ping" or lifecycle.ping(connection)):
            slot.validating = False
            return True
        self.reject(slot, connection)
        return False

    def abandon(self, got: Slot | Ticket | None) -> None:
        """Take back what a caller had got that was interrupted on its way out."""
        if got is None:
            self.flush()
            return
        self.core.inconsistent = True
        if self._workers.short_of_threads:
            self.decide(self.hand_on, got, threading.get_ident())
            self.wake_maintenance()  # others connect for themselves: the caller has no time for it
        else:
            self.apply(self.hand_on, got, threading.get_ident())

    def turn_to_connect(self) -> Ticket | None:
        """Wait until a connection on lease may be connected anew, or raise why it isn't.

        The ticket is to be given to `connect_ended`. Who has interrupted the pool, or its own connect, in this very
        thread can't wait for it: then there is none.
        """
        if self.inherited or self.reentered():
            return None
        ticket = self.decide(self._ask_to_connect, current())
        if ticket is None:
            return None
        try:
            self._park(ticket)
        except BaseException:
            self.connect_ended(ticket, None, interrupted=True)
            raise
        return self.turn_of(ticket)

    def _ask_to_connect(self, limit: deadline | None, now: float) -> Ticket | None:
        me = threading.get_ident()
        if any(each.borrower == me for each in self.core.connector.leases):
            return None
        ticket = self.core.ask_to_connect(now, _NEVER if limit is None else limit.at)
        self.give_waker(ticket)
        return ticket

    def collected(self, slot: Slot) -> None:
        """Its borrower was collected and gives it back now; that is told later, as this may be anywhere."""
        dropped = [(slot, slot.since, slot.caller, slot.taken)]
        self.apply_later(self._report_dropped, dropped)

    def _report_dropped(self, dropped: list[tuple[Slot, float, Any, Any]], now: float) -> None:
        while dropped:  # once: an interruption has what is in the inbox applied again
            self.core.report_dropped(*dropped.pop(), now)

    def bound(self, slot: Slot, limit: deadline) -> None:
        """End the call under way over a connection on lease with the deadline; if need be, maintenance ends it."""
        if slot.limited is not None and slot.limited[1] is limit and slot.limited[0] == slot.lease:
            return
        slot.bound(limit)
        if not self.reentered():
            with self.guard:
                self.core.wake_by(limit.at + CALL_GRACE)
            if self.core.wake_at < self.armed:
                self.arm()

    def warm_up(self, opens: int, timeout: float | None) -> None:
        """Wait until `opens` connections are open."""
        if self.reentered():
            raise RuntimeError("warm_up() was called by what has interrupted the pool in this very thread")
        ticket = self.decide(self._ask_to_warm_up, opens, timeout)
        try:
            self._park(ticket)
        except BaseException:
            self.abandon(ticket)
            raise
        if ticket.error is not None:
            raise lifecycle.own_error(ticket.error)

    def _ask_to_warm_up(self, opens: int, timeout: float | None, now: float) -> Ticket:
        ticket = self.core.warm_up(opens, now, _NEVER if timeout is None else now + timeout)
        self.give_waker(ticket)
        return ticket

    # -- the whole pool ----------------------------------------------------------------------------------------------

    def is_over(self) -> bool:
        """Return whether none is open any more, nor will be."""
        return self.inherited or (self.core.closed and self.core.is_empty)

    def take_share(self, granted: int) -> None:
        """Have no more than so many connections, as soon as what is in use beyond that comes back."""
        self._take_share(granted)

    def emptied(self, timeout: float | None) -> None:
        """Wait, for so many seconds at most, until a pool that was shut down has only listeners and the caller left."""
        end = _NEVER if timeout is None else _monotonic() + timeout
        while not self.reentered():
            self._progress.clear()
            left = end - _monotonic()
            if not self.others_left() or left <= 0:
                return
            self._progress.wait(None if left == _NEVER else left)

    def close_later(self) -> None:
        """Have maintenance do that: a finalizer may run anywhere. Where there is none, nothing is open."""
        if self._maintenance is not None:
            self._to_be_closed = True
            self.wake_maintenance()

    @contextlib.contextmanager
    def set_aside(self, slot: Slot) -> Iterator[bool]:
        """Keep an idle connection from being handed out; yields False where it isn't idle."""
        if self.inherited:
            yield False
            return
        mark = object()
        try:
            alone = self.decide(self._set_aside, slot, mark)
            alive = False
            try:
                yield alone
                alive = alone and lifecycle.is_open(slot.connection)
            finally:
                if not self.reentered():  # as where this is collected, since its caller was interrupted
                    self.apply(self._put_back, slot, mark, alive)
        except BaseException:
            self.apply_later(self._put_back, slot, mark, False)
            raise

    def _set_aside(self, slot: Slot, mark: object, _now: float) -> bool:
        if slot.state is State.IDLE:
            slot.borrower = mark  # first: by this the slot is found again, wherever an interruption comes
        return self.core.set_aside(slot)

    def _put_back(self, slot: Slot, mark: object, alive: bool, now: float) -> None:
        if slot.borrower is mark:
            self.core.validated(slot, alive, now)
        if slot.borrower is mark:
            slot.borrower = None

    def leases(self) -> list[tuple[Slot, Any]]:
        """Return the slots on lease, each with its connection, `None` where that was dropped."""
        with self.guard:
            return super().leases()

    def seen(self) -> tuple[list[Any], list[Any], tuple[CallerClass, ...]]:
        """Return what a dump is made of."""
        with self.guard:
            return super().seen()

    # -- time --------------------------------------------------------------------------------------------------------

    def _owner_gone(self, _reference: object) -> None:
        self.wake_maintenance()  # which looks whether the pool is still there

    def wake_maintenance(self) -> None:
        """Have the maintenance thread look; safe wherever an interruption may come."""
        maintenance = self._maintenance
        if maintenance is not None:
            maintenance.wake_maintenance()

    def arm(self) -> None:
        """Have the maintenance thread wake in time."""
        with self.guard:
            if self.core.wake_at >= self.armed:
                return
            if self._maintenance is None:
                if _monotonic() < self._next_thread_at:
                    return
                maintenance = MaintenanceThread(self, f"redpool {self._config.name} maintenance thread")
                try:
                    maintenance.start()
                except threads.NoThread:
                    # As when the interpreter is going down: a later caller tries again.
                    self._next_thread_at = _monotonic() + _NEXT_THREAD_AFTER
                    return
                # Should an interruption keep it from being known here, its thread sees to that (`takes_on`).
                self._maintenance = maintenance
            maintenance, self.armed = self._maintenance, self.core.wake_at
        maintenance.wake_maintenance()

    def takes_on(self, maintenance: MaintenanceThread) -> bool:
        """Return whether this is the pool's maintenance thread: called by the thread of it before all else.

        It may be unknown so far, as what started it was interrupted; but not where there is another one meanwhile.
        """
        with self.guard:
            if self._maintenance is None:
                self._maintenance = maintenance
            return self._maintenance is maintenance

    def _expect_upkeep(self, now: float) -> None:
        """Have the maintenance thread come, though nothing may be due: some things have no time. Under `guard`."""
        if not self.core.is_empty:
            self.core.wake_by(now + _LONGEST_WITHOUT_UPKEEP)

    def run_maintenance(self) -> float | None:
        """Do what is due. Returns the seconds until the next thing is, `None` when there will be none."""
        if not same_process[0]:  # greenlets are forked, too
            begin_in_child()
        settled = None if self.inherited else self.apply(self._upkeep)
        if settled is None:
            return None
        if self._to_be_closed:
            self._to_be_closed = False
            self.close()
        longest = self._look_after_connections(_monotonic())
        core = self.core
        wait = max(0.0, core.wake_at - _monotonic())
        if core.is_empty:
            return wait if settled else 0.0  # there may be nothing left to do now
        return min(wait, longest)

    def look_for_slow(self) -> float:
        """Look which commands are slow. Returns the seconds until the next look."""
        multiplexed = None if self.inherited else self.multiplexed
        return _NEVER if multiplexed is None else float(multiplexed.look_for_slow(_monotonic()))

    def _upkeep(self, now: float) -> bool | None:
        """Return whether nothing came in and nothing was ordered; `None` where nothing is open, or will be due."""
        core = self.core
        if self.owner() is None and not core.closed:
            core.shutdown(now)
        settled = not self.inbox
        self._reclaim_lost(now)
        if now >= core.wake_at or core.is_empty:  # what was due of a connection that is closed now is not any more
            core.tick(now)
        settled = settled and not core.outbox
        if settled and core.is_empty and (core.closed or core.wake_at == _NEVER):
            # Nothing is left to be carried out or reported: `arm` begins anew.
            self._maintenance, self.armed, self._to_be_closed = None, _NEVER, False
            return None
        self.armed = core.wake_at
        return settled

    def _look_after_connections(self, now: float) -> float:
        """Look whether a method of theirs was replaced, and after multiplexed ones; return when to come again."""
        self._factory.look_again()
        self._prolonged.look(self.leases(), now)
        if self.multiplexed is not None:
            try:
                return float(self.multiplexed.tick(now))
            except Exception:
                logger.exception("%s: looking after multiplexed connections failed", self._config.name)
        return _LONGEST_SLEEP
