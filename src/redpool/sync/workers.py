"""The orders of a core, carried out by threads: each dial and each check by one of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..core.instrument import Hooks
from ..core.orders import AnyOrder, Check, Close, CutCall, CutDial, Dial, ReportLeak
from ..core.slot import Slot
from ..core.stacks import leak_message, shown
from ..redispy import connections, options, parting
from . import threads
from .dump import holder_name

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

    def carry_out(self, order: AnyOrder) -> None:
        """Carry out one order."""
        if isinstance(order, Dial):
            self._spawn(self._dial, order.slot)
        elif isinstance(order, Check):
            self._spawn(self._check, order.slot)
        elif isinstance(order, Close):
            self._close_one(order)
        elif isinstance(order, CutDial):
            if order.slot.connection is not None:
                connections.cut(order.slot.connection)
        elif isinstance(order, CutCall):
            self._cut_call(order)
        elif isinstance(order, ReportLeak):
            self._report_leak(order)

    def _spawn(self, work: Callable[..., None], slot: Slot) -> None:
        try:
            threads.start(work, f"redpool {self._name}", slot)
            self.short_of_threads = False
        except threads.NoThread:
            # As when the interpreter is going down: then whoever has the order does it.
            self.short_of_threads = True
            work(slot, in_callers_thread=not threads.own())

    def _dial(self, slot: Slot, in_callers_thread: bool = False) -> None:
        engine = self._engine
        with engine.guard, engine.mending:
            wanted = engine.core.begin_dial(slot, _monotonic())
            begun_at = slot.since
        if not wanted:
            engine.flush()
            return
        # In a caller's thread anything else may be what interrupts that caller.
        told = (RedisError, OSError) if in_callers_thread else BaseException
        try:
            self._connect(slot, told, in_callers_thread)
        except BaseException:
            # It is raised to that caller alone. It says nothing of the server: the others connect for themselves.
            with engine.guard, engine.mending:
                connection = engine.core.give_up_dial(slot, begun_at, _monotonic())
            if connection is not None:
                connections.close(connection)
            raise

    def _connect(self, slot: Slot, told: Any, in_callers_thread: bool) -> None:
        engine = self._engine
        try:
            connection = self._open(slot)
        except told as error:
            if in_callers_thread and not connections.says_of_server(error):
                raise  # that caller's deadline has come
            # To redis-py a dial that was cut off looks like a server that hangs up.
            self._dial_failed(slot, _too_long(error) if slot.cut else connections.for_others(error))
            return
        with engine.guard, engine.mending:
            started, now = slot.since, _monotonic()
            engine.core.dialed(slot, connection, now)
            engine.expect_upkeep(now)
        engine.flush()
        self._hooks.fire("opened", self._name, now - started)

    def _open(self, slot: Slot) -> object:
        engine = self._engine
        owner = engine.owner()
        if owner is None:
            raise RedisConnectionError("the pool is gone")
        # Where CutDial finds it, before the core knows it.
        slot.connection = connection = owner.make_connection()
        connections.connect(connection)
        try:
            slot.hold = connections.mark(connection, engine, slot, engine.when_dropped)
        except BaseException:
            connections.close(connection)
            raise
        return connection

    def _dial_failed(self, slot: Slot, error: BaseException) -> None:
        connections.drop_frames(error)
        engine = self._engine
        owner = engine.owner()
        retryable = owner is not None and isinstance(error, owner._dial_retries.errors)
        with engine.guard, engine.mending:
            engine.core.dial_failed(slot, error, _monotonic(), retryable, options.failure(error))
        engine.flush()
        self._hooks.fire("dial_failed", self._name, error)

    def _check(self, slot: Slot, in_callers_thread: bool = False) -> None:
        engine = self._engine
        with engine.guard, engine.mending:
            if not engine.core.begin_check(slot):
                return
        answered = False
        try:
            owes = getattr(slot.connection, "owes", None)
            if owes:
                answered = parting.unsubscribe(slot.connection)
            else:
                answered = connections.peek(slot.connection) and connections.ping(slot.connection)
        finally:
            with engine.guard, engine.mending:
                engine.core.checked(slot, answered, _monotonic())
            engine.flush()

    def _close_one(self, order: Close) -> None:
        engine = self._engine
        if order.connection is not None:
            connections.close(order.connection)
        with engine.guard, engine.mending:
            engine.core.closed_connection(order.slot, _monotonic())
        logger.debug("%s: closed a connection: %s", self._name, order.reason.value)
        self._hooks.fire("closed", self._name, order.reason.value, order.age)

    def _report_leak(self, order: ReportLeak) -> None:
        holder = holder_name(order.holder)
        logger.warning("%s", leak_message(self._name, order, holder))
        self._hooks.fire("leaked", self._name, order.age, holder, shown(order.stack))

    def _cut_call(self, order: CutCall) -> None:
        connection = order.slot.occupant
        if connection is not None and not order.limit.over:
            connections.cut(connection)


def _too_long(error: BaseException) -> RedisTimeoutError:
    told = RedisTimeoutError("the dial took too long")
    told.__cause__ = error
    return told
