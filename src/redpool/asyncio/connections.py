"""The multiplexed connections of one pool on one loop: how a request goes over them, and who connects them.

Which connection a request takes, and their coming and going, is `redispy/routing.py`. A task connects; callers that
find no connection wait for it, and it goes on when they leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from typing import Any

from ..core.config import MultiplexedConfig
from ..deadline import current, deadline
from ..errors import deadline_exceeded, retired
from ..forks import begin_in_child, same_process
from ..redispy import sharing
from ..redispy.lifecycle import drop_frames
from ..redispy.multiplexed import NEVER
from ..redispy.routing import LONGEST_WAIT_FOR_BULK, PAUSE, Home, Routing
from ..wire.pipeline import Request, ServerClosed, State
from .connection import MultiplexedConnection

_monotonic = time.monotonic
_OPEN, _LOST, _DETACHED = State.OPEN, State.LOST, State.DETACHED
_NEVER = NEVER
_LOOK_EVERY = 1.0  # seconds


class MultiplexedConnections(Routing[MultiplexedConnection, Home]):
    """What `MultiplexedConnectionPool` shares."""

    def __init__(self, config: MultiplexedConfig, loop: asyncio.AbstractEventLoop, home: Home) -> None:
        super().__init__(config, home)
        self._start_empty(changing=contextlib.nullcontext())
        self._loop = loop
        self._most = config.max_in_flight
        self._connecting: asyncio.Task[MultiplexedConnection] | None = None
        self._connecting_bulk: asyncio.Task[MultiplexedConnection] | None = None
        self._in_background = False  # no caller has asked for the one that is being connected
        self._again_at = 0.0  # when a further connection that could not be connected is tried again
        self._looking: asyncio.TimerHandle | None = None
        self.inherited = False  # from the parent of a forked child
        self._expecting = 0  # callers that wait for the one that is being connected

    # -- a call ------------------------------------------------------------------------------------------------------

    async def execute(self, request: Request, limit: deadline | None) -> Any:
        """Send and wait: return the reply to a command, or the list of them. Error replies are returned, not raised."""
        if limit is not None and limit.reached():
            raise deadline_exceeded(limit.seconds, False)
        connection = self.pick(request) or await self._await_connection(request)
        pipeline = connection.pipeline
        if pipeline.written - pipeline.answered + len(pipeline.queued) >= self._most:  # `full`, spelt out
            self._wait_for_room(connection, request)
        connection.send(request)
        if limit is not None:
            connection.limit(request, limit)
        waker = request.waker = self._loop.create_future()
        if connection.state is _LOST or connection.state is _DETACHED:
            waker.set_result(None)
        try:
            await waker
        except BaseException:
            pipeline.abandon(request)
            raise
        if request.done:
            if request.large or request.bulk or self.yields or connection.state is not _OPEN:
                self.afterwards(connection, request)
            return request.replies
        return await self.execute(self._move(connection, request, limit), limit)

    async def send(self, request: Request) -> MultiplexedConnection:
        """Send without waiting; `wait` is the other half of `execute`."""
        connection = self.pick(request) or await self._await_connection(request)
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
            self.afterwards(connection, request)
            return request.replies
        return await self.execute(self._move(connection, request, limit), limit)

    def _wait_for_room(self, connection: MultiplexedConnection, request: Request) -> None:
        self.check_queue(connection.pipeline)
        connection.bound_room(request)

    def _move(self, connection: MultiplexedConnection, request: Request, limit: deadline | None) -> Request:
        """Return the request anew where it goes elsewhere; else its caller leaves, and this raises what it gets."""
        over = connection.state is _LOST or connection.state is _DETACHED
        if not over:
            connection.pipeline.abandon(request)
            if not request.moves_on:
                raise self.late(connection, request, limit)
        return self.move(connection, request)

    # -- connecting --------------------------------------------------------------------------------------------------

    def connect_shared(self) -> None:
        """Have a task connect a further one."""
        if _monotonic() >= self._again_at and (self._connecting is None or self._connecting.done()):
            self._start_connecting()
            self._in_background = True

    def connect_bulk(self) -> None:
        """Have a task connect the bulk connection."""
        if _monotonic() >= self._again_at and (self._connecting_bulk is None or self._connecting_bulk.done()):
            self._connecting_bulk = self._begin(self._connect_bulk())

    async def _await_connection(self, request: Request) -> MultiplexedConnection:
        """Return the next one that is connected, of those that the request may take."""
        if self.large.stands_apart(request):
            connection = await self._await_bulk() or self._least_loaded()  # there may be no room for a bulk connection
            if connection is not None:
                return connection
        for each in self.all_there_are():
            self.see_to(each)  # what was lost while no call was under way has its slot still, which this one may need
        self.check_server()
        seconds, limit = self.patience(current())
        since, connecting = _monotonic(), self._start_connecting()
        in_background = self._in_background
        self._expecting += 1
        try:
            done, _ = await asyncio.wait((connecting,), timeout=None if seconds == _NEVER else seconds)
        finally:
            self._expecting -= 1
            self._is_there(connecting)
        if done and in_background and not connecting.cancelled() and connecting.exception() is not None:
            return await self._await_connection(request)  # what no caller has asked for fails for none
        if not done:
            raise self.waited_in_vain(limit, since)
        if connecting.cancelled():  # by what ends the loop, not by this caller
            raise retired()
        error = connecting.exception()
        if error is not None:
            raise sharing.own_copy(error)
        self.check_open()
        return connecting.result()

    def _is_there(self, connecting: asyncio.Task[MultiplexedConnection]) -> None:
        """Note that one of those no longer waits that the connection was told to expect, if it was connected."""
        if connecting.done() and not connecting.cancelled() and connecting.exception() is None:
            connection = connecting.result()
            connection.expected -= 1
            if connection.state is not _OPEN and not connection.expected:
                self._loop.call_soon(self.see_to, connection)  # when this caller has sent, if it does

    async def _await_bulk(self) -> MultiplexedConnection | None:
        self.connect_bulk()
        if self._connecting_bulk is not None and not self._connecting_bulk.done():
            limit = current()
            within = LONGEST_WAIT_FOR_BULK if limit is None else min(limit.left(), LONGEST_WAIT_FOR_BULK)
            await asyncio.wait((self._connecting_bulk,), timeout=within)
        return self._open_bulk()

    def _start_connecting(self) -> asyncio.Task[MultiplexedConnection]:
        if self._connecting is None or self._connecting.done():
            self._connecting, self._in_background = self._begin(self._connect_shared()), False
        return self._connecting

    def _begin(self, connecting: Any) -> asyncio.Task[MultiplexedConnection]:
        # In a context of its own: a connection outlives the request that happened to need it.
        task: asyncio.Task[MultiplexedConnection] = self._loop.create_task(connecting, context=contextvars.Context())
        task.add_done_callback(self._connect_ended)
        return task

    def _connect_ended(self, connecting: asyncio.Task[Any]) -> None:
        """Take note of an error, which may concern no caller any more."""
        error = None if connecting.cancelled() else connecting.exception()
        if error is not None:
            drop_frames(error)  # the task keeps it, and they would keep the pool
            self._again_at = _monotonic() + PAUSE
            self.connect_failed(error)

    async def _connect_shared(self) -> MultiplexedConnection:
        closings = self.closings
        connection = await self._connected(beside=self._least_loaded() is not None)
        # Their turns come later. In between the slot may be claimed, or the pool closed: they are served before.
        connection.expected = self._expecting
        self.add_shared(connection, closings)
        return connection

    async def _connect_bulk(self) -> MultiplexedConnection:
        closings = self.closings
        connection = await self._connected(beside=True)
        self.replace_bulk(connection, closings)
        return connection

    async def _connected(self, beside: bool) -> MultiplexedConnection:
        self.check_open()
        connection = await self.home.connect(beside)
        try:
            pipeline = self.new_pipeline(connection)
            made = MultiplexedConnection(connection, pipeline, self.config.timeout, self._loop)
        except BaseException:
            self.home.release(connection)
            raise
        if self._looking is None:
            self._looking = self._loop.call_later(_LOOK_EVERY, self._look)
        return made

    # -- maintenance -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Do what is due, now and then."""
        self._looking = None
        if not same_process[0]:  # a loop is forked with its timers
            begin_in_child()
        if self.inherited:
            return
        now = _monotonic()
        for connection in self.all_there_are():
            if self.home.core() is None:
                connection.lose(ServerClosed())
            self.look_at(connection, now)
        # Callers that were just answered have their turn first: they are about to send again.
        self._loop.call_soon(self.look_for_gain, now)
        self.look_for_claims()
        self.look_for_others()
        if self.all_there_are():
            self._looking = self._loop.call_later(_LOOK_EVERY, self._look)
