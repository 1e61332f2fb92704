"""The multiplexed connections of one pool for threads: how a request goes over them, and who connects them.

Which connection a request takes, and their coming and going, is `redispy/routing.py`. A thread of the pool's connects;
callers that find no connection wait for that.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from redis.exceptions import RedisError

from .. import threads
from ..core.config import MultiplexedConfig
from ..deadline import current, deadline
from ..errors import deadline_exceeded
from ..forks import begin_in_child, same_process
from ..redispy import lifecycle, packing, sharing
from ..redispy.routing import LONGEST_WAIT_FOR_BULK, PAUSE, Home, Routing
from ..wire.pipeline import Request, State
from ..wire.routing import LARGE_REQUEST
from .connection import MultiplexedConnection

logger = logging.getLogger("redpool")

_monotonic = time.monotonic
_OPEN = State.OPEN
_same_process = same_process
_current = current
_pack = packing.pack_words
_NEVER = float("inf")
# A caller that waits for a connection looks by itself whether one is being connected, at least every so many seconds.
_LONGEST_SLEEP = 1.0


ELSEWHERE = object()
"""What `ask` returns where the call goes by `execute`."""


class Reentered(Exception):
    """The calling thread was interrupted in the midst of what it would have to wait for now."""


class ThreadsHome(Home, Protocol):
    """What multiplexed connections of threads need of their pool."""

    def wake_maintenance(self) -> None:
        """Have maintenance look anew how often it is to look."""

    def stand_in(self) -> None:
        """Do maintenance's work, where no thread is to be had for it."""

    def reentered(self) -> bool:
        """Return whether this thread was interrupted in what connecting has to wait for."""


class MultiplexedConnections(Routing[MultiplexedConnection, ThreadsHome]):
    """What `MultiplexedConnectionPool` shares."""

    def __init__(self, config: MultiplexedConfig, home: ThreadsHome) -> None:
        super().__init__(config, home)
        self.ordinary = packing.of_one_word(self.sharing_names)
        """the names of commands that may be ordinary calls"""
        self._never_waits = config.max_waiting == 0
        self._start()

    def _start(self) -> None:
        changing = threading.RLock()
        self._start_empty(changing)
        self._changes: Callable[[], bool] = changing._is_owned  # type: ignore[attr-defined]  # as of a `Role`
        name = f"redpool {self.config.name}"
        self._connecting = _Connecting(self._connect_shared, self.connect_failed, f"{name} multiplexed connection")
        self._connecting_bulk = _Connecting(self._connect_bulk, self.connect_failed, f"{name} bulk connection")

    def begin_in_child(self) -> None:
        """After a fork, in the child: start empty, with no lock that the parent may have held."""
        for connection in self.all_there_are():
            connection.forget()
        self._start()

    # -- a call ------------------------------------------------------------------------------------------------------

    def ask(self, connection: MultiplexedConnection | None, args: tuple[Any, ...]) -> Any:
        """Send an ordinary call, of a command named by one word, and wait: `execute` for the most frequent case.

        The `connection` is the `only` one. Return `ELSEWHERE`, with nothing sent, where there is something to choose,
        to check or to wait for first.
        """
        if (
            connection is None
            or connection.state is not _OPEN
            or not _same_process[0]
            or self.apart.known
            or self._never_waits
            or (connection.pipeline.queued and connection.pipeline.full)
            or connection.writer.mine()
            or connection.reader.mine()
            or _current() is not None
        ):
            return ELSEWHERE
        try:
            data = _pack(args)
        except TypeError:  # a kind of word that redis-py turns into bytes first, or refuses by its own error
            return ELSEWHERE
        if len(data) > LARGE_REQUEST:
            return ELSEWHERE
        request = Request(args, data)
        try:
            in_time = connection.call(request, None)
        except BaseException:  # the thread was interrupted, perhaps in the midst of what it did for all
            self.see_to(connection)
            raise
        if request.done and not (request.large or self.yields or connection.state is not _OPEN):
            return request.replies
        return self._settle(connection, request, None, in_time)

    def refused(self, connection: MultiplexedConnection, args: tuple[Any, ...], reply: Any) -> Any:
        """Return what the caller of an ordinary call gets which a replica has refused: the call may go again."""
        request = Request(args, packing.pack(args))
        request.outdated = connection.state is not _OPEN
        return self.execute(request, None) if self.home.starts_over(request) else reply

    def execute(self, request: Request, limit: deadline | None) -> Any:
        """Send and wait: return the reply to a command, or the list of them. Error replies are returned, not raised."""
        if not _same_process[0]:
            begin_in_child()
        if limit is not None and limit.reached():
            raise deadline_exceeded(limit.seconds, False)
        connection = self.pick(request) or self._await_connection(request)
        if connection.writer.mine() or connection.reader.mine() or connection.pipeline.queued or self._never_waits:
            self._admit(connection)
        try:
            in_time = connection.call(request, limit)
        except BaseException:  # the thread was interrupted, perhaps in the midst of what it did for all
            self.see_to(connection)
            raise
        return self._settle(connection, request, limit, in_time)

    def send(self, request: Request) -> tuple[MultiplexedConnection, Request]:
        """Send without waiting; `wait` is the other half of `execute`."""
        if not _same_process[0]:
            begin_in_child()
        while True:
            connection = self.pick(request) or self._await_connection(request)
            self._admit(connection)
            connection.send(request)
            if request.sent or connection.state is _OPEN or not connection.end():
                return connection, request
            request = self.move(connection, request)

    def wait(self, connection: MultiplexedConnection, request: Request) -> Any:
        """Wait for what was sent."""
        if not _same_process[0]:
            begin_in_child()
        limit = current()
        return self._settle(connection, request, limit, connection.wait(request, limit))

    def _settle(
        self, connection: MultiplexedConnection, request: Request, limit: deadline | None, in_time: bool
    ) -> Any:
        """Return the replies to a request that was waited for. It may go on elsewhere, and its caller may leave."""
        if not in_time:
            self.home.stand_in()
            raise self.late(connection, request, limit)
        if request.done:
            if request.large or request.bulk or self.yields or connection.state is not _OPEN:
                self.afterwards(connection, request)
            return request.replies
        return self.execute(self.move(connection, request), limit)

    def _admit(self, connection: MultiplexedConnection) -> None:
        """Raise `Reentered` where this thread would wait for itself, `PoolFull` where it would wait with too many."""
        if connection.is_mine() and not connection.leave_behind():
            raise Reentered
        if connection.pipeline.full:
            self.check_queue(connection.pipeline)

    def is_mine(self) -> bool:
        """Return whether the calling thread was interrupted in a role: that connection waits until it goes on."""
        return any(each.is_mine() for each in self.all_there_are())

    # -- connecting --------------------------------------------------------------------------------------------------

    def awaiting_connect(self) -> list[tuple[float, Any]]:
        """Return since when callers wait for a connect, and their threads."""
        return self._connecting.waiting() + self._connecting_bulk.waiting()

    def connect_shared(self) -> None:
        """Have a thread connect a further one."""
        self._connecting.start(patient=True)

    def connect_bulk(self) -> None:
        """Have a thread connect the bulk connection."""
        self._connecting_bulk.start(patient=True)

    def _await_connection(self, request: Request) -> MultiplexedConnection:
        """Wait until one is connected that the request may take."""
        if self._changes() or self.home.reentered():  # what connects would wait for this thread, which was interrupted
            raise Reentered
        self.check_open()
        if self.apart.stands_apart(request):
            connection = self._await_bulk() or self._least_loaded()  # there may be no room for a bulk connection
            if connection is not None:
                return connection
        self.check_server()
        (seconds, limit), since = self.patience(current()), _monotonic()
        found = self._connecting.wait_for(self._least_loaded, since + seconds)
        if found is not None:
            return found
        raise self.waited_in_vain(limit, since)

    def _await_bulk(self) -> MultiplexedConnection | None:
        if self._connecting_bulk.failed_lately():
            return None
        limit, until = current(), _monotonic() + LONGEST_WAIT_FOR_BULK
        with contextlib.suppress(RedisError, OSError):
            return self._connecting_bulk.wait_for(self._open_bulk, until if limit is None else min(until, limit.at))
        return None

    def _connect_shared(self) -> None:
        if not self.has_enough():
            closings = self.closings
            self.add_shared(self._connected(beside=self._least_loaded() is not None), closings)
            self.home.wake_maintenance()

    def _connect_bulk(self) -> None:
        closings = self.closings
        self.replace_bulk(self._connected(beside=True), closings)

    def _connected(self, beside: bool) -> MultiplexedConnection:
        self.check_open()
        connection = self.home.connect(beside)
        try:
            return MultiplexedConnection(connection, self.new_pipeline(connection), self.config.timeout)
        except BaseException:
            lifecycle.close(connection)
            self.home.release(connection)
            raise

    # -- maintenance -------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> float:
        """Do what is due. Return the seconds until the next look: called by maintenance."""
        every = self.looks_within(_LONGEST_SLEEP)
        self.look_for_long_waits(now)
        for connection in self.all_there_are():
            every = min(every, connection.look_every)
            connection.look_after(now)
            self.look_at(connection, now)
        self.look_for_gain(now)
        self.look_for_claims()
        self.look_for_others()
        return every


class _Connecting:
    """Has one thread at a time connect; callers that need the connection wait for it.

    A thread of the pool's own connects: no interruption of a caller ends it, and what it raises is what connecting
    has raised, never what has interrupted another caller.
    """

    def __init__(self, connect: Callable[[], None], failed: Callable[[BaseException], None], name: str) -> None:
        self._connect, self._note_failure, self._name = connect, failed, name
        self._lock = threading.RLock()
        self._under_way = False  # written under _lock, and by the thread that connects
        self._started_at = self._failed_at = -_NEVER
        self._failures = 0
        self._failed: BaseException | None = None
        # What wakes those that wait, in their order: since when they do, and which thread it is. Each takes itself off.
        self._waiting: OrderedDict[Any, tuple[float, int]] = OrderedDict()

    def start(self, patient: bool = False) -> None:
        """Have a thread connect, unless one does; where it is `patient`, not so soon after it has failed."""
        now = _monotonic()
        # One that was to be started may have been forgotten: the thread that wanted to was interrupted.
        if self._under_way or now < self._started_at + PAUSE or (patient and now < self._failed_at + PAUSE):
            return
        self._started_at = now
        try:
            threads.start(self._run, self._name, patient)
        except threads.NoThread:  # this one does it; in a caller's, anything else may be what interrupts that caller
            self._run(patient, *(() if threads.own() else (RedisError, OSError)))

    def failed_lately(self) -> bool:
        """Return whether it has failed so lately that it would fail again."""
        return _monotonic() < self._failed_at + PAUSE

    def wait_for(self, find: Callable[[], MultiplexedConnection | None], until: float) -> MultiplexedConnection | None:
        """Return what is found once something is connected; `None` where the time is up.

        Raises what connecting has raised meanwhile.
        """
        waker = threading.Lock()
        waker.acquire()
        try:
            return self._found(find, until, waker)
        finally:
            self._waiting.pop(waker, None)

    def waiting(self) -> list[tuple[float, int]]:
        """Return since when threads wait, and which."""
        return list(self._waiting.values())

    def _found(
        self, find: Callable[[], MultiplexedConnection | None], until: float, waker: Any
    ) -> MultiplexedConnection | None:
        failures = self._failures
        while (found := find()) is None:
            failed = self._failed
            if self._failures != failures and failed is not None:
                raise sharing.own_copy(failed)
            left = until - _monotonic()
            if left <= 0:
                return None
            if waker not in self._waiting:
                # and look once more: no thread could wake it before
                self._waiting[waker] = _monotonic(), threading.get_ident()
                continue
            self.start()
            waker.acquire(timeout=min(left, _LONGEST_SLEEP))
        return found

    def _run(self, patient: bool, *kinds: type[Exception]) -> None:
        """Connect, and wake those that wait. Errors of these kinds, by default all, are what connecting has raised.

        Where no caller has asked for it, none gets the error: those that wait by then have it tried for them.
        """
        of_connecting = kinds or (Exception,)
        with self._lock:
            if self._under_way:
                return
            self._under_way = True
        try:
            self._connect()
            self._failed = None
        except of_connecting as error:
            lifecycle.drop_frames(error)
            self._failed_at = _monotonic()
            self._note_failure(error)
            if not patient:
                self._failed, self._failures = error, self._failures + 1
            logger.debug("%s: %s", self._name, error)
        finally:
            self._started_at, self._under_way = -_NEVER, False
            while self._waiting:
                with contextlib.suppress(KeyError, RuntimeError):
                    self._waiting.popitem(last=False)[0].release()
