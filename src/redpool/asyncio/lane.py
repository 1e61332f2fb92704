"""One connection that tasks share: what they queue in one turn of the loop goes out in one write.

It is the protocol of a transport that redis-py has opened. What must stay true: an entry's waker is told once, when it
is answered, lost or late; one timer ends the entries that are late, whatever their number.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ..limit import deadline
from ..redispy import packing, sharing, transports
from ..wire.mux import Entry, MuxCore

_monotonic = time.monotonic
_NEVER = float("inf")


class Lane(asyncio.Protocol):
    """A shared connection."""

    def __init__(self, connection: Any, core: MuxCore, turn: float | None, loop: asyncio.AbstractEventLoop) -> None:
        """`turn` seconds is how long a caller waits for room where enough is in flight."""
        self.connection = connection
        self.core = core
        self.dead: BaseException | None = None
        self.retired = False  # it takes nothing new
        self.patience: float = _NEVER if connection.socket_timeout is None else connection.socket_timeout
        self._turn = _NEVER if turn is None else turn
        self._loop = loop
        self._parser = connection._parser
        self._flushing = False  # a write is due in this turn of the loop
        self._alone = True  # the last read had no more than one reply
        self._gone = False  # it belongs to the pool again
        self._paused = False  # the transport has enough to write
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER
        self._until = _NEVER  # until when the replies may take to what is queued in this turn
        self._transport, self._before, unread = transports.take_over(connection, self)
        self._write = self._transport.write
        if unread:
            self.data_received(unread)

    def send(self, entry: Entry) -> None:
        """Send it, with what else is queued in this turn of the loop; `wait` is the other half."""
        core = self.core
        if self.dead is not None:
            entry.error, entry.done = self.dead, True
            return
        core.queued.append(entry)
        if not self._flushing:
            self._until = _monotonic() + self.patience
            if self._until < self._timer_at:
                self._watch(self._until)
            if self._alone and not core.pending:
                self._flush()
            else:
                self._flushing = True
                self._loop.call_soon(self._flush)
        entry.until = self._until

    def limit(self, entry: Entry, limit: deadline) -> None:
        """The reply is late after the limit, too."""
        if limit.at < entry.until:
            entry.until = limit.at
            if limit.at < self._timer_at:
                self._watch(limit.at)

    def bound_turn(self, entry: Entry) -> None:
        """There is no room for the entry, not yet sent: it waits for so long, and then no longer."""
        entry.turn = _monotonic() + self._turn
        if entry.turn < self._timer_at:
            self._watch(entry.turn)

    async def wait(self, entry: Entry) -> None:
        """Wait until it is answered, lost or late."""
        if not entry.done:
            if entry.until < self._timer_at:  # it may have gone off before anybody waited
                self._watch(entry.until)
            waker = entry.waker = self._loop.create_future()
            try:
                await waker
            except BaseException:
                self.core.abandon(entry)
                raise

    # -- writing -----------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._flushing = False
        while not self._paused:
            data = self.core.take_output()
            if not data or self.dead is not None:
                return
            self._write(data)

    def pause_writing(self) -> None:
        """The server doesn't take what is written: what comes waits in the line."""
        self._paused = True

    def resume_writing(self) -> None:
        """It does again."""
        self._paused = False
        self._flush()

    # -- reading -----------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Tell those whose replies have come."""
        core = self.core
        try:
            answered = core.receive(data, len(data), self._push)
        except BaseException as error:
            self.lose(error)
            if not isinstance(error, Exception):
                raise
            return
        for entry in answered:
            waker = entry.waker
            if waker is not None and not waker.done():
                waker.set_result(None)
        self._alone = len(answered) < 2
        if core.queued and not self._flushing:
            self._flush()

    def _push(self, message: Any) -> None:
        handling = self._loop.create_task(self._parser.handle_push_response(message))
        _handlings.add(handling)
        handling.add_done_callback(self._pushed)

    def _pushed(self, handling: asyncio.Task[Any]) -> None:
        _handlings.discard(handling)
        if not handling.cancelled() and handling.exception() is not None:
            transports.logger.warning("a push message was not handled", exc_info=handling.exception())
        if self.connection.should_reconnect():
            self.retired = True

    # -- time --------------------------------------------------------------------------------------------------------

    def _watch(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(0.0, at - _monotonic()), self._end_the_late)

    def _end_the_late(self) -> None:
        self._timer, self._timer_at = None, _NEVER
        now, due = _monotonic(), _NEVER
        for line in (self.core.pending, self.core.queued):
            for entry in line:
                waker = entry.waker
                if waker is None or waker.done():
                    continue
                until = entry.until if entry.sent else min(entry.until, entry.turn)
                if until <= now:
                    waker.set_result(None)
                else:
                    due = min(due, until)
        if due < _NEVER:
            self._watch(due)

    # -- the end -----------------------------------------------------------------------------------------------------

    def connection_lost(self, error: BaseException | None) -> None:
        """The transport is closed."""
        self.lose(error or EOFError())
        self._before.connection_lost(error if isinstance(error, Exception) else None)

    def eof_received(self) -> bool:
        """The server has said its last word: what was sent now would be dropped, and can move instead."""
        self.lose(EOFError())
        return False

    def lose(self, error: BaseException) -> None:
        """The connection is of no use any more: whoever is in its line is told."""
        self.retired = True
        if self.dead is None:
            self.dead = sharing.as_told(error, self.connection)
            self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        for entry in self.core.lost(self.dead):
            waker = entry.waker
            if waker is not None and not waker.done():
                waker.set_result(None)

    def ask(self) -> None:
        """Have the server say something."""
        self.core.probes += 1
        self.send(Entry(sharing.ASKED, packing.pack(sharing.ASKED)))

    def let_go(self) -> bool:
        """Whether nobody waits for anything: then the connection is as it was before it was shared."""
        if self._gone:
            return True
        if self.dead is not None:
            self._gone = True
            transports.close_now(self.connection)
            return True
        if self.core.pending or self.core.queued or self._transport.get_write_buffer_size():
            return False
        if self._timer is not None:
            self._timer.cancel()
        self._gone, self.dead = True, sharing.retired()
        transports.give_back(self._transport, self._before)
        return True


_handlings: set[asyncio.Task[Any]] = set()
