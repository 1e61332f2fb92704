"""The shared connections of one pool on one loop: which one a call takes, and their coming and going.

A shared connection is a lease that the pool itself holds: it is dialled, counted and closed like any other, and takes
one of the pool's places. Callers who find none wait for the task that dials, which goes on when they leave. What would
hold the others up, long pipelines and what was large the last time, has a connection of its own to share, where there
is a place for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Awaitable, Callable
from typing import Any

from ..core.config import SharedConfig
from ..core.slot import Slot
from ..core.upkeep import keep
from ..errors import DeadlineExceeded, PoolClosed, PoolFull, PoolTimeout
from ..limit import current, deadline
from ..redispy import connections, sharing
from ..redispy.retrying import final
from ..redispy.sharing import LARGE_REQUEST, LONG_PIPELINE, MOST_MOVES, Fate
from ..wire.mux import Entry, MuxCore
from .lane import Lane

_monotonic = time.monotonic
_LOOK_EVERY = 1.0  # seconds


class Lanes:
    """What `MultiplexedConnectionPool` shares."""

    def __init__(
        self,
        config: SharedConfig,
        loop: asyncio.AbstractEventLoop,
        dial: Callable[[bool], Awaitable[Any]],
        give_back: Callable[[Any], None],
        generation: Callable[[], int | None],
    ) -> None:
        """`generation` tells that of the pool's connections, or that the pool is gone."""
        self.config = config
        self.batches = [0] * (sharing.LARGEST_BATCH + 1)
        self.heavy = sharing.Heavy()
        self.closed = False
        self._loop = loop
        self._most = config.max_in_flight
        self._dial, self._give_back, self._generation = dial, give_back, generation
        self._shared: tuple[Lane, ...] = ()
        self._only: Lane | None = None  # where there is just one to choose
        self._bulk: Lane | None = None
        self._leaving: list[Lane] = []  # retired or dead, and still to be given back
        self._abandoned = 0  # by the callers of connections that are gone
        self._opening: asyncio.Task[Lane] | None = None
        self._opening_bulk: asyncio.Task[Lane] | None = None
        self._looking: asyncio.TimerHandle | None = None

    # -- a call ------------------------------------------------------------------------------------------------------

    async def execute(self, entry: Entry, limit: deadline | None) -> Any:
        """Send and wait: the reply to a command, or the list of them. Error replies are returned, not raised."""
        lane = Lanes.start(self, entry, limit)
        if lane is None:
            lane = await self._open()
            self._send_over(lane, entry, limit)
        try:
            await entry.waker
        except BaseException:
            lane.core.abandon(entry)
            raise
        return await self.finish(lane, entry, limit)

    def start(self, entry: Entry, limit: deadline | None) -> Lane | None:
        """Send it over a connection there is, and have `entry.waker` tell when that is over; `None` if there is none.

        Whoever stops waiting for that abandons the entry.
        """
        if limit is not None and limit.reached():
            raise sharing.too_late(limit, False)
        lane = self.pick(entry)
        if lane is not None:
            self._send_over(lane, entry, limit)
        return lane

    def _send_over(self, lane: Lane, entry: Entry, limit: deadline | None) -> None:
        core = lane.core
        if core.written - core.answered + len(core.queued) >= self._most:
            self._wait_for_room(lane, entry)
        lane.send(entry)
        if limit is not None:
            lane.limit(entry, limit)
        waker = entry.waker = self._loop.create_future()
        if entry.done:
            waker.set_result(None)

    async def finish(self, lane: Lane, entry: Entry, limit: deadline | None) -> Any:
        """What came of it. An entry that was not sent moves on to another connection."""
        if not entry.done:
            raise self._late(lane, entry, limit)
        if entry.error is None:
            if entry.large or entry.heavy or lane.retired:
                self._afterwards(lane, entry)
            return entry.replies
        self._move(lane, entry)
        return await self.execute(entry, limit)

    async def send(self, entry: Entry) -> Lane:
        """The first half of `execute`."""
        lane = self.pick(entry) or await self._open()
        if lane.core.full:
            self._wait_for_room(lane, entry)
        lane.send(entry)
        return lane

    async def wait(self, lane: Lane, entry: Entry) -> Any:
        """The second half of `execute`."""
        limit = current()
        if limit is not None:
            lane.limit(entry, limit)
        await lane.wait(entry)
        if not entry.done:
            raise self._late(lane, entry, limit)
        if entry.error is None:
            self._afterwards(lane, entry)
            return entry.replies
        self._move(lane, entry)
        return await self.execute(entry, limit)

    def _afterwards(self, lane: Lane, entry: Entry) -> None:
        self.heavy.note(entry)
        self.see_off(lane)

    def _wait_for_room(self, lane: Lane, entry: Entry) -> None:
        most, waiting = self.config.max_waiting, lane.core.waiting
        if most is not None and waiting >= most:
            raise PoolFull(f"{self.config.name}: {lane.core.in_flight} commands in flight, {waiting} waiting")
        lane.bound_turn(entry)

    def _move(self, lane: Lane, entry: Entry) -> None:
        """The connection is gone: what was not sent may go over another one, what was sent may have run."""
        self.see_off(lane)
        assert entry.error is not None
        if entry.sent:
            raise sharing.lost(entry, entry.error, self.config.retry_sent)
        if entry.moves >= MOST_MOVES:
            raise connections.own_error(entry.error)
        entry.renew()

    def _late(self, lane: Lane, entry: Entry, limit: deadline | None) -> BaseException:
        """The caller leaves; what he is told."""
        sent = lane.core.abandon(entry)
        if limit is not None and limit.reached():
            return sharing.too_late(limit, sent)
        if not sent:
            return PoolTimeout(f"{self.config.name}: {lane.core.in_flight} commands in flight left no room in time")
        return sharing.late(entry, lane.connection, self.config.retry_sent)

    # -- which connection --------------------------------------------------------------------------------------------

    def pick(self, entry: Entry) -> Lane | None:
        """The connection that has the least to do, of those that the entry may take; `None` where there is none."""
        best = self._only
        if best is None or best.retired or len(entry.data) > LARGE_REQUEST or entry.expects or self.heavy.known:
            best = self._choose(entry)
        return best

    def _choose(self, entry: Entry) -> Lane | None:
        entry.heavy = self.heavy.knows(entry)
        if entry.heavy or len(entry.data) > LARGE_REQUEST or entry.expects > LONG_PIPELINE:
            if self._bulk is not None and not self._bulk.retired:
                return self._bulk
            self._open_bulk()  # for the next one: this one doesn't wait for it
        best: Lane | None = None
        for lane in self._shared:
            if not lane.retired and (best is None or lane.core.load < best.core.load):
                best = lane
        if best is not None and best.core.load and len(self._shared) < self.config.shared_connections:
            self._start_opening()
        return best

    async def _open(self) -> Lane:
        """The next one that is opened."""
        limit = current()
        timeout = self.config.timeout or None  # a dial is no queue: 0 doesn't mean not to wait for it
        # A loop's timers may be early, so that the clock can't tell afterwards which of the two it was.
        if limit is not None and (timeout is None or limit.left() < timeout):
            timeout = limit.left()
        else:
            limit = None
        opening = self._start_opening()
        done, _ = await asyncio.wait((opening,), timeout=timeout)
        if not done:
            if limit is not None:
                raise DeadlineExceeded(f"the deadline of {limit.seconds:g} s came before a connection")
            raise PoolTimeout(f"{self.config.name}: no shared connection was opened in time")
        error = opening.exception()
        if error is not None:
            raise final(connections.own_error(error))
        return opening.result()

    def _start_opening(self) -> asyncio.Task[Lane]:
        if self._opening is None or self._opening.done():
            self._opening = self._begin(self._open_one())
        return self._opening

    def _begin(self, opening: Any) -> asyncio.Task[Lane]:
        # In a context of its own: a connection outlives the request that happened to need it.
        task: asyncio.Task[Lane] = self._loop.create_task(opening, context=contextvars.Context())
        task.add_done_callback(_seen)
        return task

    async def _open_one(self) -> Lane:
        lane = await self._opened()
        self._shared = (*self._shared, lane)
        self._only = lane if self.config.shared_connections == 1 else None
        return lane

    def _open_bulk(self) -> None:
        if self._opening_bulk is None or self._opening_bulk.done():
            self._opening_bulk = self._begin(self._open_one_bulk())

    async def _open_one_bulk(self) -> Lane:
        self._bulk = lane = await self._opened(spare=True)
        return lane

    async def _opened(self, spare: bool = False) -> Lane:
        if self.closed:
            raise PoolClosed(f"{self.config.name}: the pool is closed")
        connection = await self._dial(spare)
        try:
            core = MuxCore(*sharing.parser(connection), self.config.max_in_flight, self.batches)
            lane = Lane(connection, core, self.config.timeout, self._loop)
        except BaseException:
            self._give_back(connection)
            raise
        keep(connection._redpool.slot)
        if self._looking is None:
            self._looking = self._loop.call_later(_LOOK_EVERY, self._look)
        lane.retired = self.closed
        return lane

    # -- their coming and going --------------------------------------------------------------------------------------

    def retire(self, lane: Lane) -> None:
        """It takes nothing new, and is given back once everything in its line is answered."""
        lane.retired = True
        if lane in self._shared:
            self._shared = tuple(each for each in self._shared if each is not lane)
        elif lane is self._bulk:
            self._bulk = None
        else:
            return
        if lane is self._only:
            self._only = None
        self._leaving.append(lane)
        self.see_off(lane)

    def retire_all(self) -> None:
        """Replace all of them."""
        for lane in self.lanes():
            self.retire(lane)

    def close(self) -> None:
        """Open nothing more; what is in flight is still answered."""
        self.closed = True
        self.retire_all()

    def make_room(self) -> None:
        """Give a place up to a caller who needs a connection of his own: that of the one with the least to do."""
        lanes = self.lanes()
        if lanes:
            self.retire(min(lanes, key=lambda lane: lane.core.load))

    def lanes(self) -> list[Lane]:
        """All that are in use."""
        return [*self._shared, *([] if self._bulk is None else [self._bulk])]

    def see_off(self, lane: Lane) -> None:
        """Give a connection back that has nothing in its line, or is dead."""
        if not lane.retired:
            return
        if lane not in self._leaving:
            self.retire(lane)
        elif lane.let_go():
            with contextlib.suppress(ValueError):
                self._leaving.remove(lane)
                self._abandoned += lane.core.abandoned
                self._give_back(lane.connection)

    def _look(self) -> None:
        """What is due, now and then."""
        self._looking = None
        now, generation = _monotonic(), self._generation()
        for lane in [*self._leaving, *self.lanes()]:
            if generation is None:
                lane.lose(EOFError())
            self._look_at(lane, now, generation)
        if self._leaving or self.lanes():
            self._looking = self._loop.call_later(_LOOK_EVERY, self._look)

    def _look_at(self, lane: Lane, now: float, generation: int | None) -> None:
        slot: Slot = lane.connection._redpool.slot
        if slot.generation != generation or now >= slot.expires_at:
            self.retire(lane)
        fate = sharing.fate(lane.core, now, lane.patience, self.config)
        if fate is Fate.ASK:
            lane.ask()
        elif fate is Fate.RETIRE:
            self.retire(lane)
        elif fate is Fate.LOSE:
            lane.lose(sharing.fell_silent(lane.connection))
        self.see_off(lane)

    # -- what can be seen --------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """In flight, waiting for room, and abandoned in all."""
        lanes = [*self.lanes(), *self._leaving]
        return {
            "in_flight": sum(lane.core.in_flight for lane in lanes),
            "waiting": sum(lane.core.waiting for lane in lanes),
            "abandoned": self._abandoned + sum(lane.core.abandoned for lane in lanes),
        }


def _seen(opening: asyncio.Task[Any]) -> None:
    """Nobody may be there any more whom its error concerns."""
    if not opening.cancelled():
        opening.exception()
