"""The multiplexed connections of one pool on one loop: how a request goes over them, and who connects them.

Which connection a request takes, and their coming and going, is `redispy/routing.py`. A task connects; callers that
find no connection wait for it, and it goes on when they leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from ..core.config import MultiplexedConfig
from ..deadline import current, deadline
from ..errors import deadline_exceeded, retired
from ..forks import begin_in_child, same_process
from ..redispy import packing, sharing
from ..redispy.lifecycle import drop_frames
from ..redispy.multiplexed import NEVER
from ..redispy.routing import LONGEST_WAIT_FOR_BULK, PAUSE, Home, Routing
from ..wire.loop_pipeline import LoopPipeline
from ..wire.pipeline import Request, ServerClosed, State
from .connection import MultiplexedConnection

_monotonic = time.monotonic
_running_loop = asyncio.get_running_loop
_thread = threading.get_ident
_same_process = same_process
_pack = packing.pack_words
# Bytes of the largest command that is an ordinary call: those of a full queue still make a write that is no burden.
_LARGEST_CALL = 8 * 1024
_OPEN, _LOST, _DETACHED = State.OPEN, State.LOST, State.DETACHED
_NEVER = NEVER
_LOOK_EVERY = 1.0  # seconds

_Waiting: TypeAlias = dict[asyncio.Future[None], tuple[float, asyncio.Task[Any] | None]]
"""What wakes callers, in their order: since when they wait, and which task it is."""


class MultiplexedConnections(Routing[MultiplexedConnection, Home]):
    """What `MultiplexedConnectionPool` shares."""

    _pipeline_class = LoopPipeline

    # CPython is quicker with objects of no more than 30 attributes: what is seldom set stands here.
    inherited = False
    """from the parent of a forked child"""
    _again_at = 0.0
    """when a further connection that could not be connected is tried again"""
    _all_due_at = 0.0
    """when all is looked at again; with `slow_after` heads alone are in between"""

    def __init__(self, config: MultiplexedConfig, loop: asyncio.AbstractEventLoop, home: Home) -> None:
        super().__init__(config, home)
        self._start_empty(changing=contextlib.nullcontext())
        self.loop = loop
        self._most = config.max_in_flight
        self._connecting: asyncio.Task[MultiplexedConnection] | None = None
        self._connecting_bulk: asyncio.Task[MultiplexedConnection] | None = None
        self._in_background = False  # no caller has asked for the one that is being connected
        self._looking: asyncio.TimerHandle | None = None
        self._waiting: _Waiting = {}  # those that wait for the one that is being connected
        self.turn: MultiplexedConnection | None = None
        """the connection that takes ordinary calls until the end of this turn of the loop, once one has found it"""
        self._thread = 0  # in which the loop has that turn
        # Both together are quicker than to ask for the running loop, which costs a system call up to CPython 3.11.
        self._is_running = loop.is_running
        self.ordinary = packing.of_one_word(self.sharing_names)
        """the names of commands that may be ordinary calls"""
        self._future: Callable[[], asyncio.Future[Any]] = loop.create_future
        if type(loop).create_future is asyncio.BaseEventLoop.create_future:
            self._future = partial(asyncio.Future, loop=loop)  # what that calls

    # -- an ordinary call --------------------------------------------------------------------------------------------

    def ask(self, args: tuple[Any, ...]) -> Any:
        """Queue an ordinary call, of a command named by one word: return the future in which its reply comes.

        Return `None` where there is something to choose, to check or to wait for: `execute` sends it then. The caller
        awaits the future, calls `left` where that raises, and hands on to `settle` a `Request` that it gets.
        """
        # Called by way of locals: CPython 3.11 looks for a method of such a name first.
        connection, is_running, new_future = self.turn, self._is_running, self._future
        if connection is None:
            connection = self._find_way()
            if connection is None:
                return None
        elif _thread() != self._thread or not is_running():
            return None  # this is another thread, or the loop was stopped in its turn
        queued = connection.pipeline.queued
        if len(queued) >= connection.room and (
            self.config.max_waiting is not None or self.shedding is not None or not connection.bound_room_of_calls()
        ):
            return None
        try:
            data = _pack(args)
        except TypeError:  # a kind of word that redis-py turns into bytes first, or refuses by its own error
            return None
        if len(data) > _LARGEST_CALL:
            return None
        future = new_future()
        queued.append((future, data, args, connection.queued_at))
        if self.turn is None and not connection.flush_if_alone():
            self.turn, self._thread = connection, _thread()
            self.loop.call_soon(self._end_turn)
        return future

    def in_turn(self) -> bool:
        """Return whether the caller stands in a turn of this loop in which ordinary calls have found their way."""
        return self.turn is not None and _thread() == self._thread and self._is_running()

    def _find_way(self) -> MultiplexedConnection | None:
        """Return the one connection that any ordinary call may take now; `None` where there is something to see to."""
        connection = self.only
        if (
            not _same_process[0]
            or _running_loop() is not self.loop
            or connection is None
            or connection.state is not _OPEN
            or self.apart.known
            or self.yields
            or connection.connection.shaped
        ):
            return None
        connection.room = self._most - connection.pipeline.in_flight
        connection.begin_turn()
        return connection

    def _end_turn(self) -> None:
        connection, self.turn = self.turn, None
        assert connection is not None
        connection.end_turn()

    def left(self, future: Any) -> None:
        """Note that the caller of an ordinary call has left: it was canceled, or isn't of this loop's tasks."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            future.cancel()
        if not future.cancelled():
            return  # its reply has come just before
        self._cancelled += 1
        for connection in self.all_there_are():
            connection.pipeline.mixed = True  # what is queued may be this call

    async def settle(self, request: Request) -> Any:
        """Return the reply to an ordinary call of which more is to be known than its reply, or raise what it gets."""
        if request.done:
            self.afterwards(request.connection, request)
            return request.replies
        return await self.execute(self._move(request.connection, request, None), None)

    async def refused(self, connection: MultiplexedConnection, args: tuple[Any, ...], reply: Any) -> Any:
        """Return what the caller of an ordinary call gets which a replica has refused: the call may go again."""
        request = Request(args, packing.pack(args))
        request.outdated = connection.state is not _OPEN
        return await self.execute(request, None) if self.home.starts_over(request) else reply

    # -- any call ----------------------------------------------------------------------------------------------------

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
        waker = request.waker = self._future()
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

    def make_room(self) -> None:
        """Give a slot up to a caller that needs a connection of its own: that of the one with the least to do."""
        super().make_room()
        for connection in self.in_use():
            connection.look_closer()

    # -- connecting --------------------------------------------------------------------------------------------------

    def awaiting_connect(self) -> list[tuple[float, Any]]:
        """Return since when callers wait for a connect, and their tasks."""
        return list(self._waiting.values())

    def connect_shared(self) -> None:
        """Have a task connect a further one."""
        if _monotonic() >= self._again_at and (self._connecting is None or self._connecting.done()):
            self._start_connecting()
            self._in_background = True

    def connect_bulk(self) -> None:
        """Have a task connect the bulk connection."""
        if _monotonic() >= self._again_at and (self._connecting_bulk is None or self._connecting_bulk.done()):
            self._connecting_bulk = self._begin(self._connect_bulk(), "bulk connection")

    async def _await_connection(self, request: Request) -> MultiplexedConnection:
        """Return the next one that is connected, of those that the request may take."""
        if self.apart.stands_apart(request):
            connection = await self._await_bulk() or self._least_loaded()  # there may be no room for a bulk connection
            if connection is not None:
                return connection
        for each in self.all_there_are():
            self.see_to(each)  # what was lost while no call was under way has its slot still, which this one may need
        self.check_server()
        seconds, limit = self.patience(current())
        since, connecting = _monotonic(), self._start_connecting()
        in_background = self._in_background
        done = await self._wait_for(connecting, seconds)
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

    async def _wait_for(self, connecting: asyncio.Task[MultiplexedConnection], seconds: float) -> bool:
        """Wait until it is done, for so many seconds. Return whether it is.

        Each caller has a future of its own: to take a callback off a task's list takes longer the more callers wait.
        """
        future, waiting = self._future(), self._waiting
        waiting[future] = _monotonic(), asyncio.current_task()
        timer = None if seconds == _NEVER else self.loop.call_later(seconds, _wake, future)
        try:
            await future
        finally:
            del waiting[future]
            if timer is not None:
                timer.cancel()
            self._is_there(connecting)
        return connecting.done()

    def _is_there(self, connecting: asyncio.Task[MultiplexedConnection]) -> None:
        """See to the connection, if it was connected, once the last of those has sent that it expects."""
        if connecting.done() and not connecting.cancelled() and connecting.exception() is None:
            connection = connecting.result()
            if connection.state is not _OPEN and not connection.expected:
                self.loop.call_soon(self.see_to, connection)  # when this caller has sent, if it does

    async def _await_bulk(self) -> MultiplexedConnection | None:
        self.connect_bulk()
        if self._connecting_bulk is not None and not self._connecting_bulk.done():
            limit = current()
            within = LONGEST_WAIT_FOR_BULK if limit is None else min(limit.left(), LONGEST_WAIT_FOR_BULK)
            await asyncio.wait((self._connecting_bulk,), timeout=within)
        return self._open_bulk()

    def _start_connecting(self) -> asyncio.Task[MultiplexedConnection]:
        if self._connecting is None or self._connecting.done():
            self._waiting = {}
            connecting = self._connect_shared(self._waiting)
            self._connecting, self._in_background = self._begin(connecting, "multiplexed connection"), False
            self._connecting.add_done_callback(partial(_wake_all, self._waiting))
        return self._connecting

    def _begin(self, connecting: Any, what: str) -> asyncio.Task[MultiplexedConnection]:
        name = f"redpool {self.config.name} {what}"
        # In a context of its own: a connection outlives the request that happened to need it.
        task: asyncio.Task[MultiplexedConnection]
        task = self.loop.create_task(connecting, name=name, context=contextvars.Context())
        task.add_done_callback(self._connect_ended)
        return task

    def _connect_ended(self, connecting: asyncio.Task[Any]) -> None:
        """Take note of an error, which may concern no caller any more."""
        error = None if connecting.cancelled() else connecting.exception()
        if error is not None:
            drop_frames(error)  # the task keeps it, and they would keep the pool
            self._again_at = _monotonic() + PAUSE
            self.connect_failed(error)

    async def _connect_shared(self, waiting: _Waiting) -> MultiplexedConnection:
        closings = self.closings
        connection = await self._connected(beside=self._least_loaded() is not None)
        # Their turns come later. In between the slot may be claimed, or the pool closed: they are served before.
        connection.expected = waiting
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
            made = MultiplexedConnection(connection, pipeline, self.config.timeout, self.loop)
        except BaseException:
            self.home.release(connection)
            raise
        if self._looking is None:
            within = min(self.looks_within(_LOOK_EVERY), self.look_for_slow(_monotonic()))
            self._looking = self.loop.call_later(within, self._look)
        return made

    def leave_to_parent(self) -> None:
        """In a forked child: do nothing any more, and write nothing."""
        self.inherited = True
        for connection in self.all_there_are():
            connection.leave_to_parent()

    # -- maintenance -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Look for slow commands, and do now and then whatever else is due."""
        self._looking = None
        if not same_process[0]:  # a loop is forked with its timers
            begin_in_child()
        if self.inherited:
            return
        now = _monotonic()
        within = self.look_for_slow(now)
        if now < self._all_due_at:
            self._looking = self.loop.call_later(min(within, self._all_due_at - now), self._look)
            return
        all_within = self.looks_within(_LOOK_EVERY)
        if within < all_within:
            self._all_due_at = now + all_within
        for connection in self.all_there_are():
            if self.home.core() is None:
                connection.lose(ServerClosed())
            self.look_at(connection, now)
        # Callers that were just answered have their turn first: they are about to send again.
        self.loop.call_soon(self.look_for_gain, now)
        self.look_for_claims()
        self.look_for_others()
        self.look_for_long_waits(now)
        if self.all_there_are():
            self._looking = self.loop.call_later(min(within, all_within), self._look)


def _wake_all(waiting: _Waiting, _ended: asyncio.Task[MultiplexedConnection]) -> None:
    for future in waiting:
        _wake(future)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
