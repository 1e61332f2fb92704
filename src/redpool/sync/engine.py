"""What drives a pool's core with threads: one short lock, parked callers, a thread for each dial, one housekeeper.

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
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from ..core.orders import AnyOrder, Check, Close, CutDial, Dial, ReportLeak, Wake
from ..core.pool import PoolCore
from ..core.slot import Reason, Slot, State
from ..core.stacks import leak_message, shown, take_stack
from ..core.stats import PoolDump
from ..core.ticket import Ticket, TicketState
from ..errors import PoolClosed
from ..redispy import connections, options
from .dump import describe, holder_name
from .housekeeper import Housekeeper

if TYPE_CHECKING:
    from .pool import ConnectionPool

logger = logging.getLogger("redpool")

_monotonic = time.monotonic
_NEVER = float("inf")
# Whose a connection is that was made beside the pool.
SPARE: Any = object()


class Engine:
    """The connections of one pool in one process, from its creation (or reset) on."""

    def __init__(self, owner: ConnectionPool, max_connections: int) -> None:
        self.owner = weakref.ref(owner, self._owner_gone)
        self.inherited = False  # from the parent of a forked child
        self.guard = threading.RLock()
        # Whether this very thread was interrupted while it held the guard. The lock knows; a flag of ours could lie.
        self.reentered: Callable[[], bool] = self.guard._is_owned  # type: ignore[attr-defined]
        # What came back in an interruption: the slot, since when it was on lease, and what is wrong with it.
        self.returned: deque[tuple[Slot, float, Reason | None]] = deque()
        self._config, self._hooks = owner.config, owner._hooks
        budget = options.dial_budget(owner.connection_kwargs)
        self.core = PoolCore(owner.config, _monotonic(), Random(), budget)
        self.core.dialling.retries = owner._dial_retries.failures
        if max_connections != self.core.max_connections:
            self.core.resize(max_connections, _monotonic())
        self._housekeeper: Housekeeper | None = None
        self.armed = _NEVER  # when the housekeeper wakes
        self._progress = threading.Event()  # a closed pool has one connection less

    # -- callers -----------------------------------------------------------------------------------------------------

    @staticmethod
    def take_place(ticket: Ticket) -> None:
        """Give a ticket what wakes its caller, who parks on it: nobody else is ever woken by it. Under `guard`."""
        ticket.holder = threading.get_ident()
        ticket.waker = threading.Lock()
        ticket.waker.acquire()

    def spare_connection(self) -> Any:
        """For a caller who has interrupted the pool in this very thread: a connection beside it, for once."""
        owner = self.owner()
        if owner is None or self.core.closed:
            raise PoolClosed(f"{self._config.name}: the pool is closed")
        connection = owner.make_connection()
        connections.connect(connection)
        connection._redpool = (SPARE, None)
        return connection

    def abandon(self, got: Slot | Ticket | None) -> None:
        """The caller was interrupted on his way out with what he got: take it back, and don't trust it."""
        if got is None:
            return
        with self.guard:
            slot = self.core.give_up(got, _monotonic()) if isinstance(got, Ticket) else got
            if slot is not None and slot.state is State.LEASED and slot.holder == threading.get_ident():
                self.core.release(slot, _monotonic(), Reason.ERROR)
        self.flush()

    def wait(self, ticket: Ticket) -> Slot:
        """The slot that the ticket is granted, or what ended it otherwise, raised."""
        self._park(ticket)
        if ticket.slot is not None:
            return ticket.slot
        if ticket.state is TicketState.TIMED_OUT:
            self._hooks.fire("timed_out", self._config.name, _monotonic() - ticket.since)
        assert ticket.error is not None
        raise connections.own_error(ticket.error)

    def _park(self, ticket: Ticket) -> None:
        self.flush()
        if ticket.state is TicketState.WAITING:
            left = ticket.deadline - _monotonic()
            if not ticket.waker.acquire(timeout=-1 if left == _NEVER else max(0.0, left)):
                with self.guard:
                    self.core.give_up(ticket, _monotonic(), timed_out=True)

    def settle(self, slot: Slot) -> bool:
        """Check a connection that has rested. False: it was no good, and is gone."""
        good = False
        try:
            good = connections.ping(slot.connection) if slot.doubt == "ping" else connections.peek(slot.connection)
        finally:
            slot.doubt = None
            if not good:
                with self.guard:
                    self.core.reject(slot, _monotonic())
                self.flush()
        return good

    def watch(self, slot: Slot, got: Slot | Ticket) -> None:
        """Record who took the connection, and tell the hooks."""
        if self._config.leak_after is not None:
            slot.stack = take_stack(2)
        waited = slot.since - got.since if isinstance(got, Ticket) else 0.0
        self._hooks.fire("acquired", self._config.name, waited)

    def warm_up(self, opens: int, timeout: float | None) -> None:
        """Wait until `opens` connections are open."""
        if self.reentered():
            raise RuntimeError("warm_up() was called by what has interrupted the pool in this very thread")
        now = _monotonic()
        with self.guard:
            ticket = self.core.warm_up(opens, now, _NEVER if timeout is None else now + timeout)
            self.take_place(ticket)
        try:
            self._park(ticket)
        except BaseException:
            self.abandon(ticket)
            raise
        if ticket.error is not None:
            raise connections.own_error(ticket.error)

    def vacated(self, timeout: float | None) -> None:
        """Wait, for so many seconds at most, until the closed pool has no connection; the caller's own don't count."""
        end = _NEVER if timeout is None else _monotonic() + timeout
        while not self.reentered():
            self._progress.clear()
            left = end - _monotonic()
            if not self._others_left() or left <= 0:
                return
            self._progress.wait(None if left == _NEVER else left)

    def _others_left(self) -> bool:
        me = threading.get_ident()
        with self.guard:
            mine = sum(slot.holder == me for slot in self.core.leased())
            return bool(len(self.core.slots) - len(self.core.empty) > mine)

    def cut_leases(self, others: bool = True) -> None:
        """End the connections in use: the calling thread's own are closed, others' are cut under their hands."""
        me = threading.get_ident()
        with self.guard:
            leased = [(slot.connection, slot.holder == me) for slot in self.core.leased()]
        for connection, mine in leased:
            if mine and connections.unshared(connection):
                connections.close(connection)
            elif others:
                connections.cut(connection)

    @contextlib.contextmanager
    def set_aside(self, slot: Slot) -> Iterator[bool]:
        """Keep an idle connection from being handed out; yields False where it isn't idle."""
        if self.inherited:
            yield False
            return
        with self.guard:
            alone = self.core.set_aside(slot)
        alive = False
        try:
            yield alone
            alive = alone and connections.is_open(slot.connection)
        finally:
            if alone:
                with self.guard:
                    self.core.checked(slot, alive, _monotonic())
                self.flush()

    def do(self, act: Callable[[PoolCore, float], None]) -> None:
        """Let `act` change the core, and carry out what follows."""
        if self.reentered():
            threading.Thread(target=self.do, args=(act,), daemon=True).start()
            return
        with self.guard:
            act(self.core, _monotonic())
        self.flush()

    # -- carrying out orders -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Take in what came back in interruptions, and carry out what the core has ordered."""
        with self.guard:
            while self.returned:
                slot, since, fault = self.returned.popleft()
                if slot.state is State.LEASED and slot.since == since:
                    self.core.release(slot, _monotonic(), fault)
            orders = self.core.take_orders() if self.core.outbox else ()
        self.carry_out(orders)

    def carry_out(self, orders: Sequence[AnyOrder]) -> None:
        """Carry out these orders, and those that follow from them."""
        core = self.core
        while orders:
            done, only_wakes = 0, True
            try:
                for order in orders:
                    if type(order) is Wake:
                        with contextlib.suppress(RuntimeError):  # woken already, by one who was interrupted
                            order.ticket.waker.release()
                    else:
                        only_wakes = False
                        self._carry_out_one(order)
                    done += 1
            finally:
                if done < len(orders):  # interrupted: whoever comes next goes on with them
                    with self.guard:
                        core.outbox[:0] = orders[done:]
            if only_wakes:
                break  # nothing can follow from them
            with self.guard:
                orders = core.take_orders()
        if core.wake_at < self.armed:
            self.arm()
        if core.closed:
            self._progress.set()
            if core.vacant:
                self.poke()

    def _carry_out_one(self, order: AnyOrder) -> None:
        if isinstance(order, Dial):
            self._spawn(self._dial, order.slot)
        elif isinstance(order, Check):
            self._spawn(self._check, order.slot)
        elif isinstance(order, Close):
            self._close_one(order)
        elif isinstance(order, CutDial):
            if order.slot.connection is not None:
                connections.cut(order.slot.connection)
        elif isinstance(order, ReportLeak):
            self._report_leak(order)

    def _spawn(self, work: Callable[[Slot], None], slot: Slot) -> None:
        try:
            threading.Thread(target=work, args=(slot,), name=f"redpool {self._config.name}", daemon=True).start()
        except RuntimeError:
            # No thread is to be had, as when the interpreter is going down: then the caller does it.
            work(slot)

    def _dial(self, slot: Slot) -> None:
        with self.guard:
            wanted = self.core.begin_dial(slot, _monotonic())
        if not wanted:
            self.flush()
            return
        try:
            connection = self._open(slot)
        except BaseException as error:
            self._dial_failed(slot, error)
            return
        with self.guard:
            started, now = slot.since, _monotonic()
            self.core.dialed(slot, connection, now)
        self.flush()
        self._hooks.fire("opened", self._config.name, now - started)

    def _open(self, slot: Slot) -> object:
        owner = self.owner()
        if owner is None:
            raise ConnectionAbortedError("the pool is gone")
        # Where CutDial finds it, before the core knows it.
        slot.connection = connection = owner.make_connection()
        connections.connect(connection)
        try:
            connections.mark(connection, (self, slot))
        except BaseException:
            connections.close(connection)
            raise
        return connection

    def _dial_failed(self, slot: Slot, error: BaseException) -> None:
        owner = self.owner()
        retryable = owner is not None and isinstance(error, owner._dial_retries.errors)
        with self.guard:
            self.core.dial_failed(slot, error, _monotonic(), retryable)
        self.flush()
        self._hooks.fire("dial_failed", self._config.name, error)

    def _check(self, slot: Slot) -> None:
        answered = False
        try:
            answered = connections.ping(slot.connection)
        finally:
            with self.guard:
                self.core.checked(slot, answered, _monotonic())
            self.flush()

    def _close_one(self, order: Close) -> None:
        connections.close(order.connection)
        with self.guard:
            self.core.closed_connection(order.slot, _monotonic())
        logger.debug("%s: closed a connection: %s", self._config.name, order.reason.value)
        self._hooks.fire("closed", self._config.name, order.reason.value, order.age)

    def _report_leak(self, order: ReportLeak) -> None:
        holder = holder_name(order.holder)
        logger.warning("%s", leak_message(self._config.name, order, holder))
        self._hooks.fire("leaked", self._config.name, order.age, holder, shown(order.stack))

    # -- time --------------------------------------------------------------------------------------------------------

    def _owner_gone(self, _: object) -> None:
        # Garbage collection may strike anywhere, under `guard` too: leave the work to the housekeeper.
        self.poke()

    def poke(self) -> None:
        """Have the housekeeper look; safe wherever an interruption may strike."""
        housekeeper = self._housekeeper
        if housekeeper is not None:
            housekeeper.poke()

    def arm(self) -> None:
        """Have the housekeeper wake in time."""
        with self.guard:
            if self.core.wake_at >= self.armed:
                return
            self.armed = self.core.wake_at
            if self._housekeeper is None:
                try:
                    self._housekeeper = Housekeeper(self, f"redpool {self._config.name} housekeeper")
                except RuntimeError:
                    # No thread is to be had, as when the interpreter is going down: the next caller tries again.
                    self.armed = _NEVER
                return
        self.poke()

    def keep_house(self) -> float | None:
        """Do what is due. Returns the seconds until the next thing is, `None` when there will be none."""
        with self.guard:
            core, now = self.core, _monotonic()
            if self.owner() is None and not core.closed:
                core.close(now)
            if core.closed and core.vacant:
                self._housekeeper, self.armed = None, _NEVER
                return None
            if now >= core.wake_at:
                core.tick(now)
            self.armed = core.wake_at
        self.flush()
        return max(0.0, core.wake_at - _monotonic())

    # -- what can be seen --------------------------------------------------------------------------------------------

    def dump(self) -> PoolDump:
        """Who holds what, and who waits how long."""
        with self.guard:
            core, now = self.core, _monotonic()
            leases = [(now - slot.since, slot.holder, slot.stack, slot.connection) for slot in core.leased()]
            waiters = [(now - ticket.since, ticket.holder) for ticket in core.waiting()]
        return describe(self._config.name, leases, waiters)
