"""The actions of a core, carried out by threads: each connect and each validation by one of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from redis.exceptions import RedisError

from .. import threads
from ..core.actions import AnyAction, Close, Connect, CutCall, CutConnect, Note, ReportLeak, Validate
from ..core.pool import PoolCore
from ..core.slot import Slot, State
from ..errors import connect_too_slow
from ..redispy import lifecycle, options, pubsub
from ..redispy.engine_base import Reports
from ..redispy.factory import ConnectionFactory

T = TypeVar("T")


class Apply(Protocol):
    """Let a change alter the core; its last argument is the time. `apply` then carries out what follows from it."""

    def __call__(self, change: Callable[..., T], *arguments: Any) -> T:
        """Apply `change`."""


class Workers:
    """What carries out the actions of one core, except for waking callers. An action may come twice.

    What must stay true: a slot that is being connected or validated is in `at_work` from the moment that the core says
    so until the core knows the outcome, so that none is lost with a thread that was interrupted.
    """

    def __init__(
        self,
        core: PoolCore,
        apply: Apply,
        decide: Apply,
        adopt: Callable[[Any, Slot], None],
        expect_upkeep: Callable[[float], None],
        factory: ConnectionFactory,
        reports: Reports,
    ) -> None:
        self._core, self._factory, self._reports = core, factory, reports
        self._apply, self._decide, self._adopt, self._expect_upkeep = apply, decide, adopt, expect_upkeep
        self.at_work: dict[Slot, threading.Thread] = {}
        """the thread that is at each slot's connect or validation; written by changes to the core"""
        self.short_of_threads = False
        """the last time that a thread was needed, none was to be had"""

    def carry_out(self, action: AnyAction) -> None:
        """Carry out one action."""
        if isinstance(action, Connect):
            self._spawn(self._connect, action.slot)
        elif isinstance(action, Validate):
            self._spawn(self._validate, action.slot)
        elif isinstance(action, Close):
            self._close(action)
        elif isinstance(action, CutConnect):
            if action.slot.connection is not None:
                lifecycle.cut(action.slot.connection)
        elif isinstance(action, CutCall):
            self._cut_call(action)
        elif isinstance(action, ReportLeak):
            self._reports.leaked(action)
        elif isinstance(action, Note):
            self._reports.noted(action)

    def reclaim(self, now: float) -> None:
        """Free the slots at which threads were that have ended, interrupted before they could say how it went.

        A change to the core.
        """
        for slot, thread in self.at_work.copy().items():
            if not thread.is_alive():
                self._lost(slot, thread, now)

    def _lost(self, slot: Slot, thread: threading.Thread, now: float) -> Any:
        """Return the half-made connection of a connect that was interrupted, if any. A change to the core."""
        if self.at_work.get(slot) is not thread:
            return None
        del self.at_work[slot]
        if slot.state is State.VALIDATING:
            self._core.validated(slot, False, now)
            return None
        return self._core.abandon_connect(slot, slot.attempt, now)

    def _spawn(self, work: Callable[..., None], slot: Slot) -> None:
        try:
            threads.start(work, f"redpool {self._core.config.name}", slot)
            self.short_of_threads = False
        except threads.NoThread:
            # As when the interpreter is going down: then the caller that has the order does it.
            self.short_of_threads = True
            work(slot, in_callers_thread=not threads.own())

    # -- connects ----------------------------------------------------------------------------------------------------

    def _connect(self, slot: Slot, in_callers_thread: bool = False) -> None:
        me = threading.current_thread()
        try:
            if self._apply(self._begin_connect, slot, me):
                self._try_to_connect(slot, in_callers_thread)
        except BaseException:
            # It is raised to that caller alone. It says nothing of the server: the others connect for themselves.
            if self.at_work.get(slot) is me:
                # A caller that was interrupted leaves it to others to carry out what follows.
                change = self._decide if in_callers_thread else self._apply
                connection = change(self._lost, slot, me)
                if connection is not None:
                    lifecycle.close(connection)
            raise

    def _begin_connect(self, slot: Slot, me: threading.Thread, now: float) -> bool:
        if slot.begun:
            return False  # ordered twice
        self.at_work[slot] = me
        wanted = self._core.begin_connect(slot, now)
        if not wanted:
            self.at_work.pop(slot, None)
        return wanted

    def _try_to_connect(self, slot: Slot, in_callers_thread: bool) -> None:
        # In a caller's thread anything else may be what interrupts that caller.
        raised: Any = (RedisError, OSError) if in_callers_thread else BaseException
        try:
            # Where CutConnect finds it, before the core knows it.
            slot.connection = connection = self._factory.connection()
            lifecycle.connect(connection)
            self._adopt(connection, slot)
        except raised as error:
            if in_callers_thread and not lifecycle.says_of_server(error):
                raise  # that caller's deadline has come
            # To redis-py a connect that was cut off looks like a server that hangs up.
            failed = connect_too_slow(error) if slot.cut else lifecycle.for_others(error)
            lifecycle.drop_frames(failed)
            self._apply(self._connect_failed, slot, failed)
            self._reports.connect_failed(failed)
        else:
            self._reports.connected(self._apply(self._connected, slot, connection))

    def _connected(self, slot: Slot, connection: Any, now: float) -> float:
        """Return how many seconds the connect took."""
        since = slot.since
        self._core.connected(slot, connection, now)
        self.at_work.pop(slot, None)
        self._expect_upkeep(now)
        return now - since

    def _connect_failed(self, slot: Slot, error: BaseException, now: float) -> None:
        self._core.connect_failed(slot, error, now, self._factory.sits_through(error), options.failure(error))
        self.at_work.pop(slot, None)

    # -- validations -------------------------------------------------------------------------------------------------

    def _validate(self, slot: Slot, in_callers_thread: bool = False) -> None:  # noqa: ARG002  called as `_connect` is
        me, answered = threading.current_thread(), False
        try:
            if self._apply(self._begin_validation, slot, me):
                answered = self._is_sound(slot.connection)
        finally:
            if self.at_work.get(slot) is me:
                self._apply(self._validated, slot, answered)

    def _begin_validation(self, slot: Slot, me: threading.Thread, _now: float) -> bool:
        if slot.begun:
            return False  # ordered twice
        self.at_work[slot] = me
        wanted = self._core.begin_validation(slot)
        if not wanted:
            self.at_work.pop(slot, None)
        return wanted

    def _is_sound(self, connection: Any) -> bool:
        if getattr(connection, "pending_unsubscribes", None):
            return pubsub.unsubscribe(connection)
        return lifecycle.peek(connection) and lifecycle.ping(connection)

    def _validated(self, slot: Slot, answered: bool, now: float) -> None:
        self._core.validated(slot, answered, now)
        self.at_work.pop(slot, None)

    # -- ends --------------------------------------------------------------------------------------------------------

    def _close(self, action: Close) -> None:
        if action.connection is not None:
            lifecycle.close(action.connection)
        self._apply(self._core.closed_connection, action.slot)
        self._reports.closed(action)

    def _cut_call(self, action: CutCall) -> None:
        connection = action.slot.current
        if connection is not None and not action.limit.over:
            lifecycle.cut(connection)
