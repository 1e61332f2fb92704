"""What redis-py's OpenTelemetry recording gets of commands over multiplexed connections, for little time.

redis-py's own collector makes the instruments, decides what is recorded, and names it. What is the same for each call
of a command is asked of it once. How long calls took is noted in lists, and recorded when many are noted, or a reader
collects: then an observable instrument of ours, which observes nothing, has its callback called first.
"""

from __future__ import annotations

import contextlib
import copy
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any

from . import internals
from .routing import Routing

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


class _Durations(list[float]):
    """How long calls of one command took, not recorded yet."""

    __slots__ = ("attributes",)

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.attributes = attributes


class _Recorded(_Durations):
    """Durations that are recorded at once: many can't be."""

    __slots__ = ("_record",)

    def __init__(self, attributes: Mapping[str, Any], record: Callable[[float, Mapping[str, Any]], None]) -> None:
        super().__init__(attributes)
        self._record = record

    def append(self, duration: float) -> None:
        self._record(duration, self.attributes)


class _Unrecorded(_Durations):
    """Durations of a command that redis-py doesn't record."""

    __slots__ = ()

    def append(self, _duration: float) -> None:
        """Forget it."""


class Recording:
    """What one of redis-py's collectors gets."""

    def __init__(self, manager: Any, collector: Any) -> None:
        from opentelemetry import context
        from opentelemetry.trace import get_current_span

        from ..metrics import histograms

        self.manager, self.collector = manager, collector
        # This runs at each command: where it can be had, what `get_current` calls in the end.
        variable = getattr(getattr(context, "_RUNTIME_CONTEXT", None), "_current_context", None)
        self.context: Callable[[], Any] = variable.get if isinstance(variable, ContextVar) else context.get_current
        self._span = get_current_span
        self._histogram: Any = getattr(collector, "operation_duration", None)
        self._add = histograms.add if histograms.can_add(self._histogram) else None
        self._commands: dict[tuple[Any, ...], Commands] = {}
        self._durations: list[_Durations] = []
        # One for each process: a child's own is free.
        self._recording: dict[int, threading.Lock] = {}
        _all.append(self)
        if self._add is not None:
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
        asked, asks = _Asked(), copy.copy(self.collector)
        if self._histogram is not None:
            asks.operation_duration = asked
            with contextlib.suppress(Exception):  # as in redis-py
                asks.record_operation_duration(command_name=name, duration_seconds=0.0, **place)
        if asked.attributes is None:
            return _Unrecorded({})
        if self._add is None:
            return _Recorded(asked.attributes, self.record)
        found = _Durations(asked.attributes)
        self._durations.append(found)
        return found

    def sampled(self) -> bool:
        """Return whether the call is part of a trace that is kept: then its duration may become an exemplar."""
        return bool(self._span().get_span_context().trace_flags.sampled)

    def record(self, duration: float, attributes: Mapping[str, Any]) -> None:
        """Record one duration at once."""
        with contextlib.suppress(Exception):  # as in redis-py
            self._histogram.record(duration, attributes)

    def record_noted(self, several: Iterable[_Durations], patience: float = 0.0) -> None:
        """Record what is noted, unless another thread does; a reader has the `patience` to wait for that one."""
        # Not re-entrant: a signal handler or finalizer that comes here in the midst of it leaves it to the interrupted.
        lock = self._recording.setdefault(os.getpid(), threading.Lock())
        if not lock.acquire(timeout=patience):
            return
        try:
            self._record_each(several)
        finally:
            lock.release()

    def _record_each(self, several: Iterable[_Durations]) -> None:
        for durations in several:
            count = len(durations)
            taken = durations[:count]
            del durations[:count]  # others add to the end meanwhile
            if taken:
                self._record_taken(durations.attributes, taken)

    def _record_taken(self, attributes: Mapping[str, Any], taken: list[float]) -> None:
        with contextlib.suppress(Exception):  # as in redis-py
            if self._add is not None and self._add(self._histogram, attributes, taken):
                return
        for duration in taken:
            self.record(duration, attributes)

    def record_all_noted(self) -> None:
        """Record what is noted of all commands, for a reader."""
        self.record_noted(tuple(self._durations), _LONGEST_WAIT)


_all: list[Recording] = []
_last: dict[bool, Recording] = {}


def _record_noted(_options: Any) -> tuple[()]:
    for each in tuple(_all):
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
        last = _last[asynchronous] = Recording(manager, collector)
    last.manager = manager
    return last


class Commands(dict[str, _Durations]):
    """The commands that go to one database of a server, by name: how long they take, and how they fail."""

    def __init__(self, recording: Recording, host: Any, port: Any, database: str) -> None:
        self.recording, self.collector, self.manager = recording, recording.collector, recording.manager
        self.context = recording.context
        self._peer = {"network_peer_address": host, "network_peer_port": port}
        self._server = {"server_address": host, "server_port": port, **self._peer}
        self._place = {**self._server, "db_namespace": database}

    def __missing__(self, name: str) -> _Durations:
        found = self.recording.durations(name, **self._place)
        return self.setdefault(name, found)

    def note(self, name: str, duration: float) -> None:
        """Note how long a command took that was answered."""
        durations = self[name]
        if self.context() and self.recording.sampled():
            self.recording.record(duration, durations.attributes)
            return
        durations.append(duration)
        if len(durations) >= MOST:
            self.recording.record_noted((durations,))

    def tried(self, name: str, duration: float, error: Exception, failures: int) -> None:
        """Record a try that has failed and is followed by another one."""
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


def commands_of(shared: Routing[Any, Any], template: Any, asynchronous: bool) -> Commands | None:
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
