"""One connection that threads share. Whoever has a command queues it, and nobody's write waits for a reply.

The caller who finds nobody writing writes his own command and what others queue meanwhile. The caller who finds nobody
reading reads, for everybody, until his own reply has come, and hands the role on. All others are parked, each on a lock
of his own.

What must stay true: a caller looks for the role after he can be woken, and a reader gives the role up before he looks
for whom to wake, so that somebody always reads; the same holds for the writer and the queue. Nothing is written once
the connection was let go. Whoever is struck while he has a role may have left half of a message behind, so the
connection is given up then. A signal handler that uses the pool while its own thread has a role must not wait for
itself; see `reentered`.
"""

from __future__ import annotations

import logging
import select
import threading
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import InvalidResponse

from ..limit import deadline
from ..redispy import connections, packing, sharing
from ..redispy.streams import DONT_WAIT, take_over
from ..wire.mux import Entry, MuxCore
from .threads import is_at, seen_at

logger = logging.getLogger("redpool")

_monotonic = time.monotonic
_new_lock = threading.Lock
_NEVER = float("inf")
# A thread that was struck may have taken a role with it, so nobody sleeps on for longer than this, in seconds.
_LONGEST_SLEEP = 1.0
# How much later than asked for a reply may be given up, in seconds.
_SLACK = 0.02


class Lane:
    """A shared connection: `call` sends what an entry says, and returns when it is answered, lost, or late."""

    def __init__(self, connection: Any, core: MuxCore, turn: float | None) -> None:
        """`turn` seconds is how long a caller waits for room where enough is in flight."""
        self.connection = connection
        self.core = core
        self.dead: BaseException | None = None
        self.retired = False  # it takes nothing new
        self._stream = stream = take_over(connection)
        self._send, self._take_in, self._buffer = stream.send, stream.receive, stream.buffer
        self._parser = connection._parser
        self.patience: float = _NEVER if connection.socket_timeout is None else connection.socket_timeout
        self._turn = _NEVER if turn is None else turn
        self._writing, self._reading = threading.RLock(), threading.RLock()
        self.writes: Callable[[], bool] = self._writing._is_owned  # type: ignore[attr-defined]
        self.reads: Callable[[], bool] = self._reading._is_owned  # type: ignore[attr-defined]
        self._unsent: memoryview | None = None  # of what was taken out of the queue
        # Set for as long as a role is in the midst of it: who finds one set in a role that is free knows that its
        # holder was struck, and that what was sent and what is awaited don't fit together any more.
        self._sending = self._receiving = False
        self._gone = False  # it belongs to the pool again

    def call(self, entry: Entry, limit: deadline | None) -> bool:
        """Send, and wait for the replies, as long as a reply may take and no longer than the limit.

        False where they are late.
        """
        try:
            self.core.queued.append(entry)
            until = None if limit is None else min(_monotonic() + self.patience, limit.at)
            self._write(until)
            if not entry.sent and self.core.full:
                entry.turn = _monotonic() + self._turn
            return self._wait(entry, until)
        except BaseException as error:
            self._struck(entry, error)
            raise

    def send(self, entry: Entry) -> None:
        """The first half of `call`."""
        try:
            self.core.queued.append(entry)
            self._write(None)
        except BaseException as error:
            self._struck(entry, error)
            raise

    def wait(self, entry: Entry, limit: deadline | None) -> bool:
        """The second half of `call`."""
        try:
            return self._wait(entry, None if limit is None else min(_monotonic() + self.patience, limit.at))
        except BaseException as error:
            self._struck(entry, error)
            raise

    # -- writing -----------------------------------------------------------------------------------------------------

    def _write(self, until: float | None) -> None:
        core = self.core
        queued = core.queued
        while queued or self._unsent is not None:
            if self.dead is not None:
                self._drop_all()
                return
            if not self._writing.acquire(False):
                return
            stuck = False
            try:
                if self._sending:
                    raise ConnectionAbortedError("whoever wrote for all was interrupted")
                self._sending = True
                if self._unsent is None:
                    data = core.take_output()
                    try:
                        sent = self._send(data, DONT_WAIT) if data else 0
                    except BlockingIOError:
                        sent = 0
                    if not data:
                        stuck = True
                    elif sent != len(data):
                        self._unsent = memoryview(data)[sent:]
                if self._unsent is not None:
                    stuck = not self._write_against(until)
                self._sending = False
            except BaseException as error:
                self.lose(error)
                if not isinstance(error, OSError | EOFError):
                    raise
                return
            finally:
                self._writing.release()
            if stuck and (self._unsent is not None or not core.ready()):
                return

    def _write_against(self, until: float | None) -> bool:
        """The server doesn't take it: it may be waiting for somebody to read. False where the time is up."""
        progress = _monotonic()
        while self._unsent is not None:
            now = _monotonic()
            reads = self._reading.acquire(False)
            try:
                events = select.POLLOUT | (select.POLLIN if reads else 0)
                left = _LONGEST_SLEEP if until is None else until - now
                events = self._stream.wait(events, min(left, _LONGEST_SLEEP))
                if reads and events & ~select.POLLOUT:
                    self._receive(0.0)
            finally:
                if reads:
                    self._reading.release()
                    self._hand_on()
            try:
                sent = self._send(self._unsent, DONT_WAIT)
            except BlockingIOError:
                if until is not None and now >= until:
                    return False
                if now >= progress + self.patience:
                    raise TimeoutError("nothing was taken in time") from None
                continue
            progress = _monotonic()
            self._unsent = self._unsent[sent:] if sent < len(self._unsent) else None
        return True

    # -- reading -----------------------------------------------------------------------------------------------------

    def _wait(self, entry: Entry, until: float | None) -> bool:
        while not entry.done:
            if self.dead is None and self._reading.acquire(False):
                try:
                    in_time = self._read(entry, until)
                except BaseException as error:
                    if isinstance(error, Exception) or self._stream.struck_anywhere:
                        self.lose(error)
                    else:
                        self._receiving = False  # he was waiting, and took nothing
                    if not isinstance(error, OSError | EOFError):
                        raise
                    continue  # whoever writes may have it in his hands just now
                finally:
                    self._reading.release()
                if not in_time:
                    return self._leave(entry)
                if self.core.pending or self.core.queued:
                    self._hand_on()
            else:
                if until is None:
                    until = _monotonic() + self.patience
                if not self._park(entry, until):
                    return self._leave(entry)
        if self.dead is not None:
            self._drop_all()
        return True

    def _read(self, entry: Entry, until: float | None) -> bool:
        """Read for everybody until this entry is done; False where it is late."""
        if until is None and entry.sent:
            # The usual call has just begun: the socket's own timeout serves, and the clock isn't asked.
            if self.dead is not None:
                raise EOFError
            if not self._receive(None):
                return entry.done
            if entry.done:
                return True
        if until is None:
            until = _monotonic() + self.patience
        while not entry.done:
            if self.dead is not None:
                raise EOFError
            if self.core.queued or self._unsent is not None:
                self._write(until)
            left = self._left(entry, until)
            # The socket's own timeout begins anew with each read: it serves as long as that isn't much too late.
            if not self._receive(left if left < self.patience - _SLACK else None):
                return entry.done
        return True

    @staticmethod
    def _left(entry: Entry, until: float) -> float:
        """Seconds that the caller has left for what he waits for: the reply, or his turn."""
        return (until if entry.sent else min(until, entry.turn)) - _monotonic()

    def _receive(self, seconds: float | None) -> bool:
        if self._receiving:
            raise ConnectionAbortedError("whoever read for all was interrupted")
        self._receiving = True
        try:
            size = self._take_in(self._buffer) if seconds is None else self._stream.receive_within(seconds)
        except BlockingIOError:
            self._receiving = False
            return False
        if not size:
            raise EOFError
        if self._sending:
            self._check_writer()
        try:
            answered = self.core.receive(self._buffer, size, self._push)
        except InvalidResponse as error:
            raise ConnectionAbortedError(str(error)) from error
        self._receiving = False
        for entry in answered:
            if entry.waker is not None:
                _wake(entry.waker)
        return True

    def _check_writer(self) -> None:
        """Nothing is matched to what was only half sent."""
        if not self.writes() and self._writing.acquire(False):
            try:
                if self._sending:
                    raise ConnectionAbortedError("whoever wrote for all was interrupted")
            finally:
                self._writing.release()

    def _hand_on(self) -> None:
        """Have the first who is parked look for the role; those who aren't parked yet look for themselves."""
        for line in (self.core.pending, self.core.queued):
            for place in range(len(line)):
                try:
                    entry = line[place]
                except IndexError:  # others take entries out meanwhile
                    break
                if entry.waker is not None and not entry.gone:
                    _wake(entry.waker)
                    return

    def _park(self, entry: Entry, until: float) -> bool:
        """Sleep until woken; False where it is late."""
        if entry.waker is None:
            waker = _new_lock()
            waker.acquire()
            entry.waker = waker
            return True  # and look once more: nobody could wake it before
        left = self._left(entry, until)
        if not entry.waker.acquire(timeout=max(0.0, min(left, _LONGEST_SLEEP))):
            self.look_after()
            return entry.done or left > _LONGEST_SLEEP
        return True

    def _leave(self, entry: Entry) -> bool:
        """The reply is late: whoever was to be woken by this caller, or in his place, is another one."""
        self.core.abandon(entry)
        self._hand_on()
        return False

    def _push(self, message: Any) -> None:
        try:
            self._parser.handle_push_response(message)
        except Exception:
            logger.warning("a push message was not handled", exc_info=True)
        if self.connection.should_reconnect():
            self.retired = True

    # -- the end -----------------------------------------------------------------------------------------------------

    def lose(self, error: BaseException) -> None:
        """The connection is of no use any more: whoever is in its line is told."""
        if self.dead is None:
            self.dead = sharing.as_told(error, self.connection)
            self.retired = True
            connections.cut(self.connection)
        self._drop_all()

    def _drop_all(self) -> None:
        assert self.dead is not None
        for entry in self.core.lost(self.dead):
            if entry.waker is not None:
                _wake(entry.waker)

    def _struck(self, entry: Entry, error: BaseException) -> None:
        """The caller was interrupted: his place in the line stays, unless what he did for others is half done."""
        if not self._give_up_roles(error):
            self.core.abandon(entry)
            self._hand_on()

    def reentered(self) -> bool:
        """Whether this very thread is in the midst of a role. If it only has one, it was struck on its way out."""
        if any(is_at(work, self) for work in _OF_A_ROLE):
            return True
        self._give_up_roles(sharing.interrupted())
        return False

    def _give_up_roles(self, error: BaseException) -> bool:
        """Give up what this thread has of them, and with it the connection; whether it had any."""
        had = self.writes() or self.reads()
        while self.writes():
            self._writing.release()
        while self.reads():
            self._reading.release()
        if had:
            self.lose(error)
        return had

    def look_after(self) -> None:
        """Whatever nobody else may see to: a role whose holder was struck, what came in while nobody reads."""
        for role in (self._writing, self._reading):
            if role.acquire(False):
                role.release()
            elif self._stream.struck_anywhere and not self._at_work():
                self.lose(sharing.interrupted())
        if self._unsent is not None or self.core.ready():
            self._write(_monotonic())
        if self._reading.acquire(False):
            try:
                while self._stream.has_come():
                    self._receive(0.0)
            except BaseException as error:
                self.lose(error)
                if not isinstance(error, OSError | EOFError):
                    raise
            finally:
                self._reading.release()
            self._hand_on()

    def _at_work(self) -> bool:
        """Whether any other thread is to be seen in one of the roles."""
        return any(seen_at(work, self, unless=Lane._park) for work in _OF_A_ROLE)

    def ask(self) -> None:
        """Have the server say something, which the housekeeper reads if nobody else does."""
        self.core.probes += 1
        self.core.queued.append(Entry(sharing.ASKED, packing.pack(sharing.ASKED)))
        self._write(_monotonic())

    def let_go(self) -> bool:
        """Whether nobody is at it any more, nor waits for anything: then it is as it was before it was shared."""
        gone = self._let_go()
        if gone:
            self._drop_all()
        else:
            # Callers may have found a role taken just now.
            self._write(_monotonic())
            self._hand_on()
        return gone

    def _let_go(self) -> bool:
        if not self._writing.acquire(False):
            return self._left_behind()
        try:
            if not self._reading.acquire(False):
                return self._left_behind()
            try:
                if self._sending or self._receiving:
                    self.dead = self.dead or sharing.interrupted()
                if self._gone:
                    pass  # another caller gives it back
                elif self.dead is not None:
                    self._gone = True
                    connections.close(self.connection)
                elif self.core.pending or self.core.queued or self._unsent is not None:
                    return False
                else:
                    self._gone, self.dead = True, sharing.retired()
                    self._stream.give_back(self.connection.socket_timeout)
            finally:
                self._reading.release()
        finally:
            self._writing.release()
        return True

    def _left_behind(self) -> bool:
        """Whether it is dead, and whoever has a role was struck: he won't give it up any more."""
        if self.dead is None or not self._stream.struck_anywhere or self._at_work():
            return False
        self._gone = True
        connections.close(self.connection)
        return True


_OF_A_ROLE = (Lane._write, Lane._wait, Lane._struck, Lane.look_after, Lane.let_go)


def _wake(waker: Any) -> None:
    try:  # noqa: SIM105  this is the hot path
        waker.release()
    except RuntimeError:  # woken already
        pass
