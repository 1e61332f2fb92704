"""The multiplexed connections of one pool in one process: which one a request takes, and their coming and going.

A multiplexed connection is a lease that the pool itself holds: it is connected, counted and closed like any other, and
takes one of the pool's slots. A thread of the pool's connects it; callers that find none wait for that. What would hold
others up, long pipelines and what was large the last time, shares a connection of its own, the bulk connection, where
there is a slot for it.

Each connection stands in one of `_shared`, `_bulk` and `_ending`, from when it is connected until it is given back to
the pool, which the thread does that takes it out of `_ending`. Should that one be interrupted just then, the pool,
which holds its leases weakly, reclaims the slot.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from ..core.config import SharedConfig
from ..core.slot import Slot
from ..core.upkeep import keep
from ..errors import DeadlineExceeded, PoolClosed, PoolFull, PoolTimeout
from ..limit import current, deadline
from ..redispy import connections, sharing
from ..redispy.sharing import LARGE_REQUEST, LONG_PIPELINE, MOST_MOVES, HealthAction
from ..wire.pipeline import Pipeline, Request, State
from . import threads
from .connection import MultiplexedConnection

logger = logging.getLogger("redpool")

_monotonic = time.monotonic
_OPEN, _LOST = State.OPEN, State.LOST
_NEVER = float("inf")
# A caller that waits for a connection looks by itself whether one is being connected, at least every so many seconds.
_LONGEST_SLEEP = 1.0
# A further connection that could not be connected is tried again after so many seconds.
_PAUSE = 1.0


class Reentered(Exception):
    """This very thread was interrupted in the midst of what it would have to wait for now."""


class MultiplexedConnections:
    """What `MultiplexedConnectionPool` shares."""

    def __init__(
        self,
        config: SharedConfig,
        connect: Callable[[bool], Any],
        release: Callable[[Any], None],
        crowded: Callable[[], bool],
        timed_out: Callable[[float], BaseException],
    ) -> None:
        """`crowded` tells whether callers wait for a slot, and there is none for them.

        `timed_out` is given how long a caller has waited, and returns what it gets.
        """
        self.config = config
        self.batches = [0] * (sharing.LARGEST_BATCH + 1)
        self.large = sharing.LargeReplies()
        self.closed = False
        self._accepts_waiting = config.max_waiting != 0
        self._connect, self._release = connect, release
        self._crowded, self._timed_out = crowded, timed_out
        self._changing = threading.RLock()  # held while one of the next four changes
        self._shared: tuple[MultiplexedConnection, ...] = ()
        self._only: MultiplexedConnection | None = (
            None  # where there is just one to choose, and no caller is crowded out
        )
        self._bulk: MultiplexedConnection | None = None
        self._ending: list[MultiplexedConnection] = []  # retired or lost, and still to be given back
        self._yields = False  # a connection is to be given up as soon as a call over it has ended
        self._abandoned = 0  # by the callers of connections that are gone
        self._connecting = _Connecting(self._connect_shared, f"redpool {config.name} multiplexed connection")
        self._connecting_bulk = _Connecting(self._connect_bulk, f"redpool {config.name} bulk connection")

    # -- a call ------------------------------------------------------------------------------------------------------

    def execute(self, request: Request, limit: deadline | None) -> Any:
        """Send and wait: return the reply to a command, or the list of them. Error replies are returned, not raised."""
        while True:
            if limit is not None and limit.reached():
                raise sharing.too_late(limit, False)
            connection = self.pick(request)
            try:
                in_time = connection.call(request, limit)
            except BaseException:  # the thread was interrupted, perhaps in the midst of what it did for all
                self._see_to(connection)
                raise
            if not in_time:
                raise self._late(connection, request, limit)
            if request.done:
                if request.large or request.bulk or self._yields or connection.state is not _OPEN:
                    self._afterwards(connection, request)
                return request.replies
            request = self._move(connection, request)

    def send(self, request: Request) -> tuple[MultiplexedConnection, Request]:
        """Send without waiting; `wait` is the other half of `execute`."""
        while True:
            connection = self.pick(request)
            connection.send(request)
            if request.sent or connection.state is _OPEN or not connection.end():
                return connection, request
            request = self._move(connection, request)

    def wait(self, connection: MultiplexedConnection, request: Request) -> Any:
        """Wait for what was sent."""
        limit = current()
        if not connection.wait(request, limit):
            raise self._late(connection, request, limit)
        if request.done:
            self._afterwards(connection, request)
            return request.replies
        return self.execute(self._move(connection, request), limit)

    def _afterwards(self, connection: MultiplexedConnection, request: Request) -> None:
        self.large.note(request)
        if self._yields:
            self._yield(connection)
        self._see_to(connection)

    def _move(self, connection: MultiplexedConnection, request: Request) -> Request:
        """Return the request anew where the connection ended before it was sent; what was sent may have run.

        Where the connection hasn't ended, it is stalled, and what only reads goes elsewhere.
        """
        self._see_to(connection)
        if connection.stalled and connection.error is None and connection.state is State.DRAINING:
            return request.again()
        error = connection.error or sharing.retired()
        if request.sent:
            raise sharing.lost(request, error, self.config.retry_sent)
        if request.moves >= MOST_MOVES:
            raise connections.own_error(error)
        return request.again()

    def _late(self, connection: MultiplexedConnection, request: Request, limit: deadline | None) -> BaseException:
        """Return what a caller gets that leaves; a connection that was silent meanwhile takes no more requests."""
        if connection.silent_for(request):
            self._suspect(connection)
        if limit is not None and limit.reached():
            return sharing.too_late(limit, request.sent)
        if request.sent:
            return sharing.late(request, connection.connection, self.config.retry_sent)
        if request.room_until == _NEVER:
            return sharing.stopped_reading()
        return PoolTimeout(f"{self.config.name}: no room in time: {connection.pipeline.in_flight} commands in flight")

    # -- which connection --------------------------------------------------------------------------------------------

    def pick(self, request: Request) -> MultiplexedConnection:
        """Return the connection that has the least to do, of those that the request may take."""
        best = self._only
        if (
            best is None
            or best.state is not _OPEN
            or len(request.data) > LARGE_REQUEST
            or request.expects
            or self.large.known
        ):
            best = self._choose(request)
        if best.writer.mine() or best.reader.mine():
            raise Reentered
        pipeline = best.pipeline
        if (pipeline.queued or not self._accepts_waiting) and pipeline.full:
            self._check_queue(pipeline)
        return best

    def _choose(self, request: Request) -> MultiplexedConnection:
        request.bulk = self.large.knows(request)
        if request.bulk or len(request.data) > LARGE_REQUEST or request.expects > LONG_PIPELINE:
            if self._bulk is not None and self._bulk.state is _OPEN:
                return self._bulk
            self._connecting_bulk.start(patient=True)  # for the next one: this one doesn't wait for it
        best = self._least_loaded()
        if best is None:
            return self._await_connection()
        if best.pipeline.load and len(self._shared) < self.config.shared_connections:
            self._connecting.start(patient=True)
        return best

    def _least_loaded(self) -> MultiplexedConnection | None:
        usable = [each for each in self._shared if each.state is _OPEN]
        return min(usable, key=lambda each: each.pipeline.load) if usable else None

    def _check_queue(self, pipeline: Pipeline) -> None:
        most, waiting = self.config.max_waiting, pipeline.waiting
        if most is not None and waiting >= most:
            raise PoolFull(f"{self.config.name}: {pipeline.in_flight} commands in flight, {waiting} waiting")

    # -- connecting --------------------------------------------------------------------------------------------------

    def _await_connection(self) -> MultiplexedConnection:
        """Wait until one is connected."""
        self._check_open()
        limit, patience = current(), self.config.timeout or _NEVER  # 0 means not to wait in the queue
        since = _monotonic()
        until = since + patience if limit is None else min(since + patience, limit.at)
        found = self._connecting.wait_for(self._least_loaded, until)
        if found is not None:
            return found
        if limit is not None and limit.reached():
            raise DeadlineExceeded(f"deadline of {limit.seconds:g} s exceeded while waiting for a connection")
        raise self._timed_out(_monotonic() - since)

    def _check_open(self) -> None:
        if self.closed:
            raise PoolClosed(f"{self.config.name}: the pool is closed")

    def _connect_shared(self) -> None:
        beside = self._least_loaded() is not None
        if beside and len(self._shared) >= self.config.shared_connections:
            return
        connection = self._connected(beside)
        with self._changing:
            self._shared = (*self._shared, connection)
            self._yields = self._crowded()
            self._only = connection if self.config.shared_connections == 1 else None
        self._end_if_closed(connection)

    def _connect_bulk(self) -> None:
        connection = self._connected(True)
        with self._changing:
            before, self._bulk = self._bulk, connection
            if before is not None:
                before.retire()
                self._ending.append(before)
        if before is not None:
            self._see_to(before)
        self._end_if_closed(connection)

    def _connected(self, beside: bool) -> MultiplexedConnection:
        """Connect one; `beside` another one it must not take the last slot."""
        self._check_open()
        connection = self._connect(beside)
        try:
            keep(connection._redpool.slot)
            pipeline = Pipeline(*sharing.parser(connection), self.config.max_in_flight, self.batches)
            return MultiplexedConnection(connection, pipeline, self.config.timeout)
        except BaseException:
            self._release(connection)
            raise

    def _end_if_closed(self, connection: MultiplexedConnection) -> None:
        if self.closed:
            self.retire(connection)

    # -- their coming and going --------------------------------------------------------------------------------------

    def retire(self, connection: MultiplexedConnection) -> None:
        """Have it take nothing new; it is given back once everything that it was sent is answered."""
        connection.retire()
        with self._changing:
            if connection in self._shared:
                self._ending.append(connection)
                self._shared = tuple(each for each in self._shared if each is not connection)
            elif connection is self._bulk:
                self._ending.append(connection)
                self._bulk = None
            if connection is self._only:
                self._only = None
        self._see_to(connection)

    def retire_all(self) -> None:
        """Replace all of them."""
        for connection in self.in_use():
            self.retire(connection)

    def close(self) -> None:
        """Connect nothing more; what is in flight is still answered."""
        self.closed = True
        self.retire_all()

    def make_room(self) -> None:
        """Give a slot up to a caller that needs a connection of its own: that of the one with the least to do."""
        in_use = self.in_use()
        if in_use:
            self.retire(min(in_use, key=lambda each: each.pipeline.load))
        self._yields = True  # one may just be connecting

    def _yield(self, connection: MultiplexedConnection) -> None:
        """A call over it has ended: where callers wait for a slot, it is their turn."""
        self._yields = False
        if self._crowded():
            self._yields = True
            self.retire(connection)

    def _suspect(self, connection: MultiplexedConnection) -> None:
        """Have requests go elsewhere, unless many connections are still to end: the server may be at fault."""
        if connection.state is _OPEN and len(self._ending) < sharing.MOST_ENDING:
            self.retire(connection)
            connection.stall()

    def in_use(self) -> list[MultiplexedConnection]:
        """Return all that take requests."""
        bulk = self._bulk
        return [*self._shared, *([] if bulk is None else [bulk])]

    def _see_to(self, connection: MultiplexedConnection) -> None:
        """Give a connection back whose end has come."""
        if connection.state is _OPEN:
            return
        if connection not in self._ending:
            if connection in self.in_use():
                self.retire(connection)  # it has retired by itself, or is lost
            return
        if connection.end():
            with contextlib.suppress(ValueError):
                self._ending.remove(connection)  # only one thread gets beyond this
                self._abandoned += connection.pipeline.abandoned
                self._release(connection.connection)

    def tick(self, now: float, generation: int) -> float:
        """Do what is due. Return the seconds until the next look: called by maintenance."""
        every = _LONGEST_SLEEP
        for connection in [*self._ending, *self.in_use()]:
            every = min(every, connection.look_every)
            connection.look_after(now)
            slot: Slot = connection.connection._redpool.slot
            if slot.generation != generation or now >= slot.expires_at:
                self.retire(connection)
            action = sharing.health_action(
                connection.pipeline, connection.flow(), now, connection.patience, self.config
            )
            if action is HealthAction.PROBE:
                connection.probe()
            elif action is HealthAction.SUSPECT:
                self._suspect(connection)
            elif action is HealthAction.RETIRE:
                self.retire(connection)
            elif action is HealthAction.LOSE:
                connection.lose(sharing.fell_silent(connection.connection))
            self._see_to(connection)
        if self._crowded():
            self.make_room()
        return every

    # -- what can be seen --------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Return how many are in flight, wait for room, and were abandoned in all."""
        pipelines = [each.pipeline for each in [*self.in_use(), *self._ending] if each.state is not _LOST]
        return {
            "in_flight": sum(each.in_flight for each in pipelines),
            "waiting": sum(each.waiting for each in pipelines),
            "abandoned": self._abandoned + sum(each.abandoned for each in pipelines),
        }


class _Connecting:
    """Has one thread at a time connect; callers that need the connection wait for it.

    A thread of the pool's own connects: no interruption of a caller ends it, and what it raises is what connecting
    has raised, never what has interrupted another caller.
    """

    def __init__(self, connect: Callable[[], None], name: str) -> None:
        self._connect, self._name = connect, name
        self._lock = threading.RLock()
        self._under_way = False  # written under _lock, and by the thread that connects
        self._started_at = self._failed_at = -_NEVER
        self._failures = 0
        self._failed: BaseException | None = None
        self._waiting: deque[Any] = deque()  # what wakes those that wait

    def start(self, patient: bool = False) -> None:
        """Have a thread connect, unless one does; where it is `patient`, not so soon after it has failed."""
        now = _monotonic()
        # One that was to be started may have been forgotten: the thread that wanted to was interrupted.
        if self._under_way or now < self._started_at + _PAUSE or (patient and now < self._failed_at + _PAUSE):
            return
        self._started_at = now
        try:
            threads.start(self._run, self._name)
        except RuntimeError:  # no thread is to be had: this one does it
            self._run(RedisError, OSError)

    def wait_for(self, find: Callable[[], MultiplexedConnection | None], until: float) -> MultiplexedConnection | None:
        """Return what is found once something is connected; `None` where the time is up.

        Raises what connecting has raised meanwhile.
        """
        failures = self._failures
        waker = threading.Lock()
        waker.acquire()
        while (found := find()) is None:
            failed = self._failed
            if self._failures != failures and failed is not None:
                raise sharing.own_copy(failed)
            left = until - _monotonic()
            if left <= 0:
                return None
            if waker not in self._waiting:
                self._waiting.append(waker)  # and look once more: no thread could wake it before
                continue
            self.start()
            waker.acquire(timeout=min(left, _LONGEST_SLEEP))
        return found

    def _run(self, *kinds: type[Exception]) -> None:
        """Connect, and wake those that wait. Errors of these kinds, by default all, are what connecting has raised."""
        of_connecting = kinds or (Exception,)
        with self._lock:
            if self._under_way:
                return
            self._under_way = True
        try:
            self._connect()
            self._failed = None
        except of_connecting as error:
            connections.drop_frames(error)
            self._failed, self._failures, self._failed_at = error, self._failures + 1, _monotonic()
            logger.debug("%s: %s", self._name, error)
        finally:
            self._started_at, self._under_way = -_NEVER, False
            while self._waiting:
                with contextlib.suppress(IndexError, RuntimeError):
                    self._waiting.popleft().release()
