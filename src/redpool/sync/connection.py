"""One connection that threads share: a caller queues its request, and no thread's write waits for a reply.

The caller that finds no writer writes its own request and what others queue meanwhile. The caller that finds no reader
reads, for all, until its own reply has come, and hands the role on. All others are parked, each on a lock of its own.

What must stay true, and where it is kept:

- The state goes from open to draining to lost or detached, and changes under `_lock` alone. A thread looks at it after
  it has entered a role, never before: so nothing is written to, or read from, a connection that was detached. A reader
  needn't look where its own request is in flight, since then none can be detached.
- A connection is detached under both roles, with nothing in flight, queued or half written.
- It is lost by shutting the socket down first: what was not sent by then never leaves, and may go over another one. The
  socket is closed under both roles, by the last thread that was in one.
- A thread that adds something looks afterwards for a free role; one that leaves a role looks afterwards at what was
  added, or for another caller to enter it: so one of the two sees the other.
- A thread that is interrupted in the midst of a role's work has left half a message behind: the connection is lost. A
  role whose owner is gone is found by maintenance, since its owner doesn't come by any more.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from types import FrameType
from typing import Any

from redis.exceptions import InvalidResponse

from ..deadline import deadline
from ..errors import inherited, interrupted, stopped_reading
from ..redispy import lifecycle, recording, sharing, sockets, streams
from ..redispy.multiplexed import NEVER, Multiplexed
from ..redispy.streams import DONT_WAIT, take_over
from ..wire.attributes import AttributeReceived
from ..wire.pipeline import Pipeline, Request, ServerClosed, State, UnexpectedReply
from ..wire.routing import may_go_elsewhere
from .role import Role

logger = logging.getLogger("redpool")

_monotonic = time.monotonic
_thread = threading.get_ident
_new_lock = threading.Lock
_OPEN, _DRAINING, _LOST, _DETACHED = State.OPEN, State.DRAINING, State.LOST, State.DETACHED
_NEVER = NEVER
_HERE = globals()
_ENDS = (ServerClosed, UnexpectedReply, AttributeReceived, InvalidResponse)
# Where the errors of a socket are raised: with one of another module a signal handler has interrupted its use.
_OF_SOCKETS = frozenset({__name__, streams.__name__, "ssl"})
# The owner of a role comes by, and maintenance looks, at least every so many seconds: a quarter of the time that a
# reply may take, but no more often than the least and no more seldom than the longest.
_LEAST_LOOK, _LONGEST_LOOK = 0.05, 1.0
# After so many seconds, and looks, in which it hasn't come by, the owner of a role is taken to be gone. A thread of a
# busy machine may not run for a while; and callers don't wait for that, since those that are late leave the connection.
_GONE_AFTER, _LEAST_GONE_AFTER, _LOOKS_UNTIL_GONE = 5.0, 1.0, 3


class MultiplexedConnection(Multiplexed):
    """A connection that many threads' requests go over."""

    def __init__(self, connection: Any, pipeline: Pipeline, room_patience: float | None) -> None:
        """Take a connection over. Where enough is in flight a caller waits `room_patience` seconds for room."""
        # The lock is re-entrant for finalizers and signal handlers.
        super().__init__(connection, pipeline, room_patience, threading.RLock())
        self.stalled = False  # the other one is: requests that only read had better go there
        self.writer, self.reader = Role(), Role()
        self.look_every = min(_LONGEST_LOOK, max(_LEAST_LOOK, self.patience / 4))
        self._unsent: Any = None  # of what was taken out of the queue; the writer's
        self._delivered: list[Request] = []  # done, their callers not yet woken; the reader's
        self._pushes: deque[Any] = deque()  # what has come unasked, and is still to be handled; the reader's
        self._waited = self.look_every  # seconds for which the last receive at least has waited in vain; the reader's
        self._parked: dict[int, Any] = {}  # what wakes a thread, by its id: a signal handler's calls sleep on the same
        # Maintenance's: the beat of a role at the last look, since when it hasn't changed, and for how many looks.
        self._seen: dict[Role, tuple[int, float, int]] = {}
        self._next_look = 0.0  # maintenance's
        self._closed = False  # its socket, once it is lost
        self._stream = stream = take_over(connection, self.look_every)
        self._send, self._receive, self._buffer = stream.send, stream.receive, stream.buffer
        self._readable = stream.readable  # asked by the writer alone

    def has_unread(self) -> bool:
        """Return whether bytes have come that are not read yet. Maintenance asks, with a probe of its own."""
        return bool(sockets.readable(self._stream.sock)(0))

    # -- a call ------------------------------------------------------------------------------------------------------

    def call(self, request: Request, limit: deadline | None) -> bool:
        """Send a request and wait for its replies. Return False where they are late, and its caller leaves.

        Otherwise it is done; or the connection is over, and `request.sent` says whether it may have run; or else it had
        better go elsewhere.
        """
        pipeline, writer, reader = self.pipeline, self.writer, self.reader
        # Called by way of locals: CPython 3.11 looks for a method of such a name first.
        readable, send, receive = self._readable, self._send, self._receive
        try:
            # The lone caller's way: whatever is not as usual is left to `_go_on`.
            alone = limit is None and not pipeline.pending and not pipeline.queued and writer.enter(False)
            if (
                not alone
                or self.state is not _OPEN
                or writer.dirty
                or pipeline.pending  # another one may have sent just before
                or self._unsent is not None
                or readable(0)
            ):
                if alone:
                    writer.leave()
                pipeline.queued.append(request)
                return self._go_on(request, limit)
            writer.dirty = True
            data = pipeline.begin(request)
            try:
                sent = send(data, DONT_WAIT)
            except BlockingIOError as error:
                if not self._is_of_socket(error):
                    raise
                sent = 0
            if sent != len(data):
                self._unsent = memoryview(data)[sent:]
            writer.dirty = False
            writer.leave()
            if sent != len(data) or pipeline.queued or not reader.enter(False):
                return self._go_on(request, limit)
            if request.done or reader.dirty:
                reader.leave()
                return self._go_on(request, limit)
            reader.dirty = True
            try:
                size = receive(self._buffer)
            except BaseException as error:
                if not self._nothing_received(error):
                    raise
                reader.leave()
                return self._go_on(request, limit, self._waited)
            self._take_in(size)
            reader.leave()
            if pipeline.pending or pipeline.queued:
                self._hand_on()
            return request.done or self._go_on(request, limit)
        except BaseException as error:
            if not self._ended_by(error, request):
                raise
            return True

    def send(self, request: Request) -> None:
        """Send a request; `wait` is the other half of `call`."""
        try:
            self.pipeline.queued.append(request)
            self._write(None)
        except BaseException as error:
            if not self._ended_by(error, request):
                raise

    def wait(self, request: Request, limit: deadline | None) -> bool:
        """Wait for the replies to what was sent, as `call` does."""
        try:
            return self._go_on(request, limit)
        except BaseException as error:
            if not self._ended_by(error, request):
                raise
            return True

    def _go_on(self, request: Request, limit: deadline | None, waited: float = 0.0) -> bool:
        """Wait for a request that is queued, or sent; `waited` seconds have passed already with nothing flowing."""
        now = _monotonic()
        request.since, request.flowed_at, request.flow = now, now - waited, self._flow()
        if limit is not None:
            request.limit = limit.at
        if not request.sent and self.pipeline.waits_for_room(request):
            request.room_until = now + self._room_patience
        while not request.done and self.state is not _LOST and self.state is not _DETACHED:
            if self._left(request) <= 0:
                self._leave(request)
                return request.done
            self._write(request)
            if self.stalled and may_go_elsewhere(self.pipeline, request):
                self._leave(request)
                return True
            if request.done or not self.reader.try_enter():
                self._park(request)
                continue
            self._read(request)
            self.reader.leave()
            if self.state is _LOST:
                self._close()
        self._unpark(request)
        if self.state is _LOST:
            self._close()
        elif self.pipeline.pending or self.pipeline.queued:
            self._hand_on()
        return True

    def _park(self, request: Request) -> None:
        """Sleep until the request is done, or a role is free."""
        if request.waker is None:
            waker = self._parked.get(_thread())
            request.interrupts = waker is not None
            if waker is None:
                waker = self._parked[_thread()] = _new_lock()
                waker.acquire()
            request.waker = waker  # and look once more: no thread could wake it before
        elif not request.done:
            request.waker.acquire(timeout=max(0.0, min(self._left(request), self.look_every)))

    def _unpark(self, request: Request) -> None:
        """End a caller's sleep. A signal handler's call has the one that it has interrupted look again."""
        if request.interrupts:
            _wake(request.waker)
        elif request.waker is not None:
            self._parked.pop(_thread(), None)

    def woken_by(self, waker: Any) -> int | None:
        """Return the thread that sleeps on this, by its id; `None` for none."""
        return next((thread for thread, each in self._parked.copy().items() if each is waker), None)

    def _leave(self, request: Request) -> None:
        """Take a caller out: another one takes its place, and what was not sent of it never is."""
        self.pipeline.abandon(request)
        self._unpark(request)
        self._hand_on()

    def is_mine(self) -> bool:
        """Return whether the calling thread is in a role: it was interrupted there, and must not wait for itself."""
        return bool(self.writer.mine() or self.reader.mine())

    def leave_behind(self) -> bool:
        """Leave roles that an earlier call of this thread could not leave. Return whether it was one.

        That call was interrupted, and again as it ended. Else it is still under way: a signal handler or a finalizer
        asks from within, and what it has interrupted stands on this thread's own stack.
        """
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_globals is _HERE:
                return False
            frame = frame.f_back
        self.lose(interrupted("at work on"))
        for role in (self.writer, self.reader):
            if role.mine():
                role.leave()
        self._close()
        return True

    # -- how long a caller waits -------------------------------------------------------------------------------------

    def _left(self, request: Request) -> float:
        """Return the seconds for which its caller still waits: `patience` since anything flowed, and the deadline."""
        now, flow = _monotonic(), self._flow()
        if flow == request.flow and now >= request.flowed_at + self.patience:
            self._note_backlog()
            flow = self._flow()
        if flow != request.flow:
            request.flow, request.flowed_at = flow, now
        until = min(request.flowed_at + self.patience, request.limit)
        return (until if request.sent else min(until, request.room_until)) - now

    def _measure_backlog(self) -> int:
        return self._stream.backlog()

    def _last_flow(self, request: Request) -> float:
        return request.flowed_at if self._flow() == request.flow else _NEVER

    # -- writing -----------------------------------------------------------------------------------------------------

    def _write(self, request: Request | None) -> None:
        """Write what is queued, unless another thread is at it, which looks once more when it is through.

        Its caller's request says for how long it waits where the server takes no more; without one nothing waits.
        """
        pipeline, writer = self.pipeline, self.writer
        while (self._unsent is not None or pipeline.ready) and writer.try_enter():
            if self._over_for_writer():
                writer.leave()
                return
            writer.beat += 1
            if not (pipeline.pending or self._unsent is not None or self._read_unasked()):
                writer.leave()
                if self.state is _LOST:
                    self._close()
                return
            on_its_way = self._send_some() or (request is not None and self._push_on(request))
            writer.leave()
            if self.state is _LOST:
                self._close()
            if not on_its_way:
                return

    def _over_for_writer(self) -> bool:
        """Return whether the connection is over, as it is where the last writer was interrupted. As the writer."""
        if self.writer.dirty:
            self.lose(interrupted("writing to"))
        return self.state is _LOST or self.state is _DETACHED

    def _send_some(self) -> bool:
        """Send what comes next, as far as the socket takes it at once: whether that is all of it. As the writer."""
        self.writer.dirty = True
        data = self.pipeline.take() if self._unsent is None else self._unsent
        try:
            sent = self._send(data, DONT_WAIT) if data else 0
        except BlockingIOError as error:
            if not self._is_of_socket(error):
                raise
            sent = 0
        self._unsent = None if sent == len(data) else memoryview(data)[sent:]
        self.writer.dirty = False
        return self._unsent is None

    def _read_unasked(self) -> bool:
        """Read what has come while no reply was awaited, before anything is written behind it. As the writer.

        It is a push, or ends the connection, as the server's hanging up does: what is queued then goes over another
        one. Return False where another thread reads it, which has those that are parked look again as it leaves.
        """
        while self._readable(0):
            is_reader = self.reader.mine()
            if not (is_reader or self.reader.try_enter()):
                return False
            came = not self._over_for_reader() and self._receive_some(0.0)
            if not is_reader:
                self.reader.leave()
            if not came:
                break
        return self.state is not _LOST

    def _push_on(self, request: Request) -> bool:
        """Send the rest, bit by bit; the server may be waiting for its replies to be read. As the writer.

        Return whether all of it is sent; the next writer goes on where a caller is late.
        """
        while self._unsent is not None and self.state is not _LOST:
            if request.done:
                return False  # what is left is others', who go on
            left = self._left(request)
            if left <= 0:
                if _monotonic() >= request.flowed_at + self.patience:
                    self.lose(stopped_reading())
                return False
            self.writer.beat += 1
            is_reader = self.reader.mine()
            reads = is_reader or self.reader.try_enter()
            self.reader.beat += reads
            events = sockets.POLLOUT | (sockets.POLLIN if reads else 0)
            events = self._stream.wait(events, min(left, self.look_every))
            if reads and events & ~sockets.POLLOUT and not self._over_for_reader():
                self._receive_some(0.0)
            if reads and not is_reader:
                self.reader.leave()
                self._hand_on()
            if self._send_more():
                self._pushed += 1
        return True

    def _send_more(self) -> bool:
        """Send of the rest what the socket takes; whether it took anything. As the writer."""
        before = len(self._unsent)
        return self._send_some() or len(self._unsent) < before

    # -- reading -----------------------------------------------------------------------------------------------------

    def _read(self, request: Request) -> None:
        """Read for all until the request is done, or late, or the connection is over. As the reader."""
        while not request.done and not self._over_for_reader():
            if self.stalled and may_go_elsewhere(self.pipeline, request):
                return
            left = self._left(request)
            if left <= 0:
                return
            self.reader.beat += 1
            if self._unsent is not None or self.pipeline.queued:
                self._write(request)
            if not request.done:
                self._receive_some(left if left < self.look_every else None)

    def _over_for_reader(self) -> bool:
        """Return whether the connection is over, as it is where the last reader was interrupted. As the reader."""
        if self.reader.dirty:
            self.lose(interrupted("reading from"))
        return self.state is _LOST or self.state is _DETACHED

    def _receive_some(self, seconds: float | None) -> bool:
        """Take in what has come, within so many seconds or the stream's own; whether anything has. As the reader."""
        self.reader.dirty = True
        try:
            size = self._receive(self._buffer) if seconds is None else self._stream.receive_within(seconds)
        except BaseException as error:
            if not self._nothing_received(error):
                raise
            return False
        self._take_in(size)
        return True

    def _nothing_received(self, error: BaseException) -> bool:
        """Return whether nothing has come in time, and nothing else is the matter. As the reader."""
        reader, stream = self.reader, self._stream
        if not (isinstance(error, BlockingIOError) and self._is_of_socket(error)):
            # Where it can be interrupted only while it waits, nothing has been taken yet.
            reader.dirty = stream.interrupted_anywhere
            return False
        self._waited = self.look_every
        if stream.hurried:  # signals have stretched the wait since before the look that saw it last
            self._waited = _monotonic() - self._seen[reader][1]
            stream.calm()
        reader.dirty = False
        return True

    def _take_in(self, size: int) -> None:
        """Take in so many bytes of the buffer, none at the end: wake those whose replies they are. As the reader."""
        if self._stream.hurried:
            self._stream.calm()
        if not size:
            raise ServerClosed
        delivered = self._delivered
        self.pipeline.receive(self._buffer, size, self._pushes.append, delivered)
        for request in delivered:
            if request.waker is not None:
                _wake(request.waker)
        delivered.clear()
        self.reader.dirty = False
        if self._pushes:
            self._handle_pushes()

    def _hand_on(self) -> None:
        """Have the first caller that is parked look for a role; those that aren't parked yet look for themselves."""
        for line in (self.pipeline.pending, self.pipeline.queued):
            for position in range(len(line)):
                try:
                    request = line[position]
                except IndexError:  # others take requests out meanwhile
                    break
                if request.waker is not None and not request.gone:
                    _wake(request.waker)
                    return

    def _handle_pushes(self) -> None:
        """Have redis-py, and the user, handle what has come unasked. As the reader, whose work is through by then.

        Whatever they do to the pool finds the connection in order; a command of theirs goes over another one, and an
        exception is no end of this one.
        """
        while self._pushes:
            try:
                self._parser.handle_push_response(self._pushes.popleft())
            except Exception:
                logger.warning("a push message was not handled", exc_info=True)
        self.take_patience()
        if self.connection.should_reconnect():
            self.retire()

    # -- the end -----------------------------------------------------------------------------------------------------

    def stall(self) -> None:
        """Have callers that only read go elsewhere, where they wait behind a command that isn't answered."""
        self.stalled = True
        self._wake_all()

    def lose(self, error: BaseException) -> None:
        """Give the connection up: wake all callers that it has, who see it by its state."""
        with self._lock:
            if self.state is _OPEN or self.state is _DRAINING:
                sockets.cut(self._stream.sock)  # before the state: what a caller finds unsent can't leave any more
                self.connection._sock = None  # its socket is the stream's alone, which closes it
                self.error = sharing.as_raised(error, self.connection)
                self.state = _LOST
                recording.note_closed(False, self.error)
        if self.state is _LOST and not (self.writer.mine() or self.reader.mine()):
            self._close()  # else this thread does as it leaves its role

    def forget(self) -> None:
        """In a forked child: give it up without a word to the server. Only greenlets can be waiting for it here."""
        lifecycle.forget(self.connection)
        self.error, self.state = inherited(), _LOST
        self._stream.close()

    def end(self) -> bool:
        """Detach the connection where nothing is under way over it any more. Return whether it is over."""
        if self.state is _DRAINING and self.reader.try_enter():
            try:
                # The writer's role is left first: a caller that finds the reader's free then tries the writer's, too.
                if self.writer.try_enter():
                    try:
                        self._detach()
                    finally:
                        self.writer.leave()
            finally:
                self.reader.leave()
            if self.state is _DRAINING:  # others may have found a role taken just now
                self._hand_on()
            else:
                self._wake_all()
        if self.state is _LOST and not self._closed:
            self._close()
        return self.state is _LOST or self.state is _DETACHED

    def _detach(self) -> None:
        """Leave the connection as it was before it was shared. As the writer and the reader."""
        if self._over_for_writer() or self._over_for_reader():
            return
        pipeline = self.pipeline
        if pipeline.pending or pipeline.queued or self._unsent is not None:
            return
        with self._lock:
            if self.state is _DRAINING:
                self.writer.dirty = True
                self._stream.detach(self.connection.socket_timeout)
                self.connection.multiplexed = False
                self.state = _DETACHED
                self.writer.dirty = False

    def _close(self) -> None:
        """Wake all, and close the socket of a lost connection; where a thread is in a role, it does as it leaves."""
        if self._closed:
            return
        self._wake_all()
        while not (self.writer.mine() or self.reader.mine()) and self.writer.enter(False):
            try:
                if self.reader.enter(False):
                    self._stream.close()
                    self._closed = True
                    self.reader.leave()
            finally:
                self.writer.leave()
            if self._closed or self.reader.taken():  # one that has left meanwhile found the writer's role taken
                return

    def _wake_all(self) -> None:
        for request in [*self.pipeline.unfinished(), *self._delivered]:
            if request.waker is not None:
                _wake(request.waker)

    def _ended_by(self, error: BaseException, request: Request | None) -> bool:
        """Leave the roles that this thread has. Return whether the error is the connection's end.

        Else it has interrupted the thread, whose caller leaves; and the connection is lost if that was in the midst
        of something.
        """
        writes, reads = self.writer.mine(), self.reader.mine()
        its_own = (writes or reads) and (isinstance(error, _ENDS) or self._is_of_socket(error))
        try:
            if its_own:
                self.lose(error)
            elif (writes and self.writer.dirty) or (reads and self.reader.dirty):
                self.lose(interrupted("at work on"))
        finally:  # where this is interrupted: the next thread that enters finds the role dirty
            if writes:
                self.writer.leave()
            if reads:
                self.reader.leave()
        if self.state is _LOST:
            self._close()
        if not its_own and request is not None:
            self._leave(request)
        return its_own

    def _is_of_socket(self, error: BaseException) -> bool:
        """Return whether the socket has raised it.

        A signal handler may raise an `OSError`, too: after it nothing is known of how much was sent, or received. An
        asynchronous exception has no number.
        """
        if not isinstance(error, OSError) or error.errno is None:
            return False
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        is_known = trace is None or trace.tb_frame.f_globals.get("__name__") in _OF_SOCKETS
        return is_known or not self._stream.interrupted_anywhere  # a socket of another kind may raise it anywhere

    # -- maintenance -------------------------------------------------------------------------------------------------

    def look_after(self, now: float) -> None:
        """See to what no caller sees to: a role whose owner is gone, what comes in while no thread reads."""
        try:
            if now >= self._next_look:
                self._next_look = now + self.look_every
                self._look_for_owner(self.writer, self.writer.beat + self.pipeline.written + self._pushed, now)
                self._look_for_owner(self.reader, self.reader.beat + self.pipeline.heard, now)
            self._read_what_has_come()
            self._write(None)
        except BaseException as error:
            if not self._ended_by(error, None):
                raise
        if self.state is _LOST:
            self._close()
        self._hand_on()

    def _read_what_has_come(self) -> None:
        """Read without waiting.

        Where no reply is awaited this is done as the writer, too: a request that is written after something unasked was
        taken from the socket, and before that is understood, would get it for its reply.
        """
        if self.reader.try_enter():
            while not self._over_for_reader() and self.pipeline.pending and self._stream.has_come():
                if not self._receive_some(0.0):
                    break
            self.reader.leave()
        if not self.pipeline.pending and self.writer.try_enter():
            if not self._over_for_writer():
                self._read_unasked()
            self.writer.leave()

    def _gone_after(self) -> float:
        """Return the seconds: sooner than callers run out of patience, with time for a look that was just missed."""
        return min(_GONE_AFTER, max(_LEAST_GONE_AFTER, 0.6 * self.patience))

    def _look_for_owner(self, role: Role, beat: int, now: float) -> None:
        """Lose the connection where the owner of a role hasn't come by for long: it was interrupted."""
        before, since, looks = self._seen.get(role, (-1, now, 0))
        if not role.taken() or beat != before:
            self._seen[role] = beat, now, 0
            return
        self._seen[role] = beat, since, looks + 1
        if looks + 1 >= _LOOKS_UNTIL_GONE and now >= since + self._gone_after():
            self.lose(interrupted("at work on"))
        elif role is self.reader:
            with self._lock:
                if self.state is _OPEN or self.state is _DRAINING:  # else the socket is another's
                    self._stream.hurry()


def _wake(waker: Any) -> None:
    try:  # noqa: SIM105  this is the hot path
        waker.release()
    except RuntimeError:  # woken already
        pass
