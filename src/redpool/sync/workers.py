"""The orders of a core, carried out by threads: each connect and each check by one of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..core.actions import AnyAction, Close, Connect, CutCall, CutConnect, ReportLeak, Validate
from ..core.callsite import leak_message, shown
from ..core.instrument import Hooks
from ..core.slot import Slot
from ..redispy import lifecycle, options, pubsub
from . import threads
from .dump import borrower_name

if TYPE_CHECKING:
    from .engine import Engine

logger = logging.getLogger("redpool")

_monotonic = time.monotonic


class Workers:
    """What carries out the orders of one engine, except for waking callers. An order may come twice."""

    def __init__(self, engine: Engine, name: str, hooks: Hooks) -> None:
        self._engine, self._name, self._hooks = engine, name, hooks
        self.short_of_threads = False
        """the last time that a thread was needed, none was to be had"""

    def carry_out(self, order: AnyAction) -> None:
        """Carry out one order."""
        if isinstance(order, Connect):
            self._spawn(self._connect_slot, order.slot)
        elif isinstance(order, Validate):
            self._spawn(self._check, order.slot)
        elif isinstance(order, Close):
            self._close_one(order)
        elif isinstance(order, CutConnect):
            if order.slot.connection is not None:
                lifecycle.cut(order.slot.connection)
        elif isinstance(order, CutCall):
            self._cut_call(order)
        elif isinstance(order, ReportLeak):
            self._report_leak(order)

    def _spawn(self, work: Callable[..., None], slot: Slot) -> None:
        try:
            threads.start(work, f"redpool {self._name}", slot)
            self.short_of_threads = False
        except threads.NoThread:
            # As when the interpreter is going down: then the caller that has the order does it.
            self.short_of_threads = True
            work(slot, in_callers_thread=not threads.own())

    def _connect_slot(self, slot: Slot, in_callers_thread: bool = False) -> None:
        engine = self._engine
        with engine.guard, engine.transaction:
            wanted = engine.core.begin_connect(slot, _monotonic())
            attempt = slot.attempt
        if not wanted:
            engine.flush()
            return
        # In a caller's thread anything else may be what interrupts that caller.
        raised = (RedisError, OSError) if in_callers_thread else BaseException
        try:
            self._connect(slot, raised, in_callers_thread)
        except BaseException:
            # It is raised to that caller alone. It says nothing of the server: the others connect for themselves.
            with engine.guard, engine.transaction:
                connection = engine.core.abandon_connect(slot, attempt, _monotonic())
            if connection is not None:
                lifecycle.close(connection)
            raise

    def _connect(self, slot: Slot, raised: Any, in_callers_thread: bool) -> None:
        engine = self._engine
        try:
            connection = self._open(slot)
        except raised as error:
            if in_callers_thread and not lifecycle.says_of_server(error):
                raise  # that caller's deadline has come
            # To redis-py a connect that was cut off looks like a server that hangs up.
            self._connect_failed(slot, _too_long(error) if slot.cut else lifecycle.for_others(error))
            return
        with engine.guard, engine.transaction:
            started, now = slot.since, _monotonic()
            engine.core.connected(slot, connection, now)
            engine.expect_upkeep(now)
        engine.flush()
        self._hooks.fire("connected", self._name, now - started)

    def _open(self, slot: Slot) -> object:
        engine = self._engine
        owner = engine.owner()
        if owner is None:
            raise RedisConnectionError("the pool is gone")
        # Where CutConnect finds it, before the core knows it.
        slot.connection = connection = owner.make_connection()
        lifecycle.connect(connection)
        try:
            slot.reference = lifecycle.mark(connection, engine, slot, engine.when_dropped)
        except BaseException:
            lifecycle.close(connection)
            raise
        return connection

    def _connect_failed(self, slot: Slot, error: BaseException) -> None:
        lifecycle.drop_frames(error)
        engine = self._engine
        owner = engine.owner()
        retryable = owner is not None and isinstance(error, owner._connect_retries.errors)
        with engine.guard, engine.transaction:
            engine.core.connect_failed(slot, error, _monotonic(), retryable, options.failure(error))
        engine.flush()
        self._hooks.fire("connect_failed", self._name, error)

    def _check(self, slot: Slot, in_callers_thread: bool = False) -> None:
        engine = self._engine
        with engine.guard, engine.transaction:
            if not engine.core.begin_validation(slot):
                return
        answered = False
        try:
            pending_unsubscribes = getattr(slot.connection, "pending_unsubscribes", None)
            if pending_unsubscribes:
                answered = pubsub.unsubscribe(slot.connection)
            else:
                answered = lifecycle.peek(slot.connection) and lifecycle.ping(slot.connection)
        finally:
            with engine.guard, engine.transaction:
                engine.core.validated(slot, answered, _monotonic())
            engine.flush()

    def _close_one(self, order: Close) -> None:
        engine = self._engine
        if order.connection is not None:
            lifecycle.close(order.connection)
        with engine.guard, engine.transaction:
            engine.core.closed_connection(order.slot, _monotonic())
        logger.debug("%s: closed a connection: %s", self._name, order.reason.value)
        self._hooks.fire("closed", self._name, order.reason.value, order.age)

    def _report_leak(self, order: ReportLeak) -> None:
        borrower = borrower_name(order.borrower)
        logger.warning("%s", leak_message(self._name, order, borrower))
        self._hooks.fire("leaked", self._name, order.age, borrower, shown(order.stack))

    def _cut_call(self, order: CutCall) -> None:
        connection = order.slot.current
        if connection is not None and not order.limit.over:
            lifecycle.cut(connection)


def _too_long(error: BaseException) -> RedisTimeoutError:
    raised = RedisTimeoutError("the connect took too long")
    raised.__cause__ = error
    return raised
