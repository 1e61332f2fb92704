"""One connection that tasks share: what they queue in one turn of the loop goes out in one write.

It is the protocol of a transport that redis-py has connected. What must stay true: a waker is set once, when its reply
has come, when the connection is over, or when it is late; one timer ends the requests that are late, whatever their
number; nothing is written once the connection is lost or detached; and an ordinary call is queued only while the
connection is open, so that what retires it finds all of them in its pipeline.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection
from typing import Any

from ..deadline import deadline
from ..forks import begin_in_child, same_process
from ..redispy import sharing, transports
from ..redispy.multiplexed import NEVER, Multiplexed
from ..wire.loop_pipeline import LoopPipeline
from ..wire.pipeline import Request, ServerClosed, State
from ..wire.routing import may_go_elsewhere

_monotonic = time.monotonic
_NEVER = NEVER
_same_process = same_process
# A timer that comes so much later than it was due, as a share of the callers' patience, tells of the loop, not of the
# server.
_HELD_UP = 0.25
_NO_CALLS = -NEVER  # not even such as would wait
_OPEN, _DRAINING, _LOST, _DETACHED = State.OPEN, State.DRAINING, State.LOST, State.DETACHED


class MultiplexedConnection(Multiplexed, asyncio.Protocol):
    """A connection that many tasks' requests go over."""

    pipeline: LoopPipeline

    room: float = _NO_CALLS
    """how many ordinary calls may be queued in this turn of the loop before others wait for room"""

    def __init__(
        self, connection: Any, pipeline: LoopPipeline, room_patience: float | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Take a connection over. Where enough is in flight a caller waits `room_patience` seconds for room."""
        super().__init__(connection, pipeline, room_patience, contextlib.nullcontext())
        self._loop = loop
        pipeline.room_patience = self._room_patience
        self._flushing = False  # a write is due in this turn of the loop
        self._alone = True  # the last read had no more than one reply
        self._paused = False  # the transport has enough to write
        self._moved_at = -_NEVER  # when anything has flowed last
        self.expected: Collection[object] = ()  # what has waited for it, and will send next: it is not over before
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER
        self.queued_at = 0.0  # when the first was queued of what is in this turn
        self._transport, self._before, unread, ended = transports.take_over(connection, self)
        self._write = self._transport.write
        self._readable = transports.readable(connection)
        if unread:
            self.data_received(unread)
        if ended:
            self.lose(ServerClosed())

    def send(self, request: Request) -> None:
        """Send it, with what else is queued in this turn of the loop; `wait` is the other half."""
        if self.state is _LOST or self.state is _DETACHED:
            return  # as its caller sees by the state
        if not self._flushing:
            self.begin_turn()
        self.pipeline.mixed = True
        self.pipeline.queued.append(request)
        request.flowed_at = self.queued_at
        if not self._flushing and not self.flush_if_alone():
            self._flush_soon()

    def begin_turn(self) -> None:
        """Note when it is: for all that is queued in this turn of the loop."""
        self.queued_at = now = _monotonic()
        if now + self.patience < self._timer_at:
            self._watch(now + self.patience)

    def flush_if_alone(self) -> bool:
        """Write what is queued, if no other caller is likely to queue more in this turn of the loop. Return whether."""
        if not self._alone or self._flushing or self.pipeline.pending:
            return False
        self.flush()
        return True

    def _flush_soon(self) -> None:
        self._flushing = True
        self._loop.call_soon(self.end_turn)

    def limit(self, request: Request, limit: deadline) -> None:
        """Take the reply to be late after the limit, too."""
        request.limit = limit.at
        if limit.at < self._timer_at:
            self._watch(limit.at)

    def bound_room(self, request: Request) -> None:
        """Have a request for which there is no room wait for so long, and then no longer."""
        request.since = _monotonic()
        request.room_until = request.since + self._room_patience
        if request.room_until < self._timer_at:
            self._watch(request.room_until)

    def bound_room_of_calls(self) -> bool:
        """Have ordinary calls wait likewise from now on. Return False where the connection takes none."""
        if self.room == _NO_CALLS:
            return False
        room_until = self.queued_at + self._room_patience
        if room_until < self._timer_at:
            self._watch(room_until)
        return True

    async def wait(self, request: Request) -> None:
        """Wait until it is done or late, or the connection is over."""
        if not request.done and self.state is not _LOST and self.state is not _DETACHED:
            if request.flowed_at + self.patience < self._timer_at:  # it may have gone off before any task waited
                self._watch(request.flowed_at + self.patience)
            waker = request.waker = self._loop.create_future()
            try:
                await waker
            except BaseException:
                self.pipeline.abandon(request)
                raise

    def retire(self) -> None:
        """Take no new requests. Each caller looks afterwards whether it was the last one."""
        super().retire()
        self.look_closer()

    def look_closer(self) -> None:
        """Have the callers of all that is under way see to what they leave behind; no ordinary call before that."""
        self.room = _NO_CALLS
        self.pipeline.promote()

    def _measure_backlog(self) -> int:
        return transports.backlog(self._transport)

    def _note_backlog(self) -> bool:
        if flows := super()._note_backlog():
            self._moved_at = _monotonic()
        return flows

    def _last_flow(self, request: Request) -> float:
        return max(request.flowed_at, self._moved_at)

    def has_unread(self) -> bool:
        """Return whether bytes have come that are not read yet."""
        return bool(self._readable(0))

    # -- writing -----------------------------------------------------------------------------------------------------

    def end_turn(self) -> None:
        """Write what was queued in this turn of the loop, however long that took: the server's time begins now."""
        if not _same_process[0]:  # a loop is forked with what it is about to call
            begin_in_child()
        if not self.pipeline.pending:
            self._moved_at = _monotonic()
        self.flush()

    def flush(self) -> None:
        """Write what is queued, as far as the server takes it."""
        self._flushing = False
        pipeline = self.pipeline
        if not pipeline.pending and pipeline.queued and self.state is not _LOST and self._readable(0):
            # The loop hasn't read yet what has come while no reply was awaited, the server's hanging up for one: in its
            # next turns it does.
            self._flush_soon()
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
        self.flush()

    # -- reading -----------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Wake those whose replies have come."""
        if self.state is _LOST:
            return
        answered: list[Request] = []
        self._moved_at = _monotonic()
        pipeline = self.pipeline
        try:
            count = pipeline.answer(data, self._handle_push, answered)
        except BaseException as error:
            self._wake(answered)
            self.lose(error)
            if not isinstance(error, Exception):
                raise
            return
        if answered:
            self._wake(answered)
        self._alone = count < 2
        if pipeline.queued and not self._flushing:
            self.flush()

    def _wake(self, requests: list[Request]) -> None:
        for request in requests:
            request.connection = self
            waker, request.waker = request.waker, None  # else it and its waker would keep each other
            if waker is not None and not waker.done():
                request.gone = not request.done  # its caller leaves when it has its turn
                waker.set_result(request)

    def _handle_push(self, message: Any) -> None:
        # In the next turn: an eager task would begin in the midst of what has come.
        self._loop.call_soon(self._begin_handling, message)

    def _begin_handling(self, message: Any) -> None:
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

    # -- time --------------------------------------------------------------------------------------------------------

    def _watch(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(0.0, at - _monotonic()), self._end_the_late)

    def _end_the_late(self) -> None:
        """Wake the callers that have waited too long: for `patience` while nothing flowed, or up to their deadline."""
        was_due, self._timer, self._timer_at = self._timer_at, None, _NEVER
        self._note_backlog()
        if _monotonic() - was_due > _HELD_UP * self.patience:
            # The loop was held up, and has neither written nor read what there was: their time begins anew.
            self._moved_at = _monotonic()
        now, due, late = _monotonic(), _NEVER, list[Request]()
        for request in self.pipeline.unfinished():
            waker = request.waker
            if waker is None or waker.done():
                continue
            until = min(max(request.flowed_at, self._moved_at) + self.patience, request.limit)
            if not request.sent:
                until = min(until, request.room_until)
            if until <= now:
                late.append(request)
            else:
                due = min(due, until)
        self._wake(late)
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

    def stall(self) -> None:
        """Have callers that only read go elsewhere, where they wait behind a command that isn't answered."""
        moving = [each for each in self.pipeline.unfinished() if may_go_elsewhere(self.pipeline, each)]
        for request in moving:
            request.moves_on = True
        self._wake(moving)

    def lose(self, error: BaseException) -> None:
        """Give the connection up: wake all callers that it has, who see it by its state."""
        if self.state is _OPEN or self.state is _DRAINING:
            self.room = _NO_CALLS
            self.state, self.error = _LOST, sharing.as_raised(error, self.connection)
            transports.close_now(self.connection, self.error)
            if self._timer is not None:
                self._timer.cancel()
            self._wake(self.pipeline.unfinished())

    def leave_to_parent(self) -> None:
        """In a forked child: write nothing, and take nothing in."""
        self.room, self.state = _NO_CALLS, _LOST

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


_handlings: set[asyncio.Task[Any]] = set()
