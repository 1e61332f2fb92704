"""What drives a pool's core with threads: one short lock, parked callers, a thread for each connect, maintenance.

What must stay true: no I/O, no hook, no log call under `guard`; each order is carried out once, by the thread that took
it out of the outbox. A signal handler or a finalizer may interrupt a thread that holds the guard, and use the pool: it
must neither wait for the guard nor touch the core, which may be half-changed.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Container, Iterator
from random import Random
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..core.actions import AnyAction, Wake
from ..core.callsite import take_stack
from ..core.policy import CALL_GRACE
from ..core.pool import PoolCore
from ..core.slot import Reason, Slot, State
from ..core.stats import PoolDump
from ..core.waiters import Ticket, TicketState
from ..deadline import current, deadline
from ..errors import DeadlineExceeded, PoolClosed
from ..forks import begin_in_child, same_process
from ..redispy import lifecycle, options, pubsub, retry
from ..redispy.tracking import Tracked
from . import threads
from .dump import describe
from .maintenance import MaintenanceThread
from .workers import Workers

if TYPE_CHECKING:
    from .pool import ConnectionPool

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
        """No caller is there to cut the call off."""

    def refused_write(self, slot: object, starts_over: bool) -> bool:
        """Return that it isn't replaced."""
        return False

    def lends(self, connection: object) -> bool:
        """Return that it is not on lease: it goes on to no caller."""
        return False


class Engine:
    """The connections of one pool in one process, from its creation (or reset) on."""

    def __init__(self, owner: ConnectionPool, max_connections: int) -> None:
        self._maintenance: MaintenanceThread | None = None
        self.owner = weakref.ref(owner, self._owner_gone)
        self.inherited = False  # from the parent of a forked child
        self.guard = threading.RLock()
        # Whether this very thread was interrupted while it held the guard. The lock knows; a flag of ours could lie.
        self.reentered: Callable[[], bool] = self.guard._is_owned  # type: ignore[attr-defined]
        # What came back in an interruption or was dropped: the slot, the number of its lease, what is wrong, and the
        # connection, which is kept here until then.
        self.returned: deque[tuple[Slot, int, Reason | None, Any]] = deque()
        self.left: deque[Slot | Ticket | None] = deque()  # what callers had got who were interrupted on their way out
        # What redis-py gave back for a caller who had dropped its holder: the slot, the age, the thread, and the place.
        self._collected: deque[tuple[Slot, float, Any, Any]] = deque()
        self._config, self._hooks = owner.config, owner._hooks
        self.retry_sent = owner.config.retry_sent
        self.when_dropped = self._dropped  # one for all connections
        self.transaction = _Transaction(self)
        self._workers = Workers(self, owner.config.name, owner._hooks)
        budget = options.connect_budget(owner.connection_kwargs)
        self.core = PoolCore(owner.config, _monotonic(), Random(), budget)
        self.core.sit_through(owner._connect_retries.failures)
        self._to_be_closed = False  # a client was collected that owns the pool; maintenance takes the note
        if max_connections != self.core.max_connections:
            self.core.resize(max_connections, _monotonic())
        self.armed = _NEVER  # when the maintenance thread wakes
        self._next_thread_at = -_NEVER  # when a thread is asked for again; written under `guard`
        self._progress = threading.Event()  # a pool that was shut down has one connection less
        self.multiplexed: Any = owner.make_multiplexed()  # of a pool that shares connections

    # -- callers -----------------------------------------------------------------------------------------------------

    @staticmethod
    def give_waker(ticket: Ticket) -> None:
        """Give a ticket what wakes its caller, who parks on it: no other caller is ever woken by it. Under `guard`."""
        ticket.borrower = threading.get_ident()
        ticket.waker = threading.Lock()
        ticket.waker.acquire()

    def overflow_connection(self) -> Any:
        """For a caller who has interrupted the pool in this very thread: a connection beside it, for once."""
        owner = self.owner()
        if owner is None or self.core.closed:
            raise PoolClosed(f"{self._config.name}: the pool was shut down")
        if (failure := self.core.failure_in_pause(_monotonic())) is not None:
            raise failure
        connection = owner.make_connection()
        lifecycle.connect(connection)
        lifecycle.mark(connection, Overflow(self.core, self.retry_sent), None)
        return connection

    def check_deadline(self, limit: deadline) -> None:
        """No caller gets a connection after its deadline."""
        if limit.reached():
            raise DeadlineExceeded(f"{self._config.name}: the deadline of {limit.seconds:g} s came before a connection")

    def turn_to_connect(self) -> Ticket | None:
        """Wait until a connection on lease may be opened anew, or raise why it isn't.

        The ticket is to be given to `connect_ended`. Who has interrupted the pool, or its own connect, in this very
        thread can't wait for it: then there is none.
        """
        me = threading.get_ident()
        if self.inherited or self.reentered():
            return None
        limit = current()
        with self.guard, self.transaction:
            if any(each.borrower == me for each in self.core.connector.leases):
                return None
            ticket = self.core.ask_to_connect(_monotonic(), _NEVER if limit is None else limit.at)
            self.give_waker(ticket)
        try:
            self._park(ticket)
        except BaseException:
            self.connect_ended(ticket, None, interrupted=True)
            raise
        if ticket.error is not None:
            error = lifecycle.own_error(ticket.error)
            raise retry.final(error) if self.core.closed or self.core.connector.hopeless else error
        return ticket

    def connect_ended(self, ticket: Ticket, error: BaseException | None, interrupted: bool = False) -> None:
        """Say how the connect went for which the ticket was granted."""
        with self.guard, self.transaction:
            core, now = self.core, _monotonic()
            if lifecycle.says_of_server(error):
                assert error is not None
                core.lease_connect_failed(ticket, lifecycle.bare_copy(error), now, options.failure(error))
            elif error is not None or interrupted:
                core.give_up_connect(ticket, now)
            else:
                core.lease_connected(ticket, now)
        self.flush()

    def refused_write(self, slot: Slot | None, starts_over: bool) -> bool:
        """A replica has refused a write over the connection in `slot`: replace what was connected before it was known.

        See `PoolCore.refused_write`.
        """
        if self.inherited or self.reentered():
            return False
        with self.guard, self.transaction:
            before = self.core.generation
            replaced = self.core.refused_write(slot, starts_over, _monotonic())
            drained = self.core.generation != before
        self.flush()
        if drained and self.multiplexed is not None:
            self.multiplexed.retire_all()
        return replaced

    def collected(self, slot: Slot) -> None:
        """Its holder was collected and gives it back now; that is told later, as this may be anywhere."""
        self._collected.append((slot, _monotonic() - slot.since, slot.caller, slot.taken))
        self.wake_maintenance()

    def reclaim(self, connection: Any) -> None:
        """Take back a connection that was shared, the pool being gone; its slot waits for no caller to drop it."""
        slot = connection._redpool.slot
        self.returned.append((slot, slot.lease, Reason.POOL_CLOSED, connection))
        self.wake_maintenance()

    def bound(self, slot: Slot, limit: deadline) -> None:
        """End the call under way over a connection on lease with the deadline; if need be, maintenance ends it."""
        if slot.limited is not None and slot.limited[1] is limit and slot.limited[0] == slot.lease:
            return
        slot.limited = (slot.lease, limit)
        if not self.reentered():
            with self.guard, self.transaction:
                self.core.wake_by(limit.at + CALL_GRACE)
            if self.core.wake_at < self.armed:
                self.arm()

    def abandon(self, got: Slot | Ticket | None) -> None:
        """Take back what a caller had got that was interrupted on its way out."""
        if got is None:
            self.flush()
            return
        self.core.inconsistent = True
        with self.guard, self.transaction:
            self._hand_on(got, threading.get_ident())
        if self._workers.short_of_threads:
            self.wake_maintenance()  # others connect for themselves: the caller has no time for it
        else:
            self.flush()

    def _hand_on(self, got: Slot | Ticket, borrower: int | None = None) -> None:
        """Take back what its caller has not used yet: whole, it goes on to the next one. Under `guard`.

        Nothing but a check can have been made over it; where one was under way, the connection is closed.
        """
        now = _monotonic()
        slot = self.core.give_up(got, now) if isinstance(got, Ticket) else got
        if slot is None or slot.state is not State.LEASED or slot.borrower not in (got, borrower):
            return
        slot.connection = connection = slot.current
        whole = connection is not None and not slot.validating and lifecycle.intact(connection)
        self.core.release(slot, now, None if whole else Reason.ERROR)

    def wait(self, ticket: Ticket) -> Slot | None:
        """The slot that the ticket is granted; `None` where it isn't.

        The ticket is the slot's holder until the caller has taken the connection out.
        """
        self._park(ticket, current())
        return ticket.slot

    def rejected(self, ticket: Ticket) -> BaseException:
        """What the caller is told whose ticket was not granted."""
        assert ticket.error is not None
        if ticket.state is TicketState.TIMED_OUT:
            self._hooks.fire("timed_out", self._config.name, _monotonic() - ticket.since)
            limit = current()
            if limit is not None and limit.at < ticket.deadline:
                error = DeadlineExceeded(str(ticket.error))
                error.__cause__ = ticket.error
                return error
        return lifecycle.own_error(ticket.error)

    def _park(self, ticket: Ticket, limit: deadline | None = None) -> None:
        core = self.core
        if core.outbox or core.inconsistent or self.left or self.returned:
            self.flush()
        elif core.wake_at < self.armed:
            self.arm()
        end = ticket.deadline if limit is None else min(ticket.deadline, limit.at)
        while ticket.state is TicketState.WAITING:
            left = end - _monotonic()
            longest = _LONGEST_SLEEP_ALONE if self._maintenance is None else _LONGEST_SLEEP
            if ticket.waker.acquire(timeout=max(0.0, min(left, longest))):
                continue
            self.look_around()
            if left <= longest:
                with self.guard, self.transaction:
                    self.core.give_up(ticket, _monotonic(), timed_out=True)

    def look_around(self) -> None:
        """Take back what was dropped, also where an interruption has swallowed the word of it.

        Where no thread was to be had for the maintenance thread, do its work.
        """
        if self.reentered():
            return
        alone = self._maintenance is None
        with self.guard, self.transaction:
            now = _monotonic()
            self.core.reclaim(now)
            if alone and now >= self.core.wake_at:
                self.core.tick(now)
                self.expect_upkeep(now)
        self.flush()
        if alone:
            self._look_after_multiplexed(now)

    def stand_in(self) -> None:
        """Do the maintenance thread's work, for want of a thread: called by a caller that has waited in vain."""
        if self._maintenance is None:
            self.look_around()

    def _look_after_multiplexed(self, now: float) -> float:
        """Return the seconds until the next look at them."""
        if self.multiplexed is not None:
            try:
                return float(self.multiplexed.tick(now))
            except Exception:
                logger.exception("%s: looking after multiplexed connections failed", self._config.name)
        return _LONGEST_SLEEP

    def settle(self, slot: Slot, connection: Any) -> bool:
        """Validate a connection that has been idle long, or over which something has come. False: it was no good.

        It is gone then. Meanwhile it is `validating`: a caller that is interrupted here leaves one to be closed.
        """
        slot.validating = True
        if lifecycle.peek(connection) and (slot.needs_validation != "ping" or lifecycle.ping(connection)):
            slot.validating = False
            return True
        with self.guard, self.transaction:
            slot.connection = connection
            self.core.reject_at_checkout(slot, _monotonic())
        self.flush()
        return False

    def lends(self, connection: Any) -> bool:
        """Whether the connection is on lease from here, and the pool not shut down."""
        reference = connection._redpool
        return (
            reference.engine is self
            and reference.slot.reference is reference
            and reference.slot.connection is None
            and not self.core.closed
        )

    def to_be_cleared(self, slot: Slot, connection: Any) -> Any:
        """What may be used again after a check in the background, of a connection that can't be as it is; or `None`."""
        if getattr(connection, "handing_over", False):
            return self._succeed(slot, connection)
        return connection if isinstance(connection, Tracked) and connection.only_unread() else None

    def _succeed(self, slot: Slot, connection: Any) -> Any:
        """A new connection with the socket of one that its subscriber has left, for the same slot."""
        owner = self.owner()
        if owner is None:
            return None
        successor = owner.make_connection()
        if pubsub.adopt_socket(connection, successor):
            slot.reference = lifecycle.mark(successor, self, slot, self.when_dropped)
            return successor
        lifecycle.close(successor)
        return None

    def watch(self, slot: Slot, got: Slot | Ticket, caller: FrameType) -> None:
        """Note where the connection was taken, and tell the hooks."""
        if self._config.leak_after is not None:
            slot.taken = take_stack(caller)
        waited = slot.since - got.since if isinstance(got, Ticket) else 0.0
        self._hooks.fire("acquired", self._config.name, waited)

    def warm_up(self, opens: int, timeout: float | None) -> None:
        """Wait until `opens` connections are open."""
        if self.reentered():
            raise RuntimeError("warm_up() was called by what has interrupted the pool in this very thread")
        now = _monotonic()
        with self.guard, self.transaction:
            ticket = self.core.warm_up(opens, now, _NEVER if timeout is None else now + timeout)
            self.give_waker(ticket)
        try:
            self._park(ticket)
        except BaseException:
            self.abandon(ticket)
            raise
        if ticket.error is not None:
            raise lifecycle.own_error(ticket.error)

    def emptied(self, timeout: float | None, but: Container[Slot] = ()) -> None:
        """Wait, for so many seconds at most, until a pool that was shut down has only these and the caller's left."""
        end = _NEVER if timeout is None else _monotonic() + timeout
        while not self.reentered():
            self._progress.clear()
            left = end - _monotonic()
            if not self._others_left(but) or left <= 0:
                return
            self._progress.wait(None if left == _NEVER else left)

    def _others_left(self, but: Container[Slot]) -> bool:
        me = threading.get_ident()
        with self.guard:
            waived = sum(slot.caller == me or slot in but for slot in self.core.leased())
            return bool(len(self.core.slots) - len(self.core.empty) > waived)

    def close(self) -> None:
        """Close what is idle now, what is in use when it comes back, and what is shared once all is answered."""
        self._close(PoolCore.close)

    def disconnect(self) -> None:
        """Close the same way; the next caller connects, whatever the last connects have ended with."""
        self._close(PoolCore.disconnect)

    def _close(self, close: Callable[[PoolCore, float], None]) -> None:
        self.do(close)
        if self.multiplexed is not None:
            self.multiplexed.close()

    def close_later(self) -> None:
        """Have maintenance do that: a finalizer may run anywhere. Where there is none, nothing is open."""
        if self._maintenance is not None:
            self._to_be_closed = True
            self.wake_maintenance()

    def end_listeners(self) -> set[Slot]:
        """End subscribers and monitors, which would listen for ever: no retry policy brings them back."""
        ended = set()
        with self.guard:
            leased = self._leases()
        for slot, connection in leased:
            if connection is not None and lifecycle.listens(connection):
                slot.keep()  # should its holder drop it now, that is no leak
                lifecycle.end(connection)
                lifecycle.cut(connection)
                ended.add(slot)
        return ended

    def cut_leases(self, others: bool = True) -> None:
        """End the connections in use: the calling thread's own are closed, others' are cut under their hands."""
        me = threading.get_ident()
        with self.guard:
            leased = self._leases()
        for slot, connection in leased:
            if connection is None:
                continue  # dropped: it is closed already
            mine = slot.caller == me
            if mine and lifecycle.unshared(connection):
                lifecycle.close(connection)
            elif others:
                lifecycle.cut(connection)

    @contextlib.contextmanager
    def set_aside(self, slot: Slot) -> Iterator[bool]:
        """Keep an idle connection from being handed out; yields False where it isn't idle."""
        if self.inherited:
            yield False
            return
        with self.guard, self.transaction:
            alone = self.core.set_aside(slot)
        alive = False
        try:
            yield alone
            alive = alone and lifecycle.is_open(slot.connection)
        finally:
            if alone:
                with self.guard, self.transaction:
                    self.core.validated(slot, alive, _monotonic())
                self.flush()

    def do(self, act: Callable[[PoolCore, float], None]) -> None:
        """Let `act` change the core, and carry out what follows."""
        if self.reentered():
            threads.start(self.do, f"redpool {self._config.name}", act)
            return
        with self.guard, self.transaction:
            act(self.core, _monotonic())
        self.flush()

    # -- carrying out orders -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Take in what came back in interruptions, and carry out what the core has ordered."""
        try:
            with self.guard, self.transaction:
                self._take_in()
                orders = self.core.take_actions() if self.core.outbox else []
            self.carry_out(orders)
        except BaseException:
            self.core.inconsistent = True  # the caller that comes next has the core order anew what was not done
            self.wake_maintenance()
            raise

    def _take_in(self) -> None:
        while self.left:
            self._release_interrupted(self.left[0])
            self.left.popleft()
        while self._collected:
            self.core.report_dropped(*self._collected.popleft())
        while self.returned:
            self._reclaim(*self.returned[0])
            self.returned.popleft()

    def _release_interrupted(self, got: Slot | Ticket | None) -> None:
        """A caller was interrupted on its way out: what it had is collected, what it was granted goes on."""
        if isinstance(got, Ticket):
            self._hand_on(got)

    def _reclaim(self, slot: Slot, lease: int, fault: Reason | None, connection: Any) -> None:
        if slot.state is not State.LEASED or slot.lease != lease:
            return
        if fault is Reason.LEAKED:
            self.core.leaked(slot, _monotonic())
        else:
            slot.connection = connection
            self.core.release(slot, _monotonic(), fault)

    def carry_out(self, orders: list[AnyAction]) -> None:
        """Carry out these actions, and those that follow. Who is interrupted says that the core is inconsistent."""
        core = self.core
        while orders:
            only_wakes = True
            for order in orders:
                if type(order) is Wake:
                    with contextlib.suppress(RuntimeError):  # woken already
                        order.ticket.waker.release()
                else:
                    only_wakes = False
                    self._workers.carry_out(order)
            if only_wakes:
                break  # nothing can follow from them
            with self.guard, self.transaction:
                orders = core.take_actions()
        if core.wake_at < self.armed:
            self.arm()
        if core.closed:
            self._progress.set()
        if core.is_empty and (core.closed or core.resting):
            self.wake_maintenance()

    def _dropped(self, reference: Any) -> None:
        """A connection was collected. Garbage collection may come anywhere, under `guard` too."""
        slot = reference.slot
        if (
            slot.reference is reference
            and slot.state is State.LEASED
            and slot.connection is None
            and not self.inherited
        ):
            self.returned.append((slot, slot.lease, Reason.LEAKED, None))
            self.wake_maintenance()

    # -- time --------------------------------------------------------------------------------------------------------

    def _owner_gone(self, _: object) -> None:
        # Garbage collection may come anywhere, under `guard` too: leave the work to the maintenance thread.
        self.wake_maintenance()

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
            self.armed = self.core.wake_at
        self.wake_maintenance()

    def takes_on(self, maintenance: MaintenanceThread) -> bool:
        """Return whether this is the pool's maintenance thread: called by the thread of it before all else.

        It may be unknown so far, as what started it was interrupted; but not where there is another one meanwhile.
        """
        with self.guard:
            if self._maintenance is None:
                self._maintenance = maintenance
            return self._maintenance is maintenance

    def expect_upkeep(self, now: float) -> None:
        """Have the maintenance thread come, though nothing may be due: some things have no time. Under `guard`."""
        if not self.core.is_empty:
            self.core.wake_by(now + _LONGEST_WITHOUT_UPKEEP)

    def run_maintenance(self) -> float | None:
        """Do what is due. Returns the seconds until the next thing is, `None` when there will be none."""
        if not same_process[0]:  # greenlets are forked, too
            begin_in_child()
        if self.inherited:
            return None
        with self.guard, self.transaction:
            core, now = self.core, _monotonic()
            if self.owner() is None and not core.closed:
                core.shutdown(now)
            if now >= core.wake_at or core.is_empty:  # what was due of a connection that is closed now is not any more
                core.tick(now)
            settled = not (core.outbox or self.returned or self.left or self._collected)
            if settled and core.is_empty and (core.closed or core.wake_at == _NEVER):
                # Nothing is open, nothing is due, and nothing is left to be carried out or reported: `arm` begins anew.
                self._maintenance, self.armed, self._to_be_closed = None, _NEVER, False
                return None
            self.armed = core.wake_at
            core.reclaim(now)
        self.flush()
        if self._to_be_closed:
            self._to_be_closed = False
            self.close()
        longest = self._look_after_multiplexed(now)
        wait = max(0.0, core.wake_at - _monotonic())
        if core.is_empty:
            return wait if settled else 0.0  # there may be nothing left to do now
        return min(wait, longest)

    def lent(self) -> set[Any]:
        """Return the connections on lease. Under `guard`."""
        return {connection for _, connection in self._leases()} - {None}

    def _leases(self) -> list[tuple[Slot, Any]]:
        """Return the slots on lease, each with its connection, `None` where that was dropped. Under `guard`."""
        return [(slot, slot.current) for slot in self.core.leased()]

    # -- what can be seen --------------------------------------------------------------------------------------------

    def dump(self) -> PoolDump:
        """Who holds what, and who waits how long."""
        with self.guard:
            leases, waiters = self._seen()
        return describe(self._config.name, leases, waiters)

    def _seen(self) -> tuple[list[Any], list[Any]]:
        core, now = self.core, _monotonic()
        leases = [(now - slot.since, slot.caller, slot.taken, slot.current) for slot in core.leased()]
        return leases, [(now - ticket.since, ticket.borrower) for ticket in core.waiting()]


class _Transaction:
    """`with engine.guard, engine.transaction:` whatever interrupts it, the core is in order when the guard goes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __enter__(self) -> None:
        core = self._engine.core
        if core.inconsistent:
            core.repair(_monotonic())
        core.inconsistent = True  # until the block is through: its end may be interrupted, too

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        core = self._engine.core
        if kind is not None:
            core.repair(_monotonic())
        core.inconsistent = False
