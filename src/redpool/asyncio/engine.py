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
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from redis.exceptions import TimeoutError as RedisTimeoutError

from ..core.actions import AnyAction, Close, Connect, CutConnect, Note, ReportLeak, ReportWait, Validate, Wake
from ..core.config import PoolConfig
from ..core.instrument import Hooks
from ..core.slot import Slot, State
from ..core.waiters import Ticket, TicketState
from ..deadline import current, deadline
from ..errors import connect_too_slow
from ..forks import begin_in_child, same_process
from ..redispy import lifecycle, options, pubsub
from ..redispy.engine_base import EngineBase
from ..redispy.factory import ConnectionFactory
from ..redispy.transports import catch_up, close_now, cut_async, quiet
from . import tasks

_monotonic = time.monotonic
_NEVER = float("inf")
_LOOK_WITHIN = 1.0  # seconds

T = TypeVar("T")


class Engine(EngineBase):
    """The connections of one pool on one loop."""

    intact = staticmethod(lifecycle.intact_async)
    close_connection = staticmethod(close_now)
    cut_connection = staticmethod(cut_async)
    borrower_name = staticmethod(tasks.borrower_name)

    def __init__(
        self,
        owner: object,
        config: PoolConfig,
        hooks: Hooks,
        factory: ConnectionFactory,
        max_connections: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._at_work: dict[Slot, asyncio.Task[None]] = {}  # what is at each slot's connect or validation
        self._granted = 0  # of a budget, written by its thread
        self._progress = asyncio.Event()  # a pool that was shut down has one connection less
        super().__init__(owner, config, hooks, factory, max_connections)
        self._arm()
        self.join_budget()

    # -- changes to the core -----------------------------------------------------------------------------------------

    def apply(self, change: Callable[..., T], *arguments: Any) -> T:
        """Let `change` alter the core, and carry out what follows; its last argument is the time."""
        done = change(*arguments, _monotonic())
        self.carry_out()
        return done

    def apply_later(self, change: Callable[..., Any], *arguments: Any) -> None:
        """Have that done in the loop's next turn; it may be called anywhere, in another thread, too."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self.apply, change, *arguments)

    def caller(self) -> asyncio.Task[Any] | None:
        """Return the task that calls."""
        return asyncio.current_task(self.loop)

    # -- callers -----------------------------------------------------------------------------------------------------

    async def wait(self, ticket: Ticket) -> Slot:
        """Return the slot that the ticket is granted; raise what ended it otherwise."""
        limit = current()
        if self.core.shedding is not None:
            self.core.bound(ticket, _NEVER if limit is None else limit.at, _monotonic())
        await self._park(ticket, limit)
        if ticket.slot is None:
            raise self.error_of(ticket, limit)
        return ticket.slot

    async def turn_to_connect(self) -> Ticket | None:
        """Wait until a connection on lease may be connected anew, or raise why it isn't.

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
        return self.turn_of(ticket)

    async def _park(self, ticket: Ticket, limit: deadline | None = None) -> None:
        ticket.borrower = asyncio.current_task()
        ticket.waker = self.loop.create_future()
        if self._config.budget is not None:
            self._config.budget.caller_waits()
        if self.core.outbox or self.core.wake_at < self.armed:
            self.carry_out()
        if ticket.state is not TicketState.WAITING:
            return
        end = None if limit is None or limit.at >= ticket.deadline else self._end_wait_at(ticket, limit)
        try:
            await ticket.waker
        except BaseException:
            self.apply(self.hand_on, ticket, None)
            raise
        finally:
            if end is not None:
                end.cancel()

    def _end_wait_at(self, ticket: Ticket, limit: deadline) -> asyncio.TimerHandle:
        def end_wait() -> None:
            self.apply(lambda now: self.core.give_up(ticket, now, timed_out=True))
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
        self.reject(slot, connection)
        return False

    def abandon(self, slot: Slot) -> None:
        """Take back what its caller had got that was interrupted on its way out."""
        self.apply(self.hand_on, slot, self.caller())

    def repair(self) -> None:
        """Repair the core after a signal handler has raised in the midst of a change."""
        self.core.repair(_monotonic())
        self.carry_out()

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
                while self.others_left():
                    self._progress.clear()
                    await self._progress.wait()
        # Transports close in the loop's next turn; the caller may be about to end the loop.
        await asyncio.sleep(0)

    def is_over(self) -> bool:
        """Return whether none is open any more, nor will be: those of a loop that is closed are closed first."""
        if self.loop.is_closed() and not self.inherited:
            self.discard()  # else they stay open until the pool is used on another loop, or goes
            return True
        return self.inherited or (self.core.closed and self.core.is_empty)

    def take_share(self, granted: int) -> None:
        """Have no more than so many connections; more of them from the loop's next turn on."""
        self._granted = granted
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._take_share, granted)

    def may_hold(self) -> int:
        """Return how many connections may be open, at most, before the share changes; the loop may be late with it."""
        return max(self._granted, super().may_hold())

    def on_its_loop(self, act: Callable[[Engine], None]) -> None:
        """Let `act` change the core, on this engine's loop, and carry out what follows."""

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
        """Return what `at` sees, at one moment: where the loop turns in another thread, it looks there."""
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
            self.multiplexed.leave_to_parent()
        return [lifecycle.forget_async(slot.current) for slot in self.core.slots if slot.current is not None]

    # -- carrying out orders -----------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Empty the outbox, and set the timer."""
        core = self.core
        while core.outbox:
            action = core.outbox.pop(0)
            if type(action) is Wake:
                if not action.ticket.waker.done():
                    action.ticket.waker.set_result(None)
            else:
                self._carry_out_one(action)
        if core.wake_at < self.armed:
            self._arm()
        if core.closed:
            self._progress.set()
            if core.is_empty and self.armed < _NEVER:
                core.tick(_monotonic())  # nothing is due any more, and the timer would keep all this on the loop
                self._arm()

    def _carry_out_one(self, action: AnyAction) -> None:
        if isinstance(action, Connect):
            self._spawn(self._connect, action.slot)
        elif isinstance(action, Validate):
            self._spawn(self._validate, action.slot)
        elif isinstance(action, Close):
            self._close_one(action)
        elif isinstance(action, CutConnect):
            if action.slot.state is State.CONNECTING and action.slot in self._at_work:
                self._at_work[action.slot].cancel()
        elif isinstance(action, ReportLeak):
            self.reports.leaked(action)
        elif isinstance(action, Note):
            self.reports.noted(action)
        elif isinstance(action, ReportWait):
            self.report_wait(action)

    def _spawn(self, work: Callable[[Slot], Coroutine[Any, Any, None]], slot: Slot) -> None:
        # In a context of its own: a connection outlives the request that happened to need it.
        task = self.loop.create_task(self._work(work, slot), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._ended, slot))

    async def _work(self, work: Callable[[Slot], Coroutine[Any, Any, None]], slot: Slot) -> None:
        task = asyncio.current_task()
        if slot.begun or task is None:
            return  # ordered twice
        self._at_work[slot] = task
        try:
            await work(slot)
            self._at_work.pop(slot, None)
        finally:
            self.carry_out()

    def _ended(self, slot: Slot, task: asyncio.Task[None]) -> None:
        """Forget a task that has ended; say how it went, where it was cancelled or interrupted before it could."""
        self._tasks.discard(task)
        if self._at_work.get(slot) is task:
            del self._at_work[slot]
        elif slot.begun or not task.cancelled():
            return
        if slot.state is State.CONNECTING:
            self._connect_failed(slot, RedisTimeoutError("the connect was ended"))
        elif slot.state is State.VALIDATING:
            self.core.validated(slot, False, _monotonic())
        self.carry_out()

    async def _connect(self, slot: Slot) -> None:
        if not self.core.begin_connect(slot, _monotonic()):
            return
        began_at = slot.since
        try:
            connection = self._factory.connection()
            await lifecycle.connect_async(connection)
            self.adopt(connection, slot)
        except asyncio.CancelledError:
            if not slot.cut:
                raise
            self._connect_failed(slot, connect_too_slow(None))
        except BaseException as error:
            failed = lifecycle.for_others(error)
            self._connect_failed(slot, failed)
            if failed is not error:
                self.loop.call_soon(_raise, error)  # out of the loop: it was the loop's thread that it was for
        else:
            now = _monotonic()
            self.core.connected(slot, connection, now)
            self.reports.connected(now - began_at)

    def _connect_failed(self, slot: Slot, error: BaseException) -> None:
        lifecycle.drop_frames(error)
        self.core.connect_failed(slot, error, _monotonic(), self._factory.sits_through(error), options.failure(error))
        self.reports.connect_failed(error)

    async def _validate(self, slot: Slot) -> None:
        if not self.core.begin_validation(slot):
            return
        if getattr(slot.connection, "pending_unsubscribes", None):
            answered = await pubsub.unsubscribe_async(slot.connection)
        else:
            answered = await _is_sound(slot.connection, ask=True)
        self.core.validated(slot, answered, _monotonic())

    def _close_one(self, action: Close) -> None:
        if action.connection is not None:
            close_now(action.connection)
        self.core.closed_connection(action.slot, _monotonic())
        self.reports.closed(action)

    # -- time --------------------------------------------------------------------------------------------------------

    def _owner_gone(self, _reference: object) -> None:
        # Garbage collection may come anywhere: leave the work to the loop, if it still turns.
        if self.loop.is_closed():
            self.discard()
        else:
            self.apply_later(self.core.shutdown)

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

    def where(self, borrower: Any) -> str | None:
        """Return where a task is now, if this is its loop's thread."""
        return tasks.where(borrower) if self._on_loop() else None

    def caller_of(self, _connection: object, waker: Any) -> tuple[str | None, str | None]:
        """Return the name of the task that awaits a reply, and the line of its own where it does."""
        task = tasks.awaiting(waker)
        if task is None:
            return None, None
        return tasks.borrower_name(task), tasks.own_line(task) if self._on_loop() else None


def _raise(error: BaseException) -> None:
    raise error


async def _is_sound(connection: Any, ask: bool) -> bool:
    """Return whether nothing speaks against a connection; with `ask`, whether the server also answers over it."""
    await catch_up(connection)
    heard = quiet(connection) or await lifecycle.peek_async(connection)
    return heard and (not ask or await lifecycle.ping_async(connection))
