"""A pool's part on one event loop: no lock, futures, a task for each connect, one timer.

What must stay true: nothing is awaited between a decision of the core and its bookkeeping here; a caller who is
cancelled while a grant is on its way hands the connection on.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import logging
import time
import weakref
from collections.abc import Callable, Coroutine
from random import Random
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..core.actions import AnyAction, Close, Connect, CutConnect, ReportLeak, Validate, Wake
from ..core.callsite import leak_message, shown, take_stack
from ..core.pool import PoolCore
from ..core.slot import Reason, Slot, State
from ..core.stats import PoolDump
from ..core.waiters import Ticket, TicketState
from ..deadline import current, deadline
from ..errors import DeadlineExceeded
from ..forks import begin_in_child, same_process
from ..redispy import lifecycle, options, pubsub, retry
from ..redispy.tracking import Tracked
from ..redispy.transports import catch_up, close_now, cut_async, quiet
from .dump import borrower_name, describe

if TYPE_CHECKING:
    from .pool import ConnectionPool

logger = logging.getLogger("redpool")

_monotonic = time.monotonic
_NEVER = float("inf")
_LOOK_WITHIN = 1.0  # seconds

T = TypeVar("T")


class Engine:
    """The connections of one pool on one loop."""

    def __init__(self, owner: ConnectionPool, loop: asyncio.AbstractEventLoop, max_connections: int) -> None:
        self.owner = weakref.ref(owner, self._owner_gone)
        self.inherited = False  # from the parent of a forked child
        self._config, self._hooks = owner.config, owner._hooks
        self.retry_sent = owner.config.retry_sent
        self.when_dropped = self._dropped  # one for all connections
        budget = options.connect_budget(owner.connection_kwargs)
        self.core = PoolCore(owner.config, _monotonic(), Random(), budget)
        self.core.sit_through(owner._connect_retries.failures)
        if max_connections != self.core.max_connections:
            self.core.resize(max_connections, _monotonic())
        self._timer: asyncio.TimerHandle | None = None
        self.armed = _NEVER  # when the timer goes off
        self._tasks: set[asyncio.Task[None]] = set()
        self._connects: dict[Slot, asyncio.Task[None]] = {}
        self._ended: set[Slot] = set()  # on lease to listeners when the pool was closed
        self.loop = loop
        self._progress = asyncio.Event()  # a pool that was shut down has one connection less
        self.multiplexed: Any = owner.make_multiplexed(self)  # of a pool that shares connections
        self._arm()

    # -- callers -----------------------------------------------------------------------------------------------------

    async def wait(self, ticket: Ticket) -> Slot:
        """The slot that the ticket is granted, or what ended it otherwise, raised."""
        limit = current()
        await self._park(ticket, limit)
        if ticket.slot is not None:
            return ticket.slot
        assert ticket.error is not None
        if ticket.state is TicketState.TIMED_OUT:
            self._hooks.fire("timed_out", self._config.name, _monotonic() - ticket.since)
            if limit is not None and limit.at < ticket.deadline:
                raise DeadlineExceeded(str(ticket.error)) from ticket.error
        raise lifecycle.own_error(ticket.error)

    def check_deadline(self, limit: deadline) -> None:
        """No caller gets a connection after its deadline."""
        if limit.reached():
            raise DeadlineExceeded(f"{self._config.name}: the deadline of {limit.seconds:g} s came before a connection")

    async def turn_to_connect(self) -> Ticket | None:
        """Wait until a connection on lease may be opened anew, or raise why it isn't.

        The ticket is to be given to `connect_ended`. Who is at a connect of its own already gets none.
        """
        me = asyncio.current_task()
        if self.inherited or any(each.borrower is me for each in self.core.connector.leases):
            return None
        limit = current()
        ticket = self.core.ask_to_connect(_monotonic(), _NEVER if limit is None else limit.at)
        try:
            await self._park(ticket)
        except BaseException:
            self.connect_ended(ticket, None, interrupted=True)
            raise
        if ticket.error is not None:
            error = lifecycle.own_error(ticket.error)
            raise retry.final(error) if self.core.closed or self.core.connector.hopeless else error
        return ticket

    def connect_ended(self, ticket: Ticket, error: BaseException | None, interrupted: bool = False) -> None:
        """Say how the connect went for which the ticket was granted."""
        now = _monotonic()
        if lifecycle.says_of_server(error):
            assert error is not None
            self.core.lease_connect_failed(ticket, lifecycle.bare_copy(error), now, options.failure(error))
        elif error is not None or interrupted:
            self.core.give_up_connect(ticket, now)
        else:
            self.core.lease_connected(ticket, now)
        self.carry_out()

    def refused_write(self, slot: Slot | None, starts_over: bool) -> bool:
        """A replica has refused a write over the connection in `slot`: replace what was connected before it was known.

        See `PoolCore.refused_write`.
        """
        if self.inherited:
            return False
        before = self.core.generation
        replaced = self.core.refused_write(slot, starts_over, _monotonic())
        drained = self.core.generation != before
        self.carry_out()
        if drained and self.multiplexed is not None:
            self.multiplexed.retire_all()
        return replaced

    async def _park(self, ticket: Ticket, limit: deadline | None = None) -> None:
        ticket.borrower = asyncio.current_task()
        ticket.waker = self.loop.create_future()
        self.carry_out()
        if ticket.state is not TicketState.WAITING:
            return
        end = None if limit is None or limit.at >= ticket.deadline else self._end_wait_at(ticket, limit)
        try:
            await ticket.waker
        except BaseException:
            slot = self.core.give_up(ticket, _monotonic())
            if slot is not None:
                self.core.release(slot, _monotonic())
            self.carry_out()
            raise
        finally:
            if end is not None:
                end.cancel()

    def _end_wait_at(self, ticket: Ticket, limit: deadline) -> asyncio.TimerHandle:
        def end_wait() -> None:
            self.core.give_up(ticket, _monotonic(), timed_out=True)
            if not ticket.waker.done():
                ticket.waker.set_result(None)

        return self.loop.call_later(limit.left(), end_wait)

    async def settle(self, slot: Slot, connection: Any) -> bool:
        """Validate a connection that has been idle long, or over which something has come. False: it was no good.

        It is gone then. Meanwhile it is `validating`: a caller that is interrupted here leaves one to be closed.
        """
        slot.validating = True
        if await _is_sound(connection, ask=slot.needs_validation == "ping"):
            slot.validating = False
            return True
        slot.connection = connection
        self.core.reject_at_checkout(slot, _monotonic())
        self.carry_out()
        return False

    def hand_on(self, slot: Slot, connection: Any) -> None:
        """Take back what its caller, interrupted on its way out, has not used yet: whole, it goes on to the next one.

        Nothing but a check can have been made over it; where one was under way, the connection is closed.
        """
        if slot.state is State.LEASED and slot.connection is None:
            slot.connection = connection
            whole = not slot.validating and lifecycle.intact_async(connection)
            self.core.release(slot, _monotonic(), None if whole else Reason.ERROR)
        self.carry_out()

    def reclaim(self, connection: Any) -> None:
        """Take back a connection that was shared, the pool being gone; its slot waits for no caller to drop it."""
        slot = connection._redpool.slot
        if slot.state is State.LEASED and slot.connection is None:
            slot.connection = connection
            self.core.release(slot, _monotonic(), Reason.POOL_CLOSED)
            self.carry_out()

    def repair(self) -> None:
        """A signal handler has raised in the midst of a change."""
        self.core.repair(_monotonic())
        self.carry_out()

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
        close_now(successor)
        return None

    def watch(self, slot: Slot, got: Slot | Ticket, caller: FrameType) -> None:
        """Note where the connection was taken, and tell the hooks."""
        if self._config.leak_after is not None:
            slot.taken = take_stack(caller)
        waited = slot.since - got.since if isinstance(got, Ticket) else 0.0
        self._hooks.fire("acquired", self._config.name, waited)

    async def warm_up(self, opens: int, timeout: float | None) -> None:
        """Wait until `opens` connections are open."""
        now = _monotonic()
        ticket = self.core.warm_up(opens, now, _NEVER if timeout is None else now + timeout)
        await self._park(ticket)
        if ticket.error is not None:
            raise lifecycle.own_error(ticket.error)

    async def emptied(self, timeout: float | None) -> None:
        """Wait, for so many seconds at most, until a pool that was shut down has only listeners and the caller left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._others_left():
                    self._progress.clear()
                    await self._progress.wait()
        # Transports close in the loop's next turn; the caller may be about to end the loop.
        await asyncio.sleep(0)

    def _others_left(self) -> bool:
        me = asyncio.current_task()
        waived = sum(slot.caller is me or slot in self._ended for slot in self.core.leased())
        return len(self.core.slots) - len(self.core.empty) > waived

    def close(self) -> None:
        """Close what is idle now, what is in use when it comes back, and what is shared once all is answered."""
        self._close(PoolCore.close)

    def disconnect(self) -> None:
        """Close the same way; the next caller connects, whatever the last connects have ended with."""
        self._close(PoolCore.disconnect)

    def _close(self, close: Callable[[PoolCore, float], None]) -> None:
        close(self.core, _monotonic())
        if self.multiplexed is not None:
            self.multiplexed.close()

    def end_listeners(self) -> None:
        """End subscribers and monitors, which would listen for ever: no retry policy brings them back."""
        self._ended.clear()
        for slot in self.core.leased():
            connection = slot.current
            if connection is not None and lifecycle.listens(connection):
                slot.keep()  # should its holder drop it now, that is no leak
                lifecycle.end(connection)
                cut_async(connection)
                self._ended.add(slot)

    def cut_leases(self, others: bool = True) -> None:
        """End the connections in use: the calling task's own are closed, others' are cut under their hands."""
        me = asyncio.current_task(self.loop)
        for slot in self.core.leased():
            if slot.current is None:
                continue  # dropped: it is closed already
            if slot.caller is me and me is not None:
                close_now(slot.current)
            elif others:
                cut_async(slot.current)

    def do(self, act: Callable[[Engine], None]) -> None:
        """Let `act` change the core, on this loop, and carry out what follows."""

        def acted() -> None:
            act(self)
            self.carry_out()

        if self.loop.is_closed():
            self.discard()
        elif self._on_loop():
            acted()
        else:
            self.loop.call_soon_threadsafe(acted)

    def look(self, at: Callable[[Engine], T]) -> T:
        """What `at` sees, at one moment: where the loop turns in another thread, it looks there."""
        if self._on_loop() or not self.loop.is_running():
            return at(self)
        seen: concurrent.futures.Future[T] = concurrent.futures.Future()

        def look() -> None:
            try:
                seen.set_result(at(self))
            except Exception as error:
                seen.set_exception(error)

        self.loop.call_soon_threadsafe(look)
        try:
            return seen.result(_LOOK_WITHIN)
        except TimeoutError:
            return at(self)  # the loop is stuck: a look at what may change is better than none

    def _on_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    def discard(self) -> None:
        """Drop everything without a word: the loop is closed."""
        for slot in self.core.slots:
            if slot.current is not None:
                close_now(slot.current)

    def leave_to_parent(self) -> list[Any]:
        """In a forked child: do nothing any more. Return what must never be finalized."""
        self.inherited = True
        if self.multiplexed is not None:
            self.multiplexed.inherited = True
        return [lifecycle.forget_async(slot.current) for slot in self.core.slots if slot.current is not None]

    # -- carrying out orders -----------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Empty the outbox, and set the timer."""
        core = self.core
        while core.outbox:
            self._carry_out_one(core.outbox.pop(0))
        if core.wake_at < self.armed:
            self._arm()
        if core.closed:
            self._progress.set()

    def _carry_out_one(self, order: AnyAction) -> None:
        if isinstance(order, Wake):
            if not order.ticket.waker.done():
                order.ticket.waker.set_result(None)
        elif isinstance(order, Connect):
            self._connects[order.slot] = self._spawn(self._connect_slot(order.slot), order.slot)
        elif isinstance(order, Validate):
            self._spawn(self._check(order.slot), order.slot)
        elif isinstance(order, Close):
            self._close_one(order)
        elif isinstance(order, CutConnect):
            if order.slot in self._connects:
                self._connects[order.slot].cancel()
        elif isinstance(order, ReportLeak):
            self._report_leak(order)

    def _spawn(self, work: Coroutine[Any, Any, None], slot: Slot) -> asyncio.Task[None]:
        # In a context of its own: a connection outlives the request that happened to need it.
        task = self.loop.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._spawned_ended, slot))
        return task

    def _spawned_ended(self, slot: Slot, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            return
        # Cancelled before its first step, it could not answer for itself.
        if self._connects.get(slot) is task:
            del self._connects[slot]
            self._connect_failed(slot, RedisTimeoutError("the connect was ended"))
        self.core.validated(slot, False, _monotonic())
        self.carry_out()

    async def _connect_slot(self, slot: Slot) -> None:
        try:
            if not self.core.begin_connect(slot, _monotonic()):
                return
            started = slot.since
            try:
                connection = await self._open(slot)
            except asyncio.CancelledError:
                cut = slot.cut
                self._connect_failed(
                    slot, RedisTimeoutError("the connect took too long" if cut else "the connect was ended")
                )
                if not cut:
                    raise
            except BaseException as error:
                raised = lifecycle.for_others(error)
                self._connect_failed(slot, raised)
                if raised is not error:
                    self.loop.call_soon(_raise, error)  # out of the loop: it was the loop's thread that it was for
            else:
                now = _monotonic()
                self.core.connected(slot, connection, now)
                self._hooks.fire("connected", self._config.name, now - started)
        finally:
            self._connects.pop(slot, None)
            self.carry_out()

    async def _open(self, slot: Slot) -> Any:
        owner = self.owner()
        if owner is None:
            raise RedisConnectionError("the pool is gone")
        connection = owner.make_connection()
        await lifecycle.connect_async(connection)
        try:
            slot.reference = lifecycle.mark(connection, self, slot, self.when_dropped)
        except BaseException:
            close_now(connection)
            raise
        return connection

    def _connect_failed(self, slot: Slot, error: BaseException) -> None:
        lifecycle.drop_frames(error)
        owner = self.owner()
        retryable = owner is not None and isinstance(error, owner._connect_retries.errors)
        self.core.connect_failed(slot, error, _monotonic(), retryable, options.failure(error))
        self._hooks.fire("connect_failed", self._config.name, error)

    async def _check(self, slot: Slot) -> None:
        if not self.core.begin_validation(slot):
            return
        answered = False
        try:
            if getattr(slot.connection, "pending_unsubscribes", None):
                answered = await pubsub.unsubscribe_async(slot.connection)
            else:
                answered = await _is_sound(slot.connection, ask=True)
        finally:
            self.core.validated(slot, answered, _monotonic())
            self.carry_out()

    def _close_one(self, order: Close) -> None:
        if order.connection is not None:
            close_now(order.connection)
        self.core.closed_connection(order.slot, _monotonic())
        logger.debug("%s: closed a connection: %s", self._config.name, order.reason.value)
        self._hooks.fire("closed", self._config.name, order.reason.value, order.age)

    def _report_leak(self, order: ReportLeak) -> None:
        borrower = borrower_name(order.borrower)
        logger.warning("%s", leak_message(self._config.name, order, borrower))
        self._hooks.fire("leaked", self._config.name, order.age, borrower, shown(order.stack))

    # -- time --------------------------------------------------------------------------------------------------------

    def _owner_gone(self, _: object) -> None:
        # Garbage collection may come anywhere: leave the work to the loop, if it still turns.
        if self.loop.is_closed():
            self.discard()
        else:
            self.loop.call_soon_threadsafe(self.do, _shutdown)

    def _dropped(self, reference: Any) -> None:
        """A connection was collected. Garbage collection may come anywhere, in another thread too."""
        slot = reference.slot
        if (
            slot.reference is reference
            and slot.state is State.LEASED
            and slot.connection is None
            and not self.inherited
        ):
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._reclaim, slot, slot.lease)

    def _reclaim(self, slot: Slot, lease: int) -> None:
        if slot.state is State.LEASED and slot.lease == lease:
            self.core.leaked(slot, _monotonic())
            self.carry_out()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.armed = self.core.wake_at
        if self.armed < _NEVER:
            delay = max(0.0, self.armed - _monotonic())
            self._timer = self.loop.call_later(delay, self._tick)

    def _tick(self) -> None:
        if not same_process[0]:  # a loop is forked with its timers
            begin_in_child()
        if self.inherited:
            return
        self._timer, self.armed = None, _NEVER
        self.core.tick(_monotonic())
        self.carry_out()

    # -- what can be seen --------------------------------------------------------------------------------------------

    def dump(self) -> PoolDump:
        """Who holds what, and who waits how long."""
        now = _monotonic()
        leases = [(now - slot.since, slot.caller, slot.taken, slot.current) for slot in self.core.leased()]
        waiters = [(now - ticket.since, ticket.borrower) for ticket in self.core.waiting()]
        return describe(self._config.name, leases, waiters, self._on_loop())


def _raise(error: BaseException) -> None:
    raise error


def _shutdown(engine: Engine) -> None:
    engine.core.shutdown(_monotonic())


async def _is_sound(connection: Any, ask: bool) -> bool:
    """Whether nothing speaks against a connection; with `ask`, whether the server also answers over it."""
    await catch_up(connection)
    heard = quiet(connection) or await lifecycle.peek_async(connection)
    return heard and (not ask or await lifecycle.ping_async(connection))
