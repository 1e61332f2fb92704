"""Which multiplexed connection a request takes, and their coming and going: what both shells decide alike.

A multiplexed connection is a lease that the pool itself holds: it is connected, counted and closed like any other, and
takes one of the pool's slots. What would hold others up, long pipelines and what was large the last time, shares a
connection of its own, the bulk connection, where there is a slot for it.

Each connection stands in one of `_shared`, `_bulk` and `_ending`, from when it is connected until it is released to
the pool, which the caller does that takes it out of `unreleased`. The shell of threads changes them under `_changing`.
Should a thread be interrupted just then, nothing holds the connection any more, and the pool, which holds its leases
weakly, reclaims the slot.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from ..core.config import MultiplexedConfig
from ..core.pool import PoolCore
from ..core.slot import Slot
from ..deadline import deadline
from ..errors import PoolClosed, PoolFull, PoolTimeout
from ..wire.pipeline import Pipeline, Request, State
from ..wire.shapes import ShapedPipeline
from . import sharing
from .lifecycle import own_error
from .sharing import LARGE_REQUEST, LONG_PIPELINE, MOST_ENDING, MOST_MOVES, HealthAction

_monotonic = time.monotonic
_OPEN, _LOST = State.OPEN, State.LOST


class Multiplexed(Protocol):
    """What is needed of a multiplexed connection of either shell."""

    connection: Any
    pipeline: Pipeline
    state: State
    error: BaseException | None
    suspect: bool
    unreleased: list[Any]
    patience: float

    def retire(self) -> None:
        """Take no new requests."""

    def end(self) -> bool:
        """Detach it where nothing is under way over it any more. Return whether it is over."""

    def stall(self) -> None:
        """Have callers that only read go elsewhere."""

    def lose(self, error: BaseException) -> None:
        """Give it up."""

    def probe(self) -> None:
        """Have the server say something."""

    def flow(self) -> int:
        """Return what changes whenever bytes have come, or have got on their way."""

    def take_patience(self) -> None:
        """Take up the connection's `socket_timeout`, which maintenance notifications change."""

    def silent_for(self, request: Request) -> bool:
        """Return whether nothing has come for as long as the caller of a request has waited."""


C = TypeVar("C", bound=Multiplexed)


class Routing(Generic[C]):
    """The multiplexed connections of one pool, in one process or on one loop."""

    def __init__(
        self,
        config: MultiplexedConfig,
        release: Callable[[Any], None],
        core: Callable[[], PoolCore | None],
        may_share: Callable[[], bool],
    ) -> None:
        """`core` returns the pool's core, `None` where the pool is gone; `may_share` whether its callers still may."""
        self.config = config
        self._release, self._core, self.may_share = release, core, may_share
        self.closed = False  # shut down

    def _start_empty(self, changing: contextlib.AbstractContextManager[Any]) -> None:
        """Have no connection, and know nothing of any, as at first: also in a forked child."""
        self.batches = [0] * (sharing.LARGEST_BATCH + 1)
        self.large = sharing.LargeReplies()
        self.closings = 0  # how often it was closed until it is asked again
        self.yields = False  # a connection is to be given up as soon as a call over it has ended
        self._changing = changing
        self._shared: tuple[C, ...] = ()
        self._only: C | None = None  # where there is just one to choose
        self._bulk: C | None = None
        self._ending: list[C] = []  # retired or lost, and still to be released
        self._cancelled = 0  # by the callers of connections that are gone

    def connect_shared(self) -> None:
        """Begin to connect a further one, unless that is under way or has failed just now."""
        raise NotImplementedError

    def connect_bulk(self) -> None:
        """Begin to connect the bulk connection, unless that is under way or has failed just now."""
        raise NotImplementedError

    # -- which connection --------------------------------------------------------------------------------------------

    def pick(self, request: Request) -> C | None:
        """Return the connection with the least to do, of those that the request may take; `None` for none."""
        best = self._only
        if (
            best is None
            or best.state is not _OPEN
            or len(request.data) > LARGE_REQUEST
            or request.expects
            or self.large.known
        ):
            return self._choose(request)
        return best

    def _choose(self, request: Request) -> C | None:
        request.bulk = self.large.knows(request)
        if request.bulk or len(request.data) > LARGE_REQUEST or request.expects > LONG_PIPELINE:
            bulk = self._open_bulk()
            if bulk is not None:
                return bulk
            self.connect_bulk()
            if request.bulk and self.large.stands_apart(request):
                return None  # it waits for it; others don't
        best = self._least_loaded()
        if best is not None and best.pipeline.load and len(self._shared) < self.config.shared_connections:
            self.connect_shared()
        return best

    def _open_bulk(self) -> C | None:
        bulk = self._bulk
        return bulk if bulk is not None and bulk.state is _OPEN else None

    def _least_loaded(self) -> C | None:
        usable = [each for each in self._shared if each.state is _OPEN]
        return min(usable, key=lambda each: each.pipeline.load) if usable else None

    def check_queue(self, pipeline: Pipeline) -> None:
        """Raise `PoolFull` where as many requests wait for room as may."""
        most, waiting = self.config.max_waiting, pipeline.waiting
        if most is not None and waiting >= most:
            raise PoolFull(f"{self.config.name}: {pipeline.in_flight} commands in flight, {waiting} waiting")

    def check_open(self) -> None:
        """Raise `PoolClosed` where the pool was shut down."""
        if self.closed:
            raise PoolClosed(f"{self.config.name}: the pool was shut down")

    def check_server(self) -> None:
        """Raise what the pool's last connect has failed with, where it doesn't make the next one yet."""
        core = self._core()
        failure = None if core is None or core.idle else core.failure_in_pause(_monotonic())
        if failure is not None:
            raise sharing.own_copy(failure)

    # -- what becomes of a request -----------------------------------------------------------------------------------

    def afterwards(self, connection: C, request: Request) -> None:
        """See to what a call leaves behind that is done."""
        self.large.note(request)
        request.outdated = connection.state is not _OPEN
        if self.yields:  # where callers wait for a slot, it is their turn
            self.yields = self._is_crowded()
            if self.yields:
                self.retire(connection)
        self.see_to(connection)

    def move(self, connection: C, request: Request) -> Request:
        """Return the request anew: it was not sent, or leaves a connection that is stalled.

        What was sent over a connection that is lost may have run.
        """
        lost = connection.state is _LOST
        self.see_to(connection)
        error = connection.error or sharing.retired()
        if lost and request.sent:
            raise sharing.lost(request, error, self.config.retry_sent)
        if request.moves >= MOST_MOVES:
            raise own_error(error)
        return request.again()

    def late(self, connection: C, request: Request, limit: deadline | None) -> BaseException:
        """Return what a caller gets that leaves; a connection that was silent meanwhile takes no more requests."""
        if connection.silent_for(request):
            self._suspect(connection)
        if limit is not None and limit.reached():
            return sharing.too_late(limit, request.sent)
        if request.sent:
            return sharing.late(request, connection.connection, self.config.retry_sent)
        if request.room_until == math.inf:
            return sharing.stopped_reading()
        return PoolTimeout(f"{self.config.name}: no room in time: {connection.pipeline.in_flight} commands in flight")

    def timed_out(self, since: float, now: float) -> BaseException:
        """Return what a caller gets that has waited for a connection since then."""
        core = self._core()
        return PoolClosed("the pool is gone") if core is None else core.timeout_error(since, now)

    # -- their coming and going --------------------------------------------------------------------------------------

    def new_pipeline(self, connection: Any) -> Pipeline:
        """Return a pipeline for a connection that is to be shared."""
        connection._redpool.slot.keep()
        kind = ShapedPipeline if connection.shaped else Pipeline
        return kind(*sharing.parser(connection), self.config.max_in_flight, self.batches)

    def connect_failed(self, error: BaseException) -> None:
        """Take note that no connection was to be had. Where that is the server's fault, it has hung up on everybody."""
        if not sharing.settled(error):
            self.large.forget_hang_ups()

    def has_enough(self) -> bool:
        """Return whether no further one is wanted."""
        sound = [each for each in self._shared if each.state is _OPEN and not each.suspect]
        return len(sound) >= self.config.shared_connections

    def add_shared(self, connection: C, closings: int) -> None:
        """Have callers share a connection, those of a suspect one, too: the server answers here.

        `closings` are those there were when it began to connect: one that was begun before a close is closed, too.
        """
        with self._changing:
            before = self._shared
            self._shared = (*before, connection)
            self._only = connection if self.config.shared_connections == 1 else None
        for each in [each for each in before if each.suspect]:
            self.retire(each)
            each.stall()
        self.yields = self._is_crowded()
        if self.closed or self.closings != closings:
            self.retire(connection)

    def replace_bulk(self, connection: C, closings: int) -> None:
        """Have callers share it for what holds others up, instead of the one before."""
        with self._changing:
            before, self._bulk = self._bulk, connection
            if before is not None:
                before.retire()
                self._ending.append(before)
        if before is not None:
            self.see_to(before)
        if self.closed or self.closings != closings:
            self.retire(connection)

    def retire(self, connection: C) -> None:
        """Have it take nothing new; it is released once everything that it was sent is answered."""
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
        self.see_to(connection)

    def retire_all(self) -> None:
        """Replace all of them."""
        for connection in self.in_use():
            self.retire(connection)

    def close(self) -> None:
        """Close all of them once what is in flight is answered; the next caller has another one connected."""
        self.closings += 1
        self.retire_all()

    def shutdown(self) -> None:
        """Connect nothing more, for good; what is in flight is still answered."""
        self.closed = True
        self.retire_all()

    def make_room(self) -> None:
        """Give a slot up to a caller that needs a connection of its own: that of the one with the least to do."""
        in_use = self.in_use()
        if in_use:
            self.retire(min(in_use, key=lambda each: each.pipeline.load))
        self.yields = True  # one may just be connecting

    def _is_crowded(self) -> bool:
        core = self._core()
        return core is not None and core.crowded

    def _suspect(self, connection: C) -> None:
        """Have another one connected. Once it is, requests go there: the server may be at fault, and answer none."""
        if connection.state is not _OPEN or len(self._ending) >= MOST_ENDING:
            return
        if connection is self._bulk:
            self.retire(connection)
        else:
            connection.suspect = True
            self.connect_shared()

    def in_use(self) -> list[C]:
        """Return all that take requests."""
        bulk = self._bulk
        return [*self._shared, *([] if bulk is None else [bulk])]

    def see_to(self, connection: C) -> None:
        """Release a connection whose end has come."""
        if connection.state is _OPEN:
            return
        if connection in self.in_use():
            self.retire(connection)  # it has retired by itself, or is lost
        elif connection.end():
            with self._changing:
                self._ending = _without(self._ending, connection)
            try:
                released = connection.unreleased.pop()  # only one thread gets beyond this
            except IndexError:
                return
            self._cancelled += connection.pipeline.cancelled
            if sharing.hung_up(connection.error) and self._is_current(connection):  # else the pool itself has cut it
                self.large.note_hang_up(connection.pipeline.unanswered())
            self._release(released)

    def _is_current(self, connection: C) -> bool:
        core = self._core()
        slot: Slot = connection.connection._redpool.slot
        return core is not None and not core.closed and slot.generation == core.generation

    def all_there_are(self) -> list[C]:
        """Return those that take requests, and those that are ending."""
        return [*self._ending, *self.in_use()]

    def look_at(self, connection: C, now: float) -> None:
        """Do what is due about a connection."""
        core = self._core()
        slot: Slot = connection.connection._redpool.slot
        connection.take_patience()
        if core is None or slot.generation != core.generation or now >= slot.expires_at:
            self.retire(connection)
        pipeline, probe_after = connection.pipeline, sharing.probe_after(self.config, connection.connection)
        action = sharing.health_action(pipeline, connection.flow(), now, connection.patience, self.config, probe_after)
        connection.suspect = False
        if action is HealthAction.PROBE:
            connection.probe()
        elif action is HealthAction.SUSPECT:
            self._suspect(connection)
        elif action is HealthAction.RETIRE:
            self.retire(connection)
        elif action is HealthAction.LOSE:
            connection.lose(sharing.fell_silent(connection.connection))
        self.see_to(connection)

    def look_for_claims(self) -> None:
        """Give a slot up where callers wait that only a release can serve."""
        if self._is_crowded():
            self.make_room()

    def look_for_others(self) -> None:
        """Retire all of them once others have replaced what sends and reads: callers go redis-py's way then."""
        if not self.may_share():
            self.retire_all()

    # -- what can be seen --------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Return how many are in flight, wait for room, and were abandoned in all."""
        pipelines = [each.pipeline for each in self.all_there_are() if each.state is not _LOST]
        return {
            "in_flight": sum(each.in_flight for each in pipelines),
            "waiting": sum(each.waiting for each in pipelines),
            "cancelled": self._cancelled + sum(each.cancelled for each in pipelines),
        }

    def oldest_wait(self) -> float:
        """Return for how many seconds the longest-waiting request has waited for room; 0 where none does."""
        now = _monotonic()
        return max((each.pipeline.oldest_wait(now) for each in self.all_there_are()), default=0.0)


def _without(connections: Iterable[C], one: C) -> list[C]:
    # A function of its own: see `tests/docs/test_loops.py`.
    return [each for each in connections if each is not one]
