"""What redis-py's OpenTelemetry recording gets of pools, and of commands over multiplexed connections, for little time.

redis-py's own collector makes the instruments, decides what is recorded, and names it. What is the same for each call
of a command is asked of it once. How long calls took is noted in lists, and recorded when many are noted, or a reader
collects: then an observable instrument of ours, which observes nothing, has its callback called first. How many
connections are open is looked at then, too.

A pool hears nothing of all that while the recorder is off. It is found to be on where a pool connects, by maintenance,
by a command of a client of ours, and by a reader.
"""

from __future__ import annotations

import contextlib
import copy
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol

from ..core.instrument import Instrument
from ..registry import noted
from . import internals

_monotonic = time.monotonic
MOST = 1024
"""durations of a command that are noted before they are recorded"""
_LONGEST_WAIT = 1.0  # seconds that a reader waits for another thread that records what is noted
_COLLECTS = "redpool.client.operation.noted"


class _Asked:
    """An instrument that takes note of the attributes that it gets."""

    def __init__(self) -> None:
        self.attributes: Mapping[str, Any] | None = None

    def record(self, _value: float, attributes: Mapping[str, Any]) -> None:
        self.attributes = attributes

    add = record


class _Durations(list[float]):
    """How long calls of one command took, or waits for a pool's connections, not recorded yet."""

    __slots__ = ("attributes", "histogram")

    def __init__(self, histogram: Any, attributes: Mapping[str, Any]) -> None:
        self.histogram, self.attributes = histogram, attributes

    def record(self, duration: float) -> None:
        """Record one duration at once."""
        with contextlib.suppress(Exception):  # as in redis-py
            self.histogram.record(duration, self.attributes)


class _Recorded(_Durations):
    """Durations that are recorded at once: many can't be."""

    __slots__ = ()

    def append(self, duration: float) -> None:
        self.record(duration)


class _Unrecorded(_Durations):
    """Durations that redis-py doesn't record."""

    __slots__ = ()

    def append(self, _duration: float) -> None:
        """Forget it."""

    def record(self, _duration: float) -> None:
        """Forget it."""


class Recording:
    """What one of redis-py's collectors gets."""

    def __init__(self, manager: Any, collector: Any, asynchronous: bool) -> None:
        from opentelemetry import context
        from opentelemetry.trace import get_current_span

        from ..metrics import histograms

        self.manager, self.collector, self.asynchronous = manager, collector, asynchronous
        # This runs at each command: where it can be had, what `get_current` calls in the end.
        variable = getattr(getattr(context, "_RUNTIME_CONTEXT", None), "_current_context", None)
        self.context: Callable[[], Any] = variable.get if isinstance(variable, ContextVar) else context.get_current
        self._span = get_current_span
        self._histograms: Any = histograms
        self._commands: dict[tuple[Any, ...], Commands] = {}
        self._durations: list[_Durations] = []
        self._pools: dict[weakref.ref[Any], RecordedPool] = {}
        self._closed: list[BaseException | None] = []
        self._close_counter, self._closed_as = self._asked(
            "connection_closed",
            lambda asks: asks.record_connection_closed(close_reason=internals.CLOSED_BY_APPLICATION),
        )
        # One for each process: a child's own is free.
        self._recording: dict[int, threading.Lock] = {}
        _all.append(self)
        collector.meter.create_observable_up_down_counter(_COLLECTS, [_record_noted])

    def commands(self, connection: Any) -> Commands:
        """Return what notes the commands that go to the server of a connection of redis-py's."""
        place = getattr(connection, "host", None), getattr(connection, "port", None), str(connection.db)
        found = self._commands.get(place)
        if found is None:
            found = self._commands.setdefault(place, Commands(self, *place))
        found.manager = self.manager
        return found

    def durations(self, name: str, **place: Any) -> _Durations:
        """Return what keeps the durations of a command."""
        return self._noting(
            "operation_duration",
            lambda asks: asks.record_operation_duration(command_name=name, duration_seconds=0.0, **place),
        )

    def waits(self, pool_name: str) -> _Durations:
        """Return what keeps how long a pool's callers wait."""
        return self._noting(
            "connection_wait_time",
            lambda asks: asks.record_connection_wait_time(pool_name=pool_name, duration_seconds=0.0),
        )

    def _noting(self, histogram_name: str, ask: Callable[[Any], None]) -> _Durations:
        histogram, attributes = self._asked(histogram_name, ask)
        if attributes is None:
            return _Unrecorded(None, {})
        if not self._histograms.can_add(histogram):
            return _Recorded(histogram, attributes)
        found = _Durations(histogram, attributes)
        self._durations.append(found)
        return found

    def _asked(self, name: str, ask: Callable[[Any], None]) -> tuple[Any, Mapping[str, Any] | None]:
        """Return the collector's instrument of that name, and the attributes with which it would record.

        `None` in their place: it wouldn't.
        """
        instrument, asked, asks = getattr(self.collector, name, None), _Asked(), copy.copy(self.collector)
        if instrument is not None:
            setattr(asks, name, asked)
            with contextlib.suppress(Exception):  # as in redis-py
                ask(asks)
        return instrument, asked.attributes

    def pool(self, pool: Any) -> RecordedPool:
        """Return what records a pool, which hears of it from now on."""
        reference = weakref.ref(pool)
        found = self._pools.get(reference)
        if found is None:
            kind = _RecordedWaits if hasattr(self.collector, "connection_wait_time") else RecordedPool
            found = self._pools.setdefault(reference, kind(self, reference))
        if not found.heard:
            found.heard = True
            pool.watch(found)
        return found

    def note_closed(self, error: BaseException | None) -> None:
        """Note that a connection was closed, with an error or in order.

        That may be anywhere: in the midst of a reader's work, too.
        """
        if self._closed_as is not None:
            self._closed.append(error)

    def sampled(self) -> bool:
        """Return whether the call is part of a trace that is kept: then its duration may become an exemplar."""
        return bool(self._span().get_span_context().trace_flags.sampled)

    def note(self, durations: _Durations, duration: float) -> None:
        """Note one duration, which is recorded when many are noted, or a reader collects."""
        if self.context() and self.sampled():
            durations.record(duration)
            return
        durations.append(duration)
        if len(durations) >= MOST:
            self.record_noted((durations,))

    def record_noted(self, several: Iterable[_Durations], patience: float = 0.0) -> None:
        """Record what is noted, unless another thread does; a reader has the `patience` to wait for that one."""
        self._alone(partial(self._record_each, several), patience)

    def _alone(self, record: Callable[[], None], patience: float) -> None:
        # Not re-entrant: a signal handler or finalizer that comes here in the midst of it leaves it to the interrupted.
        lock = self._recording.setdefault(os.getpid(), threading.Lock())
        if not lock.acquire(timeout=patience):
            return
        try:
            record()
        finally:
            lock.release()

    def _record_each(self, several: Iterable[_Durations]) -> None:
        for durations in several:
            count = len(durations)
            taken = durations[:count]
            del durations[:count]  # others add to the end meanwhile
            if taken:
                self._record_taken(durations, taken)

    def _record_taken(self, durations: _Durations, taken: list[float]) -> None:
        with contextlib.suppress(Exception):  # as in redis-py
            if self._histograms.add(durations.histogram, durations.attributes, taken):
                return
        for duration in taken:
            durations.record(duration)

    def record_all_noted(self) -> None:
        """Record what is noted of all commands and pools, and how many connections are open, for a reader."""
        self._alone(self._record_all, _LONGEST_WAIT)

    def _record_all(self) -> None:
        self._record_each([*self._durations])
        if count := len(self._closed):
            closed = self._closed[:count]
            del self._closed[:count]
            with contextlib.suppress(Exception):  # as in redis-py
                self._record_closed(closed)
        if self.is_current():
            self._look_at_pools()

    def _record_closed(self, closed: list[BaseException | None]) -> None:
        for error in closed:
            if error is not None:
                self.collector.record_connection_closed(close_reason=internals.CLOSED_BY_ERROR, error_type=error)
        if in_order := closed.count(None):
            self._close_counter.add(in_order, self._closed_as)

    def _look_at_pools(self) -> None:
        for pool in noted():
            if pool.asynchronous is self.asynchronous:
                self.pool(pool)
        for reference, recorded in self._pools.copy().items():
            if not recorded.look():
                self._pools.pop(reference, None)

    def is_current(self) -> bool:
        """Return whether redis-py's recorder is on, and this is what it gets."""
        manager = internals.RECORDER._provider_manager
        return manager is not None and of(self.asynchronous) is self

    def end(self) -> None:
        """Take the connections out of the count: another recording counts them from now on."""
        for pool in self._pools.copy().values():
            pool.count(0, 0)


_all: list[Recording] = []
_last: dict[bool, Recording] = {}


def _record_noted(_options: Any) -> tuple[()]:
    for each in [*_all]:
        each.record_all_noted()
    return ()


def of(asynchronous: bool) -> Recording | None:
    """Return what records for one of the shells, while redis-py's recorder is on; `None` where that can't be known."""
    manager = internals.RECORDER._provider_manager
    last = _last.get(asynchronous)
    if last is not None and last.manager is manager:
        return last
    collector = internals.collector(asynchronous)
    if collector is None:
        return None
    if last is None or last.collector is not collector:
        before, last = last, Recording(manager, collector, asynchronous)
        _last[asynchronous] = last
        if before is not None:
            before.end()
    last.manager = manager
    return last


class Commands(dict[str, _Durations]):
    """The commands that go to one database of a server, by name: how long they take, and how they fail."""

    def __init__(self, recording: Recording, host: Any, port: Any, database: str) -> None:
        self.recording, self.collector, self.manager = recording, recording.collector, recording.manager
        self.context, self._note = recording.context, recording.note
        self._peer = {"network_peer_address": host, "network_peer_port": port}
        self._server = {"server_address": host, "server_port": port, **self._peer}
        self._place = {**self._server, "db_namespace": database}

    def __missing__(self, name: str) -> _Durations:
        found = self.recording.durations(name, **self._place)
        return self.setdefault(name, found)

    def note(self, name: str, duration: float) -> None:
        """Note how long a command took that was answered."""
        self._note(self[name], duration)

    def tried(self, name: str, duration: float, error: Exception, failures: int | None) -> None:
        """Record a try that has failed; how many have is said only where another one follows."""
        with contextlib.suppress(Exception):  # as in redis-py
            self.collector.record_operation_duration(
                command_name=name, duration_seconds=duration, error_type=error, retry_attempts=failures, **self._place
            )

    def failed(self, error: Exception, failures: int) -> None:
        """Record that a caller gets an error, after so many tries that have failed."""
        with contextlib.suppress(Exception):  # as in redis-py
            self.collector.record_error_count(
                error_type=error, retry_attempts=failures, is_internal=False, **self._server
            )

    def ended(self, name: str, duration: float, error: Exception | None) -> None:
        """Record how long a cluster's command took in its only try, and with what it has failed, if it has."""
        if error is None:
            self.note(name, duration)
        else:
            self.tried(name, duration, error, None)
            self.failed(error, 0)


class _Shared(Protocol):
    """The multiplexed connections of a pool."""

    only: Any

    def all_there_are(self) -> Iterable[Any]: ...


def commands_of(shared: _Shared, template: Any, asynchronous: bool) -> Commands | None:
    """Return what notes commands over these connections; `None` where nothing is recorded.

    `template` stands for the connections while there is none.
    """
    connection = shared.only or next(iter(shared.all_there_are()), None)
    if connection is None:
        recording = of(asynchronous)
        return None if recording is None else recording.commands(template)
    commands: Commands | None = connection.commands
    if commands is None or commands.manager is not internals.RECORDER._provider_manager:
        recording = of(asynchronous)
        commands = connection.commands = None if recording is None else recording.commands(connection.connection)
    return commands


class Tries:
    """The tries of one call: what is recorded of those that fail, and of the call's end."""

    __slots__ = ("_commands", "_failures", "_name", "_policy", "_started")

    def __init__(self, name: str, started: float, commands: Callable[[], Commands | None], policy: Any) -> None:
        self._name, self._started, self._commands, self._policy = name, started, commands, policy
        self._failures = 0

    def failed(self, error: Exception, failures: int) -> None:
        """Note a try that has failed, as the policy calls it."""
        self._failures = failures
        if failures <= self._policy.get_retries() and (commands := self._commands()) is not None:
            commands.tried(self._name, _monotonic() - self._started, error, failures)

    async def failed_async(self, error: Exception, failures: int) -> None:
        """Do the same on an event loop."""
        self.failed(error, failures)

    def ended(self, error: Exception | None = None) -> None:
        """Record how long the call took, or with what it has failed."""
        commands = self._commands()
        if commands is None:
            return
        if error is None:
            commands.note(self._name, _monotonic() - self._started)
        else:
            commands.failed(error, self._failures)


class RecordedPool(Instrument):
    """What redis-py's recorder gets of one pool, which hears of it as a user's instrument does."""

    def __init__(self, recording: Recording, pool: weakref.ref[Any]) -> None:
        self._recording, self._pool = recording, pool
        self.name = internals.recorded_name(pool())
        self.heard = False
        """whether the pool calls the hooks"""
        self._counted: list[int] | None = None

    def connected(self, _pool: str, seconds: float) -> None:
        """Record how long a connect took."""
        pool = self._pool_recorded()
        if pool is not None:
            with contextlib.suppress(Exception):  # as in redis-py
                self._recording.collector.record_connection_create_time(connection_pool=pool, duration_seconds=seconds)

    def _pool_recorded(self) -> Any:
        """Return the pool; `None`, and hear of it no more, where this isn't what redis-py's recorder gets now."""
        pool = self._pool()
        if pool is None or self._recording.is_current():
            return pool
        self.heard = False
        pool.unwatch(self)
        look_at(pool)
        return None

    def look(self) -> bool:
        """Record how the numbers of connections have changed. Return whether the pool is still there."""
        pool = self._pool()
        self.count(*((0, 0) if pool is None else pool.open_now()))
        return pool is not None

    def count(self, *numbers: int) -> None:
        """Record that so many connections are idle and in use; redis-py counts none before the first connect."""
        before = self._counted
        if before is None and not any(numbers):
            return
        self._counted = [*numbers]
        for state, number, known in zip(internals.CONNECTION_STATES, numbers, before or (None, None), strict=True):
            if number != known:
                self._count(state, number - (known or 0))

    def _count(self, state: Any, more: int) -> None:
        with contextlib.suppress(Exception):  # as in redis-py; before 7.4 it looks at the pools itself
            self._recording.collector.record_connection_count(pool_name=self.name, connection_state=state, counter=more)


class _RecordedWaits(RecordedPool):
    """The same where waits are recorded."""

    def __init__(self, recording: Recording, pool: weakref.ref[Any]) -> None:
        super().__init__(recording, pool)
        self._waits = recording.waits(self.name)

    def acquired(self, _pool: str, wait: float) -> None:
        """Note how long a caller has waited for a connection; 0 where it found an idle one."""
        if self._recording.manager is internals.RECORDER._provider_manager or self._pool_recorded() is not None:
            self._recording.note(self._waits, wait)

    def timed_out(self, _pool: str, _wait: float) -> None:
        """Record that a caller has waited in vain: redis-py has a counter for that."""
        if self._pool_recorded() is not None:
            with contextlib.suppress(Exception):  # as in redis-py
                self._recording.collector.record_connection_timeout(pool_name=self.name)


def look_at(pool: Any) -> None:
    """Have a pool recorded from now on, if redis-py's recorder is on."""
    if internals.RECORDER._provider_manager is None or pool is None:
        return
    with contextlib.suppress(Exception):  # as in redis-py
        recording = of(pool.asynchronous)
        if recording is not None:
            recording.pool(pool)


def note_closed(asynchronous: bool, error: BaseException | None = None) -> None:
    """Note that a connection was closed without redis-py's `disconnect`, which would record that."""
    manager = internals.RECORDER._provider_manager
    if manager is None:
        return
    # It was made as the connection was connected; to make it may be too much where this is.
    recording = _last.get(asynchronous)
    if recording is not None and recording.manager is manager:
        recording.note_closed(error)
