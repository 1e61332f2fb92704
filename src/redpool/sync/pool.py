"""The pool for threads. The core decides, under one short lock; everything slow happens outside of it.

What must stay true: no I/O, no hook, no log call and no finalizer under `_guard`; each order is carried out once, by
the thread that took it out of the outbox.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, Self

from redis.connection import Connection
from redis.maint_notifications import MaintNotificationsConfig

from ..core.instrument import Hooks
from ..core.orders import AnyOrder, Check, Close, CutDial, Dial, ReportLeak, Wake
from ..core.pool import PoolCore
from ..core.slot import Reason, Slot, State
from ..core.stats import PoolDump, PoolStats
from ..core.ticket import Ticket, TicketState
from ..redispy import connections, options
from ..redispy.surface import SyncSurface
from .dump import describe, holder_name
from .housekeeper import Housekeeper

logger = logging.getLogger("redpool")

_monotonic = time.monotonic
_thread = threading.get_ident
_intact = connections.intact
_LEASED = State.LEASED
_NEVER = float("inf")
_STACK_LIMIT = 30

# Whose a connection is, where it isn't a living core's: nobody's, or the parent's of a forked child.
_NOBODYS: tuple[Any, Any] = (None, None)
_INHERITED: Any = object()


class ConnectionPool(SyncSurface):
    """A pool of connections to Redis or Valkey, for threads: fair, bounded, and open about itself.

    It takes the place of `redis.ConnectionPool` and of `redis.BlockingConnectionPool`::

        pool = redpool.ConnectionPool(host="localhost", port=6379, db=0)
        r = redis.Redis(connection_pool=pool)

    Options, all times in seconds (any other keyword goes to the connection class):

    - `max_connections` (50): the most connections open at once.
    - `timeout` (5.0): how long a caller waits for a connection; `None` for ever; 0 never waits in the queue.
    - `max_waiting` (`None`): the most callers in the queue; one more gets `PoolFull` at once.
    - `min_idle` (0): connections kept ready, opened in the background.
    - `max_idle_time` (300.0): a connection above `min_idle` that nobody needed for so long is closed; `None` never.
    - `max_lifetime` (3600.0): the age at which a connection is replaced; `None` never.
    - `lifetime_jitter` (0.1): the share by which each lifetime is randomly shortened.
    - `max_connecting` (4): dials under way at once.
    - `check_after_idle` (1.0): after so much rest a connection is looked at before it is handed out, without a round
      trip.
    - `ping_after_idle` (30.0): after so much rest it answers a PING first, in the background where possible; `None`
      never.
    - `order` ("lifo"): which idle connection is taken: "lifo", "fifo" or "random".
    - `leak_after` (`None`): a connection held longer is reported once, with the stack that took it.
    - `name` ("host:port/db"): in stats, logs and metrics.
    - `instruments` (`()`): objects with any of the methods of `redpool.Instrument`.

    Raises `ValueError` or `TypeError` where an option makes no sense.
    """

    def __init__(
        self,
        connection_class: Any = Connection,
        max_connections: int | None = None,
        cache_factory: Any = None,
        maint_notifications_config: MaintNotificationsConfig | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["max_connections"] = max_connections
        self._prepare(connection_class, cache_factory, maint_notifications_config, kwargs)
        self._hooks = Hooks(self.config.instruments, _log_hook_fault)
        self._watched = self.config.leak_after is not None or bool(self._hooks.acquired)
        self._retired: list[PoolCore] = []
        self._start()
        _pools.add(self)

    def _start(self) -> None:
        self._guard = threading.Lock()
        self._start_core()
        self._arm()

    def _start_core(self) -> None:
        budget = options.dial_budget(self._connection_kwargs)
        self._core = PoolCore(self.config, _monotonic(), Random(), budget)
        self._core.dialling.retries = self._dial_retries.failures
        self._housekeeper: Housekeeper | None = None
        self._armed = _NEVER  # when the housekeeper wakes
        self._vacated = threading.Event()

    # -- checkout and release ----------------------------------------------------------------------------------------

    def get_connection(self, command_name: Any = None, *keys: Any, **unused: Any) -> Any:
        """Check a connection out, waiting at most `timeout` seconds for one. The arguments are redis-py's; unused.

        Raises `PoolTimeout`, `PoolFull`, `PoolClosed`, or what the dial raised where the server can't be reached.
        """
        while True:
            with self._guard:
                core = self._core
                got = core.acquire(_monotonic())
                if type(got) is Ticket:
                    _take_place(got)
            slot = self._wait(core, got) if type(got) is Ticket else got
            slot.holder = _thread()
            if slot.doubt is not None and not self._settle(core, slot):
                continue
            if self._watched:
                self._watch(slot, got)
            return slot.connection

    def release(self, connection: Any) -> None:
        """Give a connection back. It goes to the longest-waiting caller; one that isn't clean is closed instead.

        Giving back twice, or what isn't this pool's, does nothing but warn.
        """
        core, slot = getattr(connection, "_redpool", _NOBODYS)
        if core is not self._core and core not in self._retired:
            self._decline(connection, core)
            return
        fault = None if _intact(connection) else Reason.ERROR
        with self._guard:
            if slot.state is not _LEASED or slot.connection is not connection:
                core = None
            else:
                now = _monotonic()
                used = now - slot.since
                core.release(slot, now, fault)
                orders = core.take_orders() if core.outbox else None
        if core is None:
            warnings.warn(f"{connection!r} was released twice to {self!r}", RuntimeWarning, stacklevel=2)
            return
        if orders:
            self._carry_out(core, orders)
        if self._hooks.released:
            self._hooks.fire("released", self.config.name, used)

    @contextlib.contextmanager
    def connection(self) -> Iterator[Any]:
        """`with pool.connection() as conn:` checks out and gives back; a connection left mid-reply is closed."""
        connection = self.get_connection()
        try:
            yield connection
        finally:
            self.release(connection)

    def owns_connection(self, connection: Any) -> bool:
        """Whether this pool, in this process, opened the connection."""
        return getattr(connection, "_redpool", _NOBODYS)[0] is self._core

    def _wait(self, core: PoolCore, ticket: Ticket) -> Slot:
        self._park(core, ticket)
        if ticket.slot is not None:
            return ticket.slot
        if ticket.state is TicketState.TIMED_OUT and self._hooks.timed_out:
            self._hooks.fire("timed_out", self.config.name, _monotonic() - ticket.since)
        assert ticket.error is not None
        raise connections.own_error(ticket.error)

    def _park(self, core: PoolCore, ticket: Ticket) -> None:
        """Wait until the ticket has ended, by its own deadline at the latest."""
        try:
            self._flush(core)
            if ticket.state is TicketState.WAITING:
                left = ticket.deadline - _monotonic()
                if not ticket.waker.acquire(timeout=-1 if left == _NEVER else max(0.0, left)):
                    with self._guard:
                        core.give_up(ticket, _monotonic(), timed_out=True)
        except BaseException:
            # Interrupted: a grant that was faster goes on to the next.
            with self._guard:
                slot = core.give_up(ticket, _monotonic())
                if slot is not None:
                    core.release(slot, _monotonic())
            self._flush(core)
            raise

    def _settle(self, core: PoolCore, slot: Slot) -> bool:
        """Check a connection that has rested. False: it was no good, and is gone."""
        good = False
        try:
            good = connections.ping(slot.connection) if slot.doubt == "ping" else connections.peek(slot.connection)
        finally:
            slot.doubt = None
            if not good:
                with self._guard:
                    core.reject(slot, _monotonic())
                self._flush(core)
        return good

    def _watch(self, slot: Slot, got: Slot | Ticket) -> None:
        if self.config.leak_after is not None:
            frames = traceback.walk_stack(sys._getframe(2))
            slot.stack = traceback.StackSummary.extract(frames, limit=_STACK_LIMIT, lookup_lines=False)
        if self._hooks.acquired:
            waited = slot.since - got.since if isinstance(got, Ticket) else 0.0
            self._hooks.fire("acquired", self.config.name, waited)

    def _decline(self, connection: Any, core: PoolCore | None) -> None:
        if core is _INHERITED:
            connections.close(connection)
        else:
            warnings.warn(f"{connection!r} is not of {self!r}; it was not released", RuntimeWarning, stacklevel=3)

    # -- carrying out orders -----------------------------------------------------------------------------------------

    def _flush(self, core: PoolCore) -> None:
        with self._guard:
            orders = core.take_orders()
        self._carry_out(core, orders)

    def _carry_out(self, core: PoolCore, orders: Sequence[AnyOrder]) -> None:
        while orders:
            for order in orders:
                if isinstance(order, Wake):
                    order.ticket.waker.release()
                else:
                    self._carry_out_slowly(core, order)
            with self._guard:
                orders = core.take_orders()
        if core.wake_at < self._armed:
            self._arm()
        if core.closed and core.vacant:
            self._vacated.set()

    def _carry_out_slowly(self, core: PoolCore, order: AnyOrder) -> None:
        if isinstance(order, Dial):
            self._spawn(self._dial, core, order.slot)
        elif isinstance(order, Check):
            self._spawn(self._check, core, order.slot)
        elif isinstance(order, Close):
            self._close_one(core, order)
        elif isinstance(order, CutDial):
            connections.cut(order.slot.connection)
        elif isinstance(order, ReportLeak):
            self._report_leak(order)

    def _spawn(self, work: Callable[[PoolCore, Slot], None], core: PoolCore, slot: Slot) -> None:
        try:
            threading.Thread(target=work, args=(core, slot), name=f"redpool {self.config.name}", daemon=True).start()
        except RuntimeError:
            # No thread is to be had, as when the interpreter is going down: then the caller does it.
            work(core, slot)

    def _dial(self, core: PoolCore, slot: Slot) -> None:
        with self._guard:
            wanted = core.begin_dial(slot, _monotonic())
        if not wanted:
            self._flush(core)
            return
        try:
            # Where CutDial finds it, before the core knows it.
            slot.connection = connection = self.make_connection()
            connections.connect(connection)
            connection._redpool = (core, slot)
        except BaseException as error:
            with self._guard:
                core.dial_failed(slot, error, _monotonic(), isinstance(error, self._dial_retries.errors))
            self._flush(core)
            self._hooks.fire("dial_failed", self.config.name, error)
        else:
            with self._guard:
                started, now = slot.since, _monotonic()
                core.dialed(slot, connection, now)
            self._flush(core)
            self._hooks.fire("opened", self.config.name, now - started)

    def _check(self, core: PoolCore, slot: Slot) -> None:
        answered = connections.ping(slot.connection)
        with self._guard:
            core.checked(slot, answered, _monotonic())
        self._flush(core)

    def _close_one(self, core: PoolCore, order: Close) -> None:
        connections.close(order.connection)
        with self._guard:
            core.closed_connection(order.slot, _monotonic())
        logger.debug("%s: closed a connection: %s", self.config.name, order.reason.value)
        self._hooks.fire("closed", self.config.name, order.reason.value, order.age)

    def _report_leak(self, order: ReportLeak) -> None:
        holder = holder_name(order.slot.holder)
        stack = "".join(order.slot.stack.format()) if order.slot.stack else ""
        logger.warning(
            "%s: a connection has been held for %.1f s by %s, which took it here:\n%s",
            self.config.name, order.age, holder, stack,
        )  # fmt: skip
        self._hooks.fire("leaked", self.config.name, order.age, holder, stack)

    def _arm(self) -> None:
        """Have the housekeeper wake in time."""
        with self._guard:
            if self._core.wake_at >= self._armed:
                return
            self._armed = self._core.wake_at
            housekeeper = self._housekeeper
        if housekeeper is not None:
            housekeeper.poke()
            return
        # Without threads, as when the interpreter is going down, there is nothing left to keep.
        with contextlib.suppress(RuntimeError):
            self._housekeeper = Housekeeper(self, f"redpool {self.config.name} housekeeper")

    def _keep_house(self) -> float | None:
        with self._guard:
            core, now = self._core, _monotonic()
            if core.closed and core.vacant:
                self._housekeeper, self._armed = None, _NEVER
                return None
            if now >= core.wake_at:
                core.tick(now)
            self._armed = core.wake_at
            orders = core.take_orders()
        self._carry_out(core, orders)
        return max(0.0, core.wake_at - now)

    # -- the whole pool ----------------------------------------------------------------------------------------------

    def warm_up(self, n: int | None = None, timeout: float | None = 30.0) -> None:
        """Have `n` connections (default `min_idle`) open, within `timeout` seconds.

        Raises what a dial raised, or `PoolTimeout`; `ValueError` where `n` is more than `max_connections`.
        """
        now = _monotonic()
        with self._guard:
            core = self._core
            opens = self.config.min_idle if n is None else n
            ticket = core.warm_up(opens, now, _NEVER if timeout is None else now + timeout)
            _take_place(ticket)
        self._park(core, ticket)
        if ticket.error is not None:
            raise connections.own_error(ticket.error)

    def resize(self, max_connections: int) -> None:
        """Allow `max_connections` from now on; surplus connections close, used ones as they come back."""
        with self._guard:
            self._core.resize(max_connections, _monotonic())
        self._flush(self._core)

    @property
    def max_connections(self) -> int:
        """The most connections open at once."""
        return self._core.max_connections

    def drain(self) -> None:
        """Replace every connection: idle ones now, used ones as they come back."""
        with self._guard:
            self._core.drain(_monotonic())
        self._flush(self._core)

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the idle connections; with `inuse_connections` cut the used ones, too. The pool stays usable.

        Whoever is using one of them sees a `redis.ConnectionError`.
        """
        self.drain()
        if inuse_connections:
            self._cut_leases(self._core)

    def disconnect_free_connections(self, moving_address_src: str | None = None) -> None:
        """Used by redis-py's maintenance notifications when the server moves: the same as `drain()`."""
        self.drain()

    def re_auth_callback(self, token: Any) -> None:
        """Used by redis-py when credentials change: every connection is replaced by one that has the new ones."""
        self.drain()

    def reset(self) -> None:
        """Begin anew, with no connection: idle ones close now, those in use as they come back. Opens a closed pool."""
        with self._guard:
            old = self._core
            old.close(_monotonic())
            self._retired = [core for core in (*self._retired, old) if not core.vacant]
            orders = old.take_orders()
            self._start_core()
        self._carry_out(old, orders)
        self._arm()

    def close(self, timeout: float | None = 5.0, force: bool = False) -> None:
        """No more checkouts (`PoolClosed`), waiters are told, idle connections close.

        Connections in use close as they come back; this waits for them for `timeout` seconds at most (`None`: as long
        as it takes), but not for those that the calling thread itself holds. With `force` they are cut: their users
        see a `redis.ConnectionError`.
        """
        core = self._core
        with self._guard:
            core.close(_monotonic())
        self._flush(core)
        if force:
            self._cut_leases(core)
        with self._guard:
            mine = [slot for slot in core.leased() if slot.holder == _thread()]
        if not mine:
            self._vacated.wait(timeout)

    def _cut_leases(self, core: PoolCore) -> None:
        with self._guard:
            leased = [slot.connection for slot in core.leased()]
        for connection in leased:
            connections.cut(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # -- what can be seen --------------------------------------------------------------------------------------------

    def stats(self) -> PoolStats:
        """The pool at this moment, and its counters since it was created (or reset)."""
        with self._guard:
            return self._core.stats(_monotonic())

    def dump(self) -> PoolDump:
        """Who holds what, now: age, thread, where it was taken, last command; and who waits how long."""
        with self._guard:
            core, now = self._core, _monotonic()
            leases = [(now - slot.since, slot.holder, slot.stack, slot.connection) for slot in core.leased()]
            waiters = [(now - ticket.since, ticket.holder) for ticket in core.waiting()]
        return describe(self.config.name, leases, waiters)

    def __repr__(self) -> str:
        core = self._core
        state = "closed" if core.closed else "open"
        return (
            f"<{type(self).__module__}.{type(self).__name__} {self.config.name} {state}: {core.counts(_monotonic())}>"
        )

    def _cores(self) -> list[PoolCore]:
        return [self._core]

    @property
    def _available_connections(self) -> list[Any]:
        with self._guard:
            return self._core.idle_connections()

    @property
    def _in_use_connections(self) -> set[Any]:
        with self._guard:
            return {slot.connection for slot in self._core.leased()}

    @property
    def _created_connections(self) -> int:
        return self._core.open

    def _begin_in_child(self) -> None:
        """After a fork, in the child: start empty. Other threads are gone, and the old core may be half-changed."""
        inherited = [slot.connection for slot in self._core.slots if slot.connection is not None]
        self._retired = []
        self._start()
        for connection in inherited:
            connection._redpool = (_INHERITED, None)
            connections.forget(connection)
        if inherited:
            self._core.ledger.closed[Reason.FORK] += len(inherited)


def _take_place(ticket: Ticket) -> None:
    """Give a ticket what wakes its caller, who parks on it: nobody else is ever woken by it."""
    ticket.holder = _thread()
    ticket.waker = threading.Lock()
    ticket.waker.acquire()


def _log_hook_fault(hook: object, error: BaseException) -> None:
    logger.error("dropped the hook %r, which raised", hook, exc_info=error)


_pools: weakref.WeakSet[ConnectionPool] = weakref.WeakSet()


def _begin_in_child() -> None:
    for pool in _pools:
        pool._begin_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
