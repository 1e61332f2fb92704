"""What the code under test meets instead of the real world: locks, sockets, `select`, a clock and a server.

The server answers `ECHO token` with its token, so that a swapped reply shows. `World` holds what a run is made of, and
says after each run whether all that must hold has held.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import math
import os
import select
import socket
import struct
import threading
import weakref
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import hiredis
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.exceptions import RedisError

from redpool.core.slot import Slot

from .scheduler import Decider, Interrupted, Scheduler

_PUSH = b">2\r\n+invalidate\r\n*1\r\n+key\r\n"
PATIENCE = 5.0  # socket_timeout, in seconds


# -- locks -------------------------------------------------------------------------------------------------------------


class VirtualLock:
    """`threading.Lock`, and with `again` an `RLock`."""

    def __init__(self, scheduler: Scheduler, again: bool = False) -> None:
        self._scheduler, self._again = scheduler, again
        self._owner: object = None
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        run, me = self._scheduler, self._scheduler.current
        if self._again and self._owner is me:
            run.operation("lock.acquire: again")
        elif not blocking:
            run.operation("lock.acquire(False)")
            if self._owner is not None:
                return False
        elif not run.wait_for(
            lambda: self._owner is None, math.inf if timeout < 0 else run.now + timeout, "lock.acquire"
        ):
            return False
        self._owner, self._depth = me, self._depth + 1
        return True

    def release(self) -> None:
        run = self._scheduler
        if not run.over:
            run.operation("lock.release")
        if self._owner is None or (self._again and self._owner is not run.current):
            raise RuntimeError("release unlocked lock")
        self._depth -= 1
        if not self._depth:
            self._owner = None

    def locked(self) -> bool:
        return self._owner is not None

    def _is_owned(self) -> bool:
        return self._owner is self._scheduler.current

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()


def virtual_threading(scheduler: Scheduler) -> Any:
    """What stands for the module `threading`."""
    return SimpleNamespace(
        Lock=lambda: VirtualLock(scheduler),
        RLock=lambda: VirtualLock(scheduler, again=True),
        get_ident=threading.get_ident,
    )


# -- sockets -----------------------------------------------------------------------------------------------------------


class Server:
    """It answers at once and in order. A token that is `held` waits, and all behind it, until `answer` is called."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.held: set[str] = set()
        self.seen: list[str] = []  # tokens
        self._unanswered: list[tuple[Socket, str]] = []

    def take(self, sock: Socket, data: bytes) -> None:
        """Something has come in."""
        sock.requests.feed(data)
        while (command := sock.requests.gets()) is not False:
            token = command[-1].decode()
            self.seen.append(token)
            self._unanswered.append((sock, token))
        self.answer()

    def answer(self) -> None:
        """Answer what isn't held back."""
        waiting: list[tuple[Socket, str]] = []
        for sock, token in self._unanswered:
            if token in self.held or any(each is sock for each, _ in waiting):
                waiting.append((sock, token))
            else:
                sock.incoming += f"${len(token)}\r\n{token}\r\n".encode()
        self._unanswered = waiting

    def awaits(self, sock: Socket) -> bool:
        """Whether an answer is still to come there."""
        return any(each is sock for each, _ in self._unanswered)


class Socket:
    """A socket of the standard library, as far as it is used. It must not be touched while it is `lent`."""

    def __init__(self, scheduler: Scheduler, server: Server) -> None:
        self._run, self._server = scheduler, server
        self.requests = hiredis.Reader()  # the server's side
        self.requests.feed(b"")
        self.incoming = b""
        self.takes: list[int] = []  # how many bytes the next writes take
        self.ended = self.closed = self.lent = False
        self.returned = False  # released, once
        self._timeout: float | None = None  # of recv

    def hang_up(self) -> None:
        """The server goes."""
        self._run.operation("the server hangs up")
        self.ended = True

    def push(self) -> None:
        """The server sends something unasked."""
        self._run.operation("the server pushes")
        if not self.lent:
            self.incoming += _PUSH

    def send(self, data: Any, flags: int = 0) -> int:
        """Send what the server takes at once."""
        self._touch("written", f"send {bytes(data)!r:.60}")
        if self.ended:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        size = min(self.takes.pop(0), len(data)) if self.takes else len(data)
        if not size:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._server.take(self, bytes(data[:size]))
        return size

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> int:
        """Receive what has come; closing the socket wakes no receiver, as on Linux."""
        self._touch("read", "recv")
        wait = 0.0 if flags & socket.MSG_DONTWAIT else math.inf if self._timeout is None else self._timeout
        if not self._run.wait_for(lambda: bool(self.incoming) or self.ended, self._run.now + wait, "recv"):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if self.lent:
            self._run.fail("read after detach: a receiver was still at it")
        size = min(len(buffer), len(self.incoming))
        buffer[:size] = self.incoming[:size]
        self.incoming = self.incoming[size:]
        return size

    def shutdown(self, how: int) -> None:
        if not self._run.over:
            self._touch("cut", "shutdown")
            self.ended = True

    def close(self) -> None:
        if not self._run.over and not self.closed:
            self._touch("closed", "close")
            self.closed = True

    def fileno(self) -> int:
        return -1 if self.closed else 7

    def settimeout(self, seconds: float | None) -> None:
        self._touch("set", "settimeout")

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        self._touch("set", "setsockopt")
        if option == socket.SO_RCVTIMEO:
            seconds, micros = struct.unpack("ll", value)
            self._timeout = seconds + micros / 1e6 or None

    def events(self, wanted: int) -> int:
        """What `poll` would find."""
        if self.closed:
            return select.POLLNVAL
        found = select.POLLHUP if self.ended else 0
        if self.incoming or self.ended:
            found |= select.POLLIN & wanted
        return found | (select.POLLOUT & wanted)

    def _touch(self, how: str, what: str) -> None:
        self._run.operation(what)
        if self.lent:
            self._run.fail(f"{how} after detach: {what}")
        if self.closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))


Socket.__module__ = "socket"  # by which a stream knows a plain one


class VirtualPoll:
    """`select.poll()`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._run = scheduler
        self._wanted: dict[Socket, int] = {}

    def register(self, sock: Socket, events: int) -> None:
        if sock.closed:
            raise ValueError("file descriptor cannot be a negative integer (-1)")
        self._wanted[sock] = events

    def poll(self, milliseconds: float | None = None) -> list[tuple[int, int]]:
        until = self._run.now + (math.inf if milliseconds is None else milliseconds / 1000)
        self._run.wait_for(lambda: bool(self._found()), until, "poll")
        for sock in self._wanted:
            if sock.lent:
                self._run.fail("polled after detach")
        return self._found()

    def _found(self) -> list[tuple[int, int]]:
        found = [(sock.fileno(), sock.events(wanted)) for sock, wanted in self._wanted.items()]
        return [(each, events) for each, events in found if events]


class Readable:
    """What asks a socket whether anything has come: an object of `select.poll()` that is kept."""

    def __init__(self, sock: Socket) -> None:
        self._sock, self._run = sock, sock._run
        self._busy = False

    def __call__(self, timeout: int) -> int:
        if self._busy:
            self._run.fail("two threads have asked a socket at the same time")
        self._busy = True
        self._run.operation("readable")
        self._busy = False
        if self._sock.lent:
            self._run.fail("asked after detach")
        return self._sock.events(select.POLLIN)


class Connection:
    """One of redis-py's connections, as far as sharing it needs it."""

    def __init__(self, sock: Socket, slot: Any) -> None:
        self.sock = sock
        self._sock: Socket | None = sock
        self.readable = Readable(sock)
        self.socket_timeout, self.protocol, self.shaped = PATIENCE, 3, False
        self._parser = SimpleNamespace(
            _reader=hiredis.Reader(notEnoughData=NOT_ENOUGH_DATA), handle_push_response=lambda message: None
        )
        self._redpool = SimpleNamespace(slot=slot)

    def should_reconnect(self) -> bool:
        return False

    def leave_socket(self) -> None:
        """It has a timeout of Python's already."""

    def disconnect(self, *args: Any) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _host_error(self) -> str:
        return "the server"


# -- a run -------------------------------------------------------------------------------------------------------------


class Result(NamedTuple):
    """How a call ended; `sent` where its error says that it may have run."""

    how: str  # "reply", "late", "lost", or "elsewhere": it needs a connection of its own
    reply: object = None
    sent: bool | None = None


class Subject(Protocol):
    """What is under test: one multiplexed connection, or the set of them.

    Whatever a caller or the maintenance thread does for a connection that is draining or lost is done here, too: what
    ends goes to `World.lend`, once.
    """

    def request(self, token: str) -> Any: ...  # a new request, which asks for its token
    def call(self, request: Any, seconds: float | None) -> Result: ...  # within a deadline of so many seconds
    def send(self, request: Any) -> None: ...
    def abandon(self, request: Any) -> None: ...  # its caller leaves, as a finalizer has it
    def retire(self) -> None: ...  # it takes nothing new, and is detached once nothing is in it
    def lose(self) -> None: ...  # by another thread's doing
    def look_after(self) -> None: ...  # maintenance
    def close(self) -> None: ...
    def is_lost(self) -> bool: ...  # or detached; of a set: always False
    def is_done(self, request: Any) -> bool: ...  # whether its end has been delivered


class Adapter(Protocol):
    """The only place that knows the code under test."""

    sources: list[str]  # the files whose lines are steps

    def patches(self, world: World) -> list[tuple[Any, str, Any]]: ...  # module, name, what stands there during a run
    def one(self, world: World) -> Subject: ...  # a multiplexed connection over `world.connect()`
    def several(self, world: World) -> Subject: ...  # the set of them, which calls `world.connect` and `world.lend`


class World:
    """One run of one scenario."""

    def __init__(self, adapter: Adapter, decide: Decider, opcodes: bool) -> None:
        self.scheduler = Scheduler(decide, adapter.sources, opcodes)
        self.scheduler.on_idle = self._check_sleepers
        self.server = Server(self.scheduler)
        self.threading = virtual_threading(self.scheduler)
        self.poll = partial(VirtualPoll, self.scheduler)
        self.slot = Slot()
        self.subject: Subject
        self.lossy = False  # the connection was lost from outside
        self.detached = False  # retired: what wasn't sent may have to move on
        self.calls: dict[str, Any] = {}  # requests under way, by token
        self.connections: list[tuple[Socket, weakref.ref[Connection]]] = []
        self._adapter = adapter

    @contextlib.contextmanager
    def patched(self) -> Iterator[None]:
        """Put the virtual world in the place of the real one."""
        before = []
        for owner, name, value in self._adapter.patches(self):
            before.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)
        try:
            yield
        finally:
            for owner, name, value in reversed(before):
                setattr(owner, name, value)

    def clock(self) -> float:
        """Return the time, as `time.monotonic` does."""
        return self.scheduler.now

    def connect(self) -> Connection:
        """Return a new connection."""
        self.scheduler.operation("connect")
        connection = Connection(Socket(self.scheduler, self.server), self.slot)
        self.connections.append((connection.sock, weakref.ref(connection)))
        return connection

    @property
    def trouble(self) -> bool:
        """Whether something has happened that may cost replies: a loss, an interruption."""
        return self.lossy or bool(self.scheduler.interruptions)

    def sockets(self) -> list[Socket]:
        """Those that aren't lent."""
        return [sock for sock, _ in self.connections if not sock.lent]

    def all_returned(self) -> bool:
        """Whether each was released, or is reclaimed, since the thread that was to release it was interrupted."""
        left = [ref for sock, ref in self.connections if not sock.returned]
        if left and self.scheduler.interruptions:
            gc.collect()
            left = [ref for ref in left if ref() is not None]
        return not left

    def lend(self, connection: Connection) -> None:
        """Take a connection back, once, and have its next owner use it."""
        sock, run = connection.sock, self.scheduler
        if sock.returned:
            run.fail("given back twice")
        sock.returned = True
        if sock.closed or sock.ended or connection._sock is None:
            return
        sock.lent = True
        sock.incoming = sock.incoming.replace(_PUSH, b"")  # the checkout reads them
        if sock.incoming or self.server.awaits(sock):
            run.fail("detached with replies to come")
        run.operation("the next owner sends")
        token = "next owner"
        self.server.take(sock, f"*2\r\n$4\r\nECHO\r\n${len(token)}\r\n{token}\r\n".encode())
        run.wait_for(lambda: bool(sock.incoming) or sock.ended, run.now + 1.0, "the next owner receives")
        reply, sock.incoming = sock.incoming, b""
        if reply != f"${len(token)}\r\n{token}\r\n".encode() and not sock.ended:
            run.fail(f"swapped reply: the next owner got {reply!r}")

    def call(self, token: str, seconds: float | None = None) -> Result | None:
        """Make a call, and check how it ends. None where it was interrupted."""
        request = self.subject.request(token)
        self.calls[token] = (self.scheduler.current, request)
        try:
            result = self.subject.call(request, seconds)
        except Interrupted:
            return None
        finally:
            del self.calls[token]
        self._check_end(token, result, seconds)
        return result

    def _check_end(self, token: str, result: Result, seconds: float | None) -> None:
        run, times = self.scheduler, self.server.seen.count(token)
        if times > 1:
            run.fail(f"ran {times} times: {token}")
        if result.how == "reply":
            if result.reply != token.encode():
                run.fail(f"swapped reply: {token} got {result.reply!r}")
        elif result.how == "late":
            if seconds is None and self.subject.is_lost():
                run.fail(f"waited for what is lost: {token} was late")
            if seconds is None and not self.trouble:
                run.fail(f"late without a reason: {token}")
        elif result.how == "elsewhere":
            pass
        elif result.sent and not self.trouble:
            run.fail(f"healthy connection lost: {token}, {result.reply!r}")
        elif not (result.sent or self.trouble or self.detached):
            run.fail(f"lost without a reason: {token}, {result.reply!r}")
        if result.sent is False and times:
            run.fail(f"told that it was not sent, and it ran: {token}, {result!r}")

    def _check_sleepers(self) -> None:
        """Nothing runs: then no reply may be there, nor a loss, that a sleeping caller doesn't know of."""
        if self.trouble:
            return  # a thread may be gone that would have woken it: the bound is the caller's patience
        innermost = {thread: (token, request) for token, (thread, request) in self.calls.items()}
        for thread, (
            token,
            request,
        ) in innermost.items():  # of calls that a signal handler nests the others can't go on
            if thread.ready is None or thread.ended:
                continue
            if self.subject.is_done(request):
                self.scheduler.fail(
                    f"sleeps over its reply: {thread.name} ({token}) was answered, and is still blocked"
                )
            if any(f"\r\n{token}\r\n".encode() in sock.incoming for sock in self.sockets()):
                self.scheduler.fail(f"no reader: {thread.name} is blocked, the reply to {token} is in the socket")

    def check_threads(self) -> None:
        """No thread may have ended with an error of another kind."""
        for thread in self.scheduler.threads:
            error = thread.error
            if error is not None and not isinstance(error, Interrupted) and not self.scheduler.failure:
                known = isinstance(error, RedisError) and (self.trouble or self.detached)
                if not known:
                    self.scheduler.failure = f"error in {thread.name}: {error!r}"
