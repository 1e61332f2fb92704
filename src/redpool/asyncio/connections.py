"""The multiplexed connections of one pool on one loop: which one a request takes, and their coming and going.

A multiplexed connection is a lease that the pool itself holds: it is connected, counted and closed like any other, and
takes one of the pool's slots. Callers that find none wait for the task that connects, which goes on when they leave.
What would hold others up, long pipelines and what was large the last time, shares a connection of its own, the bulk
connection, where there is a slot for it.

Each connection stands in one of `_shared`, `_bulk` and `_ending`, from when it is connected until it is given back.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from ..core.config import SharedConfig
from ..core.pool import PoolCore
from ..core.slot import Slot
from ..core.upkeep import keep
from ..errors import DeadlineExceeded, PoolClosed, PoolFull, PoolTimeout
from ..limit import current, deadline
from ..redispy import connections, sharing
from ..redispy.sharing import LARGE_REQUEST, LONG_PIPELINE, MOST_MOVES, HealthAction
from ..wire.pipeline import Pipeline, Request, ServerClosed, State
from .connection import MultiplexedConnection

_monotonic = time.monotonic
_OPEN, _LOST, _DETACHED = State.OPEN, State.LOST, State.DETACHED
_LOOK_EVERY = 1.0  # seconds


class MultiplexedConnections:
    """What `MultiplexedConnectionPool` shares."""

    def __init__(
        self,
        config: SharedConfig,
        loop: asyncio.AbstractEventLoop,
        connect: Callable[[bool], Awaitable[Any]],
        release: Callable[[Any], None],
        core: Callable[[], PoolCore | None],
    ) -> None:
        """`core` is the pool's on this loop, `None` where the pool is gone."""
        self.config = config
        self.batches = [0] * (sharing.LARGEST_BATCH + 1)
        self.large = sharing.LargeReplies()
        self.closed = False
        self.yields = False  # a connection is to be given up as soon as a call over it has ended
        self._loop = loop
        self._most = config.max_in_flight
        self._connect, self._release, self._core = connect, release, core
        self._shared: tuple[MultiplexedConnection, ...] = ()
        self._only: MultiplexedConnection | None = None  # where there is just one to choose
        self._bulk: MultiplexedConnection | None = None
        self._ending: list[MultiplexedConnection] = []  # retired or lost, and still to be given back
        self._abandoned = 0  # by the callers of connections that are gone
        self._connecting: asyncio.Task[MultiplexedConnection] | None = None
        self._connecting_bulk: asyncio.Task[MultiplexedConnection] | None = None
        self._looking: asyncio.TimerHandle | None = None

    # -- a call ------------------------------------------------------------------------------------------------------

    async def execute(self, request: Request, limit: deadline | None) -> Any:
        """Send and wait: return the reply to a command, or the list of them. Error replies are returned, not raised."""
        connection = MultiplexedConnections.start(self, request, limit)
        if connection is None:
            connection = await self._await_connection()
            self._send_over(connection, request, limit)
        try:
            await request.waker
        except BaseException:
            connection.pipeline.abandon(request)
            raise
        return await self.finish(connection, request, limit)

    def start(self, request: Request, limit: deadline | None) -> MultiplexedConnection | None:
        """Send it over a connection there is, and have `request.waker` say when that is over; `None` if there is none.

        A caller that stops waiting for that abandons the request.
        """
        if limit is not None and limit.reached():
            raise sharing.too_late(limit, False)
        connection = self.pick(request)
        if connection is not None:
            self._send_over(connection, request, limit)
        return connection

    def _send_over(self, connection: MultiplexedConnection, request: Request, limit: deadline | None) -> None:
        pipeline = connection.pipeline
        if pipeline.written - pipeline.answered + len(pipeline.queued) >= self._most:
            self._wait_for_room(connection, request)
        connection.send(request)
        if limit is not None:
            connection.limit(request, limit)
        waker = request.waker = self._loop.create_future()
        if connection.state is _LOST or connection.state is _DETACHED:
            waker.set_result(None)

    async def finish(self, connection: MultiplexedConnection, request: Request, limit: deadline | None) -> Any:
        """Return what came of it. A request that was not sent goes over another connection."""
        if request.done:
            if request.large or request.bulk or self.yields or connection.state is not _OPEN:
                self._afterwards(connection, request)
            return request.replies
        return await self.execute(self._move(connection, request, limit), limit)

    async def send(self, request: Request) -> MultiplexedConnection:
        """Send without waiting; `wait` is the other half of `execute`."""
        connection = self.pick(request) or await self._await_connection()
        if connection.pipeline.full:
            self._wait_for_room(connection, request)
        connection.send(request)
        return connection

    async def wait(self, connection: MultiplexedConnection, request: Request) -> Any:
        """Wait for what was sent."""
        limit = current()
        if limit is not None:
            connection.limit(request, limit)
        await connection.wait(request)
        if request.done:
            self._afterwards(connection, request)
            return request.replies
        return await self.execute(self._move(connection, request, limit), limit)

    def _afterwards(self, connection: MultiplexedConnection, request: Request) -> None:
        self.large.note(request)
        if self.yields:
            self._yield(connection)
        self._see_to(connection)

    def _wait_for_room(self, connection: MultiplexedConnection, request: Request) -> None:
        most, pipeline = self.config.max_waiting, connection.pipeline
        if most is not None and pipeline.waiting >= most:
            raise PoolFull(f"{self.config.name}: {pipeline.in_flight} commands in flight, {pipeline.waiting} waiting")
        connection.bound_room(request)

    def _move(self, connection: MultiplexedConnection, request: Request, limit: deadline | None) -> Request:
        """Return the request anew where it goes elsewhere. Raise what its caller gets else.

        It does where the connection ended before it was sent; and where that is stalled, if it only reads.
        """
        if connection.state is not _LOST and connection.state is not _DETACHED:
            if connection.stalled and sharing.may_move(request):
                connection.pipeline.abandon(request)
                return request.again()
            raise self._late(connection, request, limit)
        self._see_to(connection)
        error = connection.error or sharing.retired()
        if request.sent:
            raise sharing.lost(request, error, self.config.retry_sent)
        if request.moves >= MOST_MOVES:
            raise connections.own_error(error)
        return request.again()

    def _late(self, connection: MultiplexedConnection, request: Request, limit: deadline | None) -> BaseException:
        """Return what a caller gets that leaves; a connection that was silent meanwhile takes no more requests."""
        sent = connection.pipeline.abandon(request)
        if connection.silent_for(request):
            self._suspect(connection)
        if limit is not None and limit.reached():
            return sharing.too_late(limit, sent)
        if sent:
            return sharing.late(request, connection.connection, self.config.retry_sent)
        if request.room_until == math.inf:
            return sharing.stopped_reading()
        return PoolTimeout(f"{self.config.name}: no room in time: {connection.pipeline.in_flight} commands in flight")

    # -- which connection --------------------------------------------------------------------------------------------

    def pick(self, request: Request) -> MultiplexedConnection | None:
        """Return the connection that has the least to do, of those that the request may take; `None` for none."""
        best = self._only
        if (
            best is None
            or best.state is not _OPEN
            or len(request.data) > LARGE_REQUEST
            or request.expects
            or self.large.known
        ):
            best = self._choose(request)
        return best

    def _choose(self, request: Request) -> MultiplexedConnection | None:
        request.bulk = self.large.knows(request)
        if request.bulk or len(request.data) > LARGE_REQUEST or request.expects > LONG_PIPELINE:
            if self._bulk is not None and self._bulk.state is _OPEN:
                return self._bulk
            self._start_connecting_bulk()  # for the next one: this one doesn't wait for it
        best = self._least_loaded()
        if best is not None and best.pipeline.load and len(self._shared) < self.config.shared_connections:
            self._start_connecting()
        return best

    def _least_loaded(self) -> MultiplexedConnection | None:
        usable = [each for each in self._shared if each.state is _OPEN]
        return min(usable, key=lambda each: each.pipeline.load) if usable else None

    # -- connecting --------------------------------------------------------------------------------------------------

    async def _await_connection(self) -> MultiplexedConnection:
        """Return the next one that is connected."""
        limit = current()
        timeout = self.config.timeout or None  # 0 means not to wait in the queue
        # A loop's timers may be early, so that the clock can't tell afterwards which of the two it was.
        if limit is not None and (timeout is None or limit.left() < timeout):
            timeout = limit.left()
        else:
            limit = None
        since, connecting = _monotonic(), self._start_connecting()
        done, _ = await asyncio.wait((connecting,), timeout=timeout)
        if not done:
            if limit is not None:
                raise DeadlineExceeded(f"deadline of {limit.seconds:g} s exceeded while waiting for a connection")
            core, now = self._core(), _monotonic()
            raise PoolClosed("the pool is gone") if core is None else core.timeout_error(since, now)
        if connecting.cancelled():  # by what ends the loop, not by this caller
            raise sharing.retired()
        error = connecting.exception()
        if error is not None:
            raise sharing.own_copy(error)
        return connecting.result()

    def _start_connecting(self) -> asyncio.Task[MultiplexedConnection]:
        if self._connecting is None or self._connecting.done():
            self._connecting = self._begin(self._connect_shared())
        return self._connecting

    def _begin(self, connecting: Any) -> asyncio.Task[MultiplexedConnection]:
        # In a context of its own: a connection outlives the request that happened to need it.
        task: asyncio.Task[MultiplexedConnection] = self._loop.create_task(connecting, context=contextvars.Context())
        task.add_done_callback(_seen)
        return task

    async def _connect_shared(self) -> MultiplexedConnection:
        connection = await self._connected(beside=self._least_loaded() is not None)
        self._shared = (*self._shared, connection)
        self.yields = self._crowded()
        self._only = connection if self.config.shared_connections == 1 else None
        self._end_if_closed(connection)
        return connection

    def _start_connecting_bulk(self) -> None:
        if self._connecting_bulk is None or self._connecting_bulk.done():
            self._connecting_bulk = self._begin(self._connect_bulk())

    async def _connect_bulk(self) -> MultiplexedConnection:
        connection = await self._connected(beside=True)
        before, self._bulk = self._bulk, connection
        if before is not None:
            before.retire()
            self._ending.append(before)
            self._see_to(before)
        self._end_if_closed(connection)
        return connection

    async def _connected(self, beside: bool) -> MultiplexedConnection:
        """Connect one; `beside` another one it must not take the last slot."""
        if self.closed:
            raise PoolClosed(f"{self.config.name}: the pool is closed")
        connection = await self._connect(beside)
        try:
            pipeline = Pipeline(*sharing.parser(connection), self.config.max_in_flight, self.batches)
            made = MultiplexedConnection(connection, pipeline, self.config.timeout, self._loop)
        except BaseException:
            self._release(connection)
            raise
        keep(connection._redpool.slot)
        if self._looking is None:
            self._looking = self._loop.call_later(_LOOK_EVERY, self._look)
        return made

    def _end_if_closed(self, connection: MultiplexedConnection) -> None:
        if self.closed:
            self.retire(connection)

    # -- their coming and going --------------------------------------------------------------------------------------

    def retire(self, connection: MultiplexedConnection) -> None:
        """Have it take nothing new; it is given back once everything that it was sent is answered."""
        connection.retire()
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
        self.yields = True  # one may just be connecting

    def _yield(self, connection: MultiplexedConnection) -> None:
        """A call over it has ended: where callers wait for a slot, it is their turn."""
        self.yields = False
        if self._crowded():
            self.yields = True
            self.retire(connection)

    def _crowded(self) -> bool:
        core = self._core()
        return core is not None and core.crowded

    def _suspect(self, connection: MultiplexedConnection) -> None:
        """Have requests go elsewhere, unless many connections are still to end: the server may be at fault."""
        if connection.state is _OPEN and len(self._ending) < sharing.MOST_ENDING:
            self.retire(connection)
            connection.stall()

    def in_use(self) -> list[MultiplexedConnection]:
        """Return all that take requests."""
        return [*self._shared, *([] if self._bulk is None else [self._bulk])]

    def _see_to(self, connection: MultiplexedConnection) -> None:
        """Give a connection back whose end has come."""
        if connection.state is _OPEN:
            return
        if connection not in self._ending:
            if connection in self.in_use():
                self.retire(connection)  # it has retired by itself, or is lost
        elif connection.end():
            self._ending.remove(connection)
            self._abandoned += connection.pipeline.abandoned
            self._release(connection.connection)

    def _look(self) -> None:
        """Do what is due, now and then."""
        self._looking = None
        now, core = _monotonic(), self._core()
        for connection in [*self._ending, *self.in_use()]:
            if core is None:
                connection.lose(ServerClosed())
            self._look_at(connection, now, None if core is None else core.generation)
        if self._crowded():
            self.make_room()
        if self._ending or self.in_use():
            self._looking = self._loop.call_later(_LOOK_EVERY, self._look)

    def _look_at(self, connection: MultiplexedConnection, now: float, generation: int | None) -> None:
        slot: Slot = connection.connection._redpool.slot
        if slot.generation != generation or now >= slot.expires_at:
            self.retire(connection)
        action = sharing.health_action(connection.pipeline, connection.flow(), now, connection.patience, self.config)
        if action is HealthAction.PROBE:
            connection.probe()
        elif action is HealthAction.SUSPECT:
            self._suspect(connection)
        elif action is HealthAction.RETIRE:
            self.retire(connection)
        elif action is HealthAction.LOSE:
            connection.lose(sharing.fell_silent(connection.connection))
        self._see_to(connection)

    # -- what can be seen --------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Return how many are in flight, wait for room, and were abandoned in all."""
        pipelines = [each.pipeline for each in [*self.in_use(), *self._ending] if each.state is not _LOST]
        return {
            "in_flight": sum(each.in_flight for each in pipelines),
            "waiting": sum(each.waiting for each in pipelines),
            "abandoned": self._abandoned + sum(each.abandoned for each in pipelines),
        }


def _seen(connecting: asyncio.Task[Any]) -> None:
    """Take note of an error that may concern no caller any more."""
    if not connecting.cancelled():
        connecting.exception()
