"""One connection that tasks share: what they queue in one turn of the loop goes out in one write.

It is the protocol of a transport that redis-py has connected. What must stay true: a request's waker is set once, when
it is done, when the connection is over, or when it is late; one timer ends the requests that are late, whatever their
number; nothing is written once the connection is lost or detached.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ..deadline import deadline
from ..redispy import packing, sharing, transports
from ..wire.pipeline import Pipeline, Request, ServerClosed, State

_monotonic = time.monotonic
_NEVER = float("inf")
_OPEN, _DRAINING, _LOST, _DETACHED = State.OPEN, State.DRAINING, State.LOST, State.DETACHED
# Silence that is shorter, in seconds, says nothing about a connection.
_LEAST_SILENCE = 0.1


class MultiplexedConnection(asyncio.Protocol):
    """A connection that many tasks' requests go over."""

    def __init__(
        self, connection: Any, pipeline: Pipeline, room_patience: float | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Take a connection over. Where enough is in flight a caller waits `room_patience` seconds for room."""
        self.connection = connection
        self.pipeline = pipeline
        self.state = _OPEN
        self.error: BaseException | None = None  # why it was lost
        self.suspect = False  # nothing has come for long: another one is being connected
        self.unreleased = [connection]  # the one that takes it out gives it back to the pool
        self.patience = _NEVER
        self.take_patience()
        self._room_patience = _NEVER if room_patience is None else room_patience
        self._loop = loop
        self._parser = connection._parser
        self._flushing = False  # a write is due in this turn of the loop
        self._alone = True  # the last read had no more than one reply
        self._paused = False  # the transport has enough to write
        self._heard_at = -_NEVER
        self._pushed = 0  # how often a part of a large request had got on its way since the look before
        self._pushed_at = -_NEVER
        self._backlog = 0  # bytes of it that the transport and the kernel had at the last look
        self.expected = 0  # callers that have waited for it, and will send next: it is not over before
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER
        self._until = _NEVER  # until when the replies may take to what is queued in this turn
        self._transport, self._before, unread = transports.take_over(connection, self)
        self._write = self._transport.write
        self._readable = transports.readable(connection)
        if unread:
            self.data_received(unread)

    def send(self, request: Request) -> None:
        """Send it, with what else is queued in this turn of the loop; `wait` is the other half."""
        if self.state is _LOST or self.state is _DETACHED:
            return  # as its caller sees by the state
        pipeline = self.pipeline
        pipeline.queued.append(request)
        if not self._flushing:
            self._until = _monotonic() + self.patience
            if self._until < self._timer_at:
                self._watch(self._until)
            if self._alone and not pipeline.pending:
                self._flush()
            else:
                self._flushing = True
                self._loop.call_soon(self._flush)
        request.until = self._until

    def limit(self, request: Request, limit: deadline) -> None:
        """Take the reply to be late after the limit, too."""
        request.limit, request.since = limit.at, _monotonic()
        if limit.at < self._timer_at:
            self._watch(limit.at)

    def bound_room(self, request: Request) -> None:
        """Have a request for which there is no room wait for so long, and then no longer."""
        request.since = _monotonic()
        request.room_until = request.since + self._room_patience
        if request.room_until < self._timer_at:
            self._watch(request.room_until)

    async def wait(self, request: Request) -> None:
        """Wait until it is done or late, or the connection is over."""
        if not request.done and self.state is not _LOST and self.state is not _DETACHED:
            if request.until < self._timer_at:  # it may have gone off before any task waited
                self._watch(request.until)
            waker = request.waker = self._loop.create_future()
            try:
                await waker
            except BaseException:
                self.pipeline.abandon(request)
                raise

    def silent_for(self, request: Request) -> bool:
        """Return whether nothing has flowed for as long as the caller of a request has waited, and that was long.

        To wait for room says nothing about a connection.
        """
        awaited = request.sent or request.room_until == _NEVER
        if request.limit == _NEVER:
            return awaited  # it is late because nothing has flowed
        return awaited and _monotonic() - max(request.since, self._heard_at, self._pushed_at) >= _LEAST_SILENCE

    def flow(self) -> int:
        """Return what changes whenever bytes have come, or have got on their way."""
        self._note_backlog()
        return self.pipeline.heard + self._pushed

    def _note_backlog(self) -> None:
        """Take it for flowing that a large request leaves bit by bit: the network is slow then."""
        before, self._backlog = self._backlog, transports.backlog(self._transport)
        if self._backlog and (not before or self._backlog < before):
            self._pushed, self._pushed_at = self._pushed + 1, _monotonic()

    # -- writing -----------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._flushing = False
        pipeline = self.pipeline
        if not pipeline.pending and pipeline.queued and self.state is not _LOST and self._readable(0):
            # The loop hasn't read yet what has come while no reply was awaited, the server's hanging up for one: in its
            # next turns it does.
            self._flushing = True
            self._loop.call_soon(self._flush)
            return
        while pipeline.queued and not self._paused and self.state is not _LOST:
            data = pipeline.take()
            if not data:
                return
            self._write(data)

    def pause_writing(self) -> None:
        """Have what comes wait in the queue: the server doesn't take what is written."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on writing."""
        self._paused = False
        self._flush()

    # -- reading -----------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Wake those whose replies have come."""
        if self.state is _LOST:
            return
        answered: list[Request] = []
        self._heard_at = _monotonic()
        try:
            self.pipeline.receive(data, len(data), self._handle_push, answered)
        except BaseException as error:
            self._wake(answered)
            self.lose(error)
            if not isinstance(error, Exception):
                raise
            return
        for request in answered:  # not by `_wake`: this is the hot path
            waker = request.waker
            if waker is not None and not waker.done():
                waker.set_result(None)
        self._alone = len(answered) < 2
        if self.pipeline.queued and not self._flushing:
            self._flush()

    @staticmethod
    def _wake(requests: list[Request]) -> None:
        for request in requests:
            waker = request.waker
            if waker is not None and not waker.done():
                waker.set_result(None)

    def _handle_push(self, message: Any) -> None:
        handling = self._loop.create_task(self._parser.handle_push_response(message))
        _handlings.add(handling)
        handling.add_done_callback(self._push_handled)

    def _push_handled(self, handling: asyncio.Task[Any]) -> None:
        _handlings.discard(handling)
        if not handling.cancelled() and handling.exception() is not None:
            transports.logger.warning("a push message was not handled", exc_info=handling.exception())
        self.take_patience()
        if self.connection.should_reconnect():
            self.retire()

    def take_patience(self) -> None:
        """Take up the connection's `socket_timeout`, which maintenance notifications change."""
        self.patience = _NEVER if self.connection.socket_timeout is None else self.connection.socket_timeout

    # -- time --------------------------------------------------------------------------------------------------------

    def _watch(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(0.0, at - _monotonic()), self._end_the_late)

    def _end_the_late(self) -> None:
        """Wake the callers that have waited too long: for `patience` while nothing flowed, or up to their deadline."""
        self._timer, self._timer_at = None, _NEVER
        self._note_backlog()
        now, due = _monotonic(), _NEVER
        patient_until = max(self._heard_at, self._pushed_at) + self.patience
        for request in self.pipeline.unfinished():
            waker = request.waker
            if waker is None or waker.done():
                continue
            until = min(max(request.until, patient_until), request.limit)
            if not request.sent:
                until = min(until, request.room_until)
            if until <= now:
                waker.set_result(None)
            else:
                due = min(due, until)
        if due < _NEVER:
            self._watch(due)

    # -- the end -----------------------------------------------------------------------------------------------------

    def connection_lost(self, error: BaseException | None) -> None:
        """Wake all: the transport is closed."""
        self.lose(error or ServerClosed())
        self._before.connection_lost(error if isinstance(error, Exception) else None)

    def eof_received(self) -> bool:
        """Wake all: what was sent from now on would be dropped by the server, and can go over another one instead."""
        self.lose(ServerClosed())
        return False

    def retire(self) -> None:
        """Take no new requests; those that it has are answered."""
        if self.state is _OPEN:
            self.state = _DRAINING

    def stall(self) -> None:
        """Have callers that only read go elsewhere, where they wait behind a command that isn't answered."""
        moving = [each for each in self.pipeline.unfinished() if sharing.may_go_elsewhere(self.pipeline, each)]
        for request in moving:
            request.moves_on = True
        self._wake(moving)

    def lose(self, error: BaseException) -> None:
        """Give the connection up: wake all callers that it has, who see it by its state."""
        if self.state is _OPEN or self.state is _DRAINING:
            self.state, self.error = _LOST, sharing.as_raised(error, self.connection)
            transports.close_now(self.connection)
            if self._timer is not None:
                self._timer.cancel()
            self._wake(self.pipeline.unfinished())

    def end(self) -> bool:
        """Detach the connection where nothing is under way over it any more. Return whether it is over."""
        pipeline = self.pipeline
        if self.state is _DRAINING and not (
            self.expected or pipeline.pending or pipeline.queued or self._transport.get_write_buffer_size()
        ):
            if self._timer is not None:
                self._timer.cancel()
            self.state = _DETACHED
            transports.restore(self._transport, self._before)
        return self.state is _LOST or self.state is _DETACHED

    def probe(self) -> None:
        """Have the server say something."""
        self.pipeline.probes += 1
        self.send(Request(sharing.PROBE, packing.pack(sharing.PROBE)))


_handlings: set[asyncio.Task[Any]] = set()
