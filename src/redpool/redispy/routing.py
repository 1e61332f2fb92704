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
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from ..core.config import MultiplexedConfig
from ..core.long_waits import APART
from ..core.policy import LEAST_IDLE_TIME
from ..core.pool import PoolCore
from ..core.recent import TimeInFlight
from ..core.shedding import Shedding
from ..core.slot import Slot
from ..deadline import current, deadline
from ..errors import (
    PoolFull,
    PoolOverloaded,
    PoolTimeout,
    deadline_exceeded,
    no_connection_in_time,
    no_response,
    pool_gone,
    retired,
    shut_down,
    stopped_reading,
)
from ..registry import crowd_advice
from ..wire.pipeline import Pipeline, Request, State
from ..wire.routing import (
    LARGE_REQUEST,
    LARGEST_BATCH,
    LONG_PIPELINE,
    MOST_ENDING,
    MOST_MOVES,
    Apart,
    HealthAction,
    SlowCommands,
    Spread,
    health_action,
)
from ..wire.shapes import have_resp3s_shapes
from . import sharing
from .lifecycle import own_error
from .multiplexed import Multiplexed
from .sockets import ANSWER_WITHIN

_monotonic = time.monotonic
_OPEN, _LOST = State.OPEN, State.LOST

PAUSE = 1.0
"""Seconds after which a further connection that could not be connected is tried again."""

LONGEST_WAIT_FOR_BULK = 1.0
"""Seconds for which what must stand apart waits for the bulk connection, at most."""

# Two waits that began within so many seconds of each other are taken for one: the clock is read anew at each look.
_SAME_WAIT = 0.001


class Home(Protocol):
    """What multiplexed connections, and virtual ones over them, need of their pool, which they hold weakly."""

    decodes: bool
    """whether replies are decoded"""
    himport_registry: Any
    """redis-py's registry of fieldsets"""

    @property
    def pool(self) -> Callable[[], Any]:
        """What returns the pool, `None` where it is gone."""

    def core(self) -> PoolCore | None:
        """Return the pool's core, `None` where the pool is gone."""

    def may_share(self) -> bool:
        """Find out anew whether callers share connections."""

    def connect(self, beside: bool) -> Any:
        """Take a connection that is to be shared; one `beside` others must not take the last slot."""

    def take_own(self) -> Any:
        """Check out a connection for what can't share."""

    def release(self, connection: Any) -> None:
        """Release a connection to the pool."""

    def starts_over(self, request: Request | None) -> bool:
        """Return whether what a replica has refused to write goes over a new connection."""

    def report_long_wait(self, waited: float) -> None:
        """Report that a caller has waited for so many seconds, and what is under way meanwhile."""


C = TypeVar("C", bound=Multiplexed)
H = TypeVar("H", bound=Home)


class Routing(Generic[C, H]):
    """The multiplexed connections of one pool, in one process or on one loop."""

    _pipeline_class: ClassVar[type[Pipeline]] = Pipeline

    def __init__(self, config: MultiplexedConfig, home: H) -> None:
        self.config, self.home = config, home
        self.sharing_names = sharing.sharing_names(config.shareable_commands)
        self.decodes = home.decodes
        self.closed = False  # shut down

    def _start_empty(self, changing: contextlib.AbstractContextManager[Any]) -> None:
        """Have no connection, and know nothing of any, as at first: also in a forked child."""
        self.batches = [0] * (LARGEST_BATCH + 1)
        self.apart = Apart()
        after = self.config.slow_after
        self.slow = None if after is None else SlowCommands(after, self.apart)
        self.closings = 0  # how often it was closed until it is asked again
        self.yields = False  # a connection is to be given up as soon as a call over it has ended
        self._changing = changing
        self._time_in_flight = TimeInFlight()
        self.shedding = Shedding(self._time_in_flight, _monotonic()) if self.config.shed else None
        self.spread = Spread(self.config.shared_connections)
        self._shared: tuple[C, ...] = ()
        self.only: C | None = None
        """the one that any ordinary call may take, where there is just one; it may be over, as its state tells"""
        self._bulk: C | None = None
        self._ending: list[C] = []  # retired or lost, and still to be released
        self._cancelled = self._answered = self._in_time = 0  # commands of connections that are gone
        self._reported_at = self._reported_since = -math.inf  # the last long wait: when it was reported, and began

    def awaiting_connect(self) -> list[tuple[float, Any]]:
        """Return since when callers wait for a connect, and which thread or task each is."""
        raise NotImplementedError

    def connect_shared(self) -> None:
        """Begin to connect a further one, unless that is under way or has failed just now."""
        raise NotImplementedError

    def connect_bulk(self) -> None:
        """Begin to connect the bulk connection, unless that is under way or has failed just now."""
        raise NotImplementedError

    # -- which connection --------------------------------------------------------------------------------------------

    def pick(self, request: Request) -> C | None:
        """Return the connection with the least to do, of those that the request may take; `None` for none."""
        best = self.only
        if (
            best is None
            or best.state is not _OPEN
            or len(request.data) > LARGE_REQUEST
            or request.expects
            or self.apart.known
        ):
            return self._choose(request)
        return best

    def _choose(self, request: Request) -> C | None:
        request.bulk = self.apart.knows(request)
        if request.bulk or len(request.data) > LARGE_REQUEST or request.expects > LONG_PIPELINE:
            bulk = self._open_bulk()
            if bulk is not None:
                return bulk
            self.connect_bulk()
            if request.bulk and self.apart.stands_apart(request):
                return None  # it waits for it; others don't
        return self._least_loaded()

    def _open_bulk(self) -> C | None:
        bulk = self._bulk
        return bulk if bulk is not None and bulk.state is _OPEN else None

    def _least_loaded(self) -> C | None:
        usable = self._usable()
        return min(usable, key=lambda each: each.pipeline.load) if usable else None

    def _usable(self) -> list[C]:
        """Return those that requests take; one that is on trial is among them only every other while."""
        usable = [each for each in self._shared if each.state is _OPEN]
        if len(usable) > 1:
            usable = self._sound() or usable
        return usable[: self.spread.taking]

    def check_queue(self, pipeline: Pipeline) -> None:
        """Raise `PoolFull` where as many requests wait for room as may, `PoolOverloaded` where they wait for too long.

        Those that wait are written in their order, so that it is the newcomer that is turned away.
        """
        if self.shedding is not None:
            self._check_wait(self.shedding, pipeline)
        most = self.config.max_waiting
        if most is None:
            return  # `pipeline.waiting` looks at each of them
        waiting = pipeline.waiting
        if waiting >= most:
            raise PoolFull(f"{self.config.name}: {pipeline.in_flight} commands in flight, {waiting} waiting")

    def _check_wait(self, shedding: Shedding, pipeline: Pipeline) -> None:
        now, limit = _monotonic(), current()
        waited = pipeline.oldest_wait(now)
        self._time_in_flight.look(sum(each.pipeline.in_flight for each in self.in_use()), self.answers(), now)
        left = self.config.timeout if limit is None else limit.left()
        if shedding.turn_comes(waited, now) or (left is not None and waited > left):
            shedding.shed += 1
            raise PoolOverloaded(
                f"{self.config.name}: overloaded: {pipeline.in_flight} commands in flight, {pipeline.waiting} waiting, "
                f"the first for {waited:.3f} s"
            )

    def check_open(self) -> None:
        """Raise `PoolClosed` where the pool was shut down."""
        if self.closed:
            raise shut_down(self.config.name)

    def check_server(self) -> None:
        """Raise what the pool's last connect has failed with, where it doesn't make the next one yet."""
        core = self.home.core()
        failure = None if core is None or core.idle else core.failure_in_pause(_monotonic())
        if failure is not None:
            raise sharing.own_copy(failure)

    # -- what becomes of a request -----------------------------------------------------------------------------------

    def afterwards(self, connection: C, request: Request) -> None:
        """See to what a call leaves behind that is done."""
        self.apart.note(request)
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
        error = connection.error or retired()
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
            return deadline_exceeded(limit.seconds, request.sent)
        if request.sent:
            return sharing.late(request, connection.connection, self.config.retry_sent, self._may_send_again)
        if request.room_until == math.inf:
            return stopped_reading()
        flying = connection.pipeline.in_flight
        return self._advised(PoolTimeout(f"{self.config.name}: no room in time: {flying} commands in flight"))

    def patience(self, limit: deadline | None) -> tuple[float, deadline | None]:
        """Return for how many seconds a caller waits for a connection, and its deadline where that ends the wait.

        A loop's timers may be early, so that the clock can't tell afterwards which of the two it was.
        """
        timeout = self.config.timeout or math.inf  # 0 means not to wait in the queue
        left = math.inf if limit is None else limit.left()
        return (left, limit) if left < timeout else (timeout, None)

    def waited_in_vain(self, limit: deadline | None, since: float) -> BaseException:
        """Return what a caller gets that has waited for a connection since then; `limit` is what `patience` says."""
        if limit is not None:
            return no_connection_in_time(self.config.name, limit.seconds)
        core = self.home.core()
        return pool_gone() if core is None else self._advised(core.timeout_error(since, _monotonic()))

    def _advised(self, error: PoolTimeout) -> PoolTimeout:
        """Return the error, which says so where the process has suspiciously many pools."""
        if advice := crowd_advice(self.home.pool()):
            error.args = (f"{error}; {advice}",)
        return error

    # -- their coming and going --------------------------------------------------------------------------------------

    def new_pipeline(self, connection: Any) -> Any:
        """Return a pipeline for a connection that is to be shared."""
        connection._redpool.slot.keep()
        pipeline = self._pipeline_class(*sharing.parser(connection), self.config.max_in_flight, self.batches)
        if connection.shaped:
            have_resp3s_shapes(pipeline)
        return pipeline

    def connect_failed(self, error: BaseException) -> None:
        """Take note that no connection was to be had. Where that is the server's fault, it has hung up on everybody."""
        if not sharing.settled(error):
            self.apart.forget_hang_ups()

    def has_enough(self) -> bool:
        """Return whether no further one is wanted."""
        return len(self._sound()) >= self.spread.wanted

    def _sound(self) -> list[C]:
        return [each for each in self._shared if each.state is _OPEN and not each.suspect]

    def _choose_among(self) -> None:
        """Have requests take those that they may: under `_changing`."""
        usable = self._usable()
        self.only = usable[0] if len(usable) == 1 else None

    def add_shared(self, connection: C, closings: int) -> None:
        """Have callers share a connection, those of a suspect one, too: the server answers here.

        `closings` are those there were when it began to connect: one that was begun before a close is closed, too.
        """
        with self._changing:
            before = self._shared
            self._shared = (*before, connection)
            self._choose_among()
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
        core = self.home.core()
        return core is not None and core.claims(_monotonic())

    def _suspect(self, connection: C) -> None:
        """Have another one connected. Once it is, requests go there: the server may be at fault, and answer none."""
        if connection.state is not _OPEN or len(self._ending) >= MOST_ENDING:
            return
        if connection is self._bulk:
            self.retire(connection)
        else:
            connection.suspect = True
            with self._changing:
                self._choose_among()
            self.connect_shared()

    def in_use(self) -> list[C]:
        """Return all that take requests."""
        bulk = self._bulk
        return [*self._shared, *([] if bulk is None else [bulk])]

    def see_to(self, connection: C) -> None:
        """Have a connection that is not open take nothing new, and release it once its end has come."""
        if connection.state is _OPEN:
            return
        over = connection.end()
        with self._changing:
            # Else another thread has been through here. An interruption from here on leaves it to maintenance.
            if connection in self.in_use() and connection not in self._ending:
                self._ending.append(connection)
            if connection in self._shared:
                self._shared = tuple(_without(self._shared, connection))
                self._choose_among()
            if connection is self._bulk:
                self._bulk = None
        if over:
            self._release(connection)
            with self._changing:
                self._ending = _without(self._ending, connection)

    def _release(self, connection: C) -> None:
        """Release a connection that is over to the pool, once."""
        try:
            released = connection.unreleased.pop()  # only one thread gets beyond this
        except IndexError:
            return
        self._cancelled += connection.pipeline.cancelled
        self._answered += connection.pipeline.answered
        unanswered = sum(each.expects or 1 for each in connection.pipeline.awaited() if each.gone)
        self._in_time += connection.pipeline.in_time + unanswered
        core, slot = self.home.core(), released._redpool.slot
        is_current = core is not None and not core.closed and slot.generation == core.generation
        if is_current and sharing.hung_up(connection.error):  # else the pool itself has cut it
            self.apart.note_hang_up(connection.pipeline.awaited())
        self.home.release(released)

    def all_there_are(self) -> list[C]:
        """Return those that take requests, and those that are ending."""
        return [*self._ending, *self.in_use()]

    def look_at(self, connection: C, now: float) -> None:
        """Do what is due about a connection."""
        core = self.home.core()
        slot: Slot = connection.connection._redpool.slot
        connection.take_patience()
        if core is None or slot.generation != core.generation or now >= slot.expires_at:
            self.retire(connection)
        pipeline, probe_after = connection.pipeline, sharing.probe_after(self.config, connection.connection)
        seen = pipeline.observe(now, connection.flow())
        action = health_action(
            pipeline, seen, connection.patience, ANSWER_WITHIN, sharing.retire_after(self.config), probe_after
        )
        connection.suspect = False
        if action is HealthAction.PROBE:
            connection.probe()
        elif action is HealthAction.SUSPECT:
            self._suspect(connection)
        elif action is HealthAction.RETIRE:
            self.retire(connection)
        elif action is HealthAction.LOSE:
            connection.lose(no_response(connection.connection._host_error(), seen.silent))
        self.see_to(connection)

    def look_for_gain(self, now: float) -> None:
        """Have as many shared as pay."""
        spread = self.spread
        if spread.most == 1 or self.closed:
            return
        sound = self._sound()
        spread.look(now, self.answers(), sum(each.pipeline.load for each in self._shared), len(sound))
        with self._changing:
            self._choose_among()
        if len(sound) > spread.wanted:
            self.retire(sound[-1])
        elif 0 < len(sound) < spread.wanted and not spread.quiet:
            self.connect_shared()

    def answers(self) -> int:
        """Return how many commands were answered; those of a connection that is just released may be missed once."""
        return self._answered + sum(each.pipeline.answered for each in self.all_there_are())

    def _may_send_again(self) -> bool:
        core = self.home.core()
        return core is None or core.may_send_again(self.in_time())

    def in_time(self) -> int:
        """Return how many commands were answered while their callers waited; fewer while replies are to be dropped."""
        return self._in_time + sum(each.pipeline.in_time for each in self.all_there_are())

    def look_for_claims(self) -> None:
        """Give a slot up where callers wait that only a release can serve."""
        if self._is_crowded():
            self.make_room()

    def look_for_others(self) -> None:
        """Retire all of them once others have replaced what sends and reads: callers go redis-py's way then."""
        if not self.home.may_share():
            self.retire_all()

    def looks_within(self, seconds: float) -> float:
        """Return for how long, up to so many seconds, maintenance may stay away for all that long waits want."""
        warn_wait = self.config.warn_wait
        return seconds if warn_wait is None else min(seconds, max(LEAST_IDLE_TIME, warn_wait / 4))

    def look_for_slow(self, now: float) -> float:
        """Have commands that are slow go over the bulk connection; return the seconds until the next look."""
        if self.slow is None:
            return math.inf
        heads = {each: head for each in self.all_there_are() if (head := each.pipeline.head) is not None}
        return self.slow.look(heads, self.answers(), now, self._unread)

    @staticmethod
    def _unread(connection: C) -> bool:
        return connection.has_unread()

    def look_for_long_waits(self, now: float) -> None:
        """Report a caller that waits for room or for a connect since `warn_wait`, once."""
        warn_wait = self.config.warn_wait
        if warn_wait is None or now < self._reported_at + APART:
            return
        waited = self.oldest_wait()
        if waited >= warn_wait and now - waited > self._reported_since + _SAME_WAIT:
            self._reported_at, self._reported_since = now, now - waited
            self.home.report_long_wait(waited)

    # -- what can be seen --------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Return how many are in flight, wait for room or for a connect, and were abandoned in all."""
        pipelines = [each.pipeline for each in self.all_there_are() if each.state is not _LOST]
        return {
            "in_flight": sum(each.in_flight for each in pipelines),
            "waiting": sum(each.waiting for each in pipelines) + len(self.awaiting_connect()),
            "cancelled": self._cancelled + sum(each.cancelled for each in pipelines),
        }

    def oldest_wait(self) -> float:
        """Return for how many seconds the longest-waiting request has waited for room or a connect; 0 for none."""
        now = _monotonic()
        waits = [each.pipeline.oldest_wait(now) for each in self.all_there_are()]
        return max(waits + [now - since for since, _ in self.awaiting_connect()], default=0.0)


def _without(connections: Iterable[C], one: C) -> list[C]:
    # A function of its own: see `tests/docs/test_loops.py`.
    return [each for each in connections if each is not one]
