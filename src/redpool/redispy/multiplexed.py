"""What a multiplexed connection is in both shells: how long its callers wait, and what shows that it is alive."""

from __future__ import annotations

import contextlib
import math
import time
from typing import Any

from ..wire.pipeline import Pipeline, Request, State
from ..wire.routing import PROBE
from . import packing

_monotonic = time.monotonic
_OPEN, _DRAINING = State.OPEN, State.DRAINING

NEVER = math.inf

# Silence that is shorter, in seconds, says nothing about a connection.
_LEAST_SILENCE = 0.1


class Multiplexed:
    """A connection that many callers' requests go over."""

    suspect = False
    """nothing has come for long: another one is being connected"""
    error: BaseException | None = None
    """why it was lost; written under `_lock`"""
    commands: Any = None
    """what notes how long commands take, while redis-py's recorder is on"""

    def __init__(
        self,
        connection: Any,
        pipeline: Pipeline,
        room_patience: float | None,
        lock: contextlib.AbstractContextManager[Any],
    ) -> None:
        """Take a connection over. Where enough is in flight a caller waits `room_patience` seconds for room."""
        self.connection = connection
        self.pipeline = pipeline
        self.state = _OPEN  # written under _lock
        self.unreleased = [connection]  # the one that takes it out gives it back to the pool
        self.take_patience()
        self._room_patience = NEVER if room_patience is None else room_patience
        self._lock = lock
        self._parser = connection._parser
        self._pushed = 0  # how often a part of what was not sent at once got on its way
        self._backlog = 0  # bytes of it that were still here at the last look

    def send(self, request: Request) -> None:
        """Send a request without waiting for the reply."""
        raise NotImplementedError

    def stall(self) -> None:
        """Have callers that only read go elsewhere, where they wait behind a command that isn't answered."""
        raise NotImplementedError

    def lose(self, error: BaseException) -> None:
        """Give the connection up: wake all callers that it has, who see it by its state."""
        raise NotImplementedError

    def end(self) -> bool:
        """Detach the connection where nothing is under way over it any more. Return whether it is over."""
        raise NotImplementedError

    def has_unread(self) -> bool:
        """Return whether bytes have come that are not read yet."""
        raise NotImplementedError

    def _measure_backlog(self) -> int:
        """Return how many bytes of a large request are still here; 0 where it is none."""
        raise NotImplementedError

    def _last_flow(self, request: Request) -> float:
        """Return when anything has flowed last, as far as the caller of a request can know."""
        raise NotImplementedError

    def take_patience(self) -> None:
        """Take up the connection's `socket_timeout`, which maintenance notifications change."""
        timeout = self.connection.socket_timeout
        self.patience: float = NEVER if timeout is None else timeout

    def retire(self) -> None:
        """Take no new requests; those that it has are answered."""
        with self._lock:
            if self.state is _OPEN:
                self.state = _DRAINING

    def silent_for(self, request: Request) -> bool:
        """Return whether nothing has flowed for long while the caller of a request has waited for the connection.

        To wait for room says nothing about it.
        """
        awaited = request.sent or request.room_until == NEVER
        return awaited and _monotonic() >= self._last_flow(request) + min(_LEAST_SILENCE, self.patience)

    def flow(self) -> int:
        """Return what changes whenever bytes have come, or have got on their way, as exactly as it can be known."""
        if self.pipeline.pending:
            self._note_backlog()
        return self._flow()

    def _flow(self) -> int:
        """Return the same, as far as it is known."""
        return self.pipeline.heard + self._pushed

    def _note_backlog(self) -> bool:
        """Take it for flowing that a large request leaves bit by bit: the network is slow then.

        Return whether any of it has left since the last look, its last bytes included.
        """
        before, self._backlog = self._backlog, self._measure_backlog()
        flows = self._backlog < before if before else self._backlog > 0
        self._pushed += flows
        return flows

    def probe(self) -> None:
        """Have the server say something."""
        self.pipeline.probes += 1
        self.send(Request(PROBE, packing.pack(PROBE)))
