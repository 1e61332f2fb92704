"""The shared connections of one pool in one process: which one a call takes, and their coming and going.

A shared connection is a lease that the pool itself holds: it is dialled, counted and closed like any other, and takes
one of the pool's places. Callers who find none wait for the one who dials. What would hold the others up, long
pipelines and what was large the last time, has a connection of its own to share, where there is a place for it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
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
from . import threads
from .lane import Lane
from .threads import seen_at

logger = logging.getLogger("redpool")

_monotonic = time.monotonic
_NEVER = float("inf")
# Whoever opens one for all may be struck, so nobody sleeps on for longer than this, in seconds.
_LONGEST_SLEEP = 1.0


class Reentered(Exception):
    """This very thread was interrupted in the midst of what it would have to wait for now."""


class Lanes:
    """What `MultiplexedConnectionPool` shares."""

    def __init__(self, config: SharedConfig, dial: Callable[[bool], Any], give_back: Callable[[Any], None]) -> None:
        self.config = config
        self.batches = [0] * (sharing.LARGEST_BATCH + 1)
        self.heavy = sharing.Heavy()
        self.closed = False
        self._nobody_waits = config.max_waiting == 0
        self._dial, self._give_back = dial, give_back
        self._shared: tuple[Lane, ...] = ()
        self._only: Lane | None = None  # where there is just one to choose
        self._bulk: Lane | None = None
        self._leaving: list[Lane] = []  # retired or dead, and still to be given back
        self._abandoned = 0  # by the callers of connections that are gone
        self._opening = threading.RLock()  # held for as long as a dial takes
        self._changing = threading.RLock()  # held while one of the lists changes
        self._opening_beside = False  # a thread is at it
        self._failures = 0
        self._failed: BaseException | None = None

    # -- a call ------------------------------------------------------------------------------------------------------

    def execute(self, entry: Entry, limit: deadline | None) -> Any:
        """Send and wait: the reply to a command, or the list of them. Error replies are returned, not raised."""
        while True:
            if limit is not None and limit.reached():
                raise sharing.too_late(limit, False)
            lane = self.pick(entry)
            if not lane.call(entry, limit):
                raise self.late(lane, entry, limit)
            if entry.error is None:
                if entry.large or entry.heavy or lane.retired:
                    self._afterwards(lane, entry)
                return entry.replies
            self._move(lane, entry)

    def send(self, entry: Entry) -> Lane:
        """The first half of `execute`."""
        while True:
            lane = self.pick(entry)
            lane.send(entry)
            if entry.error is None or entry.sent:
                return lane
            self._move(lane, entry)

    def wait(self, lane: Lane, entry: Entry) -> Any:
        """The second half of `execute`."""
        limit = current()
        if not lane.wait(entry, limit):
            raise self.late(lane, entry, limit)
        if entry.error is None:
            self._afterwards(lane, entry)
            return entry.replies
        self._move(lane, entry)
        return self.execute(entry, limit)

    def _afterwards(self, lane: Lane, entry: Entry) -> None:
        self.heavy.note(entry)
        self.see_off(lane)

    def _move(self, lane: Lane, entry: Entry) -> None:
        """The connection is gone: what was not sent may go over another one, what was sent may have run."""
        self.see_off(lane)
        assert entry.error is not None
        if entry.sent:
            raise sharing.lost(entry, entry.error, self.config.retry_sent)
        if entry.moves >= MOST_MOVES:
            raise connections.own_error(entry.error)
        entry.renew()

    def late(self, lane: Lane, entry: Entry, limit: deadline | None) -> BaseException:
        """The caller leaves; what he is told."""
        if limit is not None and limit.reached():
            return sharing.too_late(limit, entry.sent)
        if not entry.sent:
            return PoolTimeout(f"{self.config.name}: {lane.core.in_flight} commands in flight left no room in time")
        return sharing.late(entry, lane.connection, self.config.retry_sent)

    # -- which connection --------------------------------------------------------------------------------------------

    def pick(self, entry: Entry) -> Lane:
        """The connection that has the least to do, of those that the entry may take."""
        best = self._only
        if best is None or best.retired or len(entry.data) > LARGE_REQUEST or entry.expects or self.heavy.known:
            best = self._choose(entry)
        if best.writes() or best.reads():
            if best.reentered():
                raise Reentered
            best = self._choose(entry)
        if (best.core.queued or self._nobody_waits) and best.core.full:
            self._check_queue(best)
        return best

    def _choose(self, entry: Entry) -> Lane:
        best: Lane | None
        entry.heavy = self.heavy.knows(entry)
        if entry.heavy or len(entry.data) > LARGE_REQUEST or entry.expects > LONG_PIPELINE:
            best = self._bulk
            if best is None or best.retired:
                best = self._open_bulk()
            if best is not None:
                return best
        best = None
        for lane in self._shared:
            if not lane.retired and (best is None or lane.core.load < best.core.load):
                best = lane
        if best is None:
            return self._open()
        if best.core.load and len(self._shared) < self.config.shared_connections:
            self._open_beside()
        return best

    def _check_queue(self, lane: Lane) -> None:
        most, waiting = self.config.max_waiting, lane.core.waiting
        if most is not None and waiting >= most:
            raise PoolFull(f"{self.config.name}: {lane.core.in_flight} commands in flight, {waiting} waiting")

    def _open(self) -> Lane:
        """Open one; callers who find somebody at it wait for him."""
        if self._opens():
            raise Reentered
        limit, patience = current(), self.config.timeout
        longest = patience or _NEVER  # a dial is no queue: 0 doesn't mean not to wait for it
        if limit is not None:
            longest = min(longest, limit.left())
        before = self._failures
        try:
            if not self._wait_to_open(longest):
                raise self._nobody_opened(limit)
            usable = [lane for lane in self._shared if not lane.retired]
            if usable:
                return min(usable, key=lambda lane: lane.core.load)
            if self._failures > before and self._failed is not None:
                raise final(connections.own_error(self._failed))
            return self._add(self._opened())
        finally:
            if self._opens():
                self._opening.release()

    def _add(self, lane: Lane) -> Lane:
        with self._changing:
            self._shared = (*self._shared, lane)
            self._only = lane if self.config.shared_connections == 1 else None
        return lane

    def _open_beside(self) -> None:
        """Have a thread open another one, since the others are busy; there may be no place for it."""
        if not self._opening_beside:
            self._opening_beside = True
            try:
                threads.start(self._open_one_more, f"redpool {self.config.name} shared connection")
            except RuntimeError:  # no thread is to be had
                self._opening_beside = False

    def _open_one_more(self) -> None:
        try:
            with self._opening:
                if len(self._shared) < self.config.shared_connections:
                    self._add(self._opened(spare=True))
        except Exception as error:
            logger.debug("%s: no further shared connection: %s", self.config.name, error)
        finally:
            self._opening_beside = False

    def _wait_to_open(self, seconds: float) -> bool:
        """Whether it is the caller's turn to open one, within so many seconds."""
        end = _monotonic() + seconds
        while not self._opening.acquire(timeout=max(0.0, min(end - _monotonic(), _LONGEST_SLEEP))):
            if _monotonic() >= end:
                return False
            if not seen_at(Lanes._opened, self):
                self._opening = threading.RLock()  # whoever held it was struck on his way out
        return True

    def _opens(self) -> bool:
        return self._opening._is_owned()  # type: ignore[attr-defined, no-any-return]

    def _nobody_opened(self, limit: deadline | None) -> BaseException:
        if limit is not None and limit.reached():
            return DeadlineExceeded(f"the deadline of {limit.seconds:g} s came before a connection")
        return PoolTimeout(f"{self.config.name}: no shared connection was opened in time")

    def _open_bulk(self) -> Lane | None:
        """A connection for what holds others up; `None` where there is no place for it."""
        if self._opens():
            return None
        try:
            if not self._opening.acquire(False):
                return None
            if self._bulk is None or self._bulk.retired:
                self._bulk = self._opened(spare=True)
            return self._bulk
        except Exception as error:
            logger.debug("%s: no shared connection for large things: %s", self.config.name, error)
            return None
        finally:
            if self._opens():
                self._opening.release()

    def _opened(self, spare: bool = False) -> Lane:
        if self.closed:
            raise PoolClosed(f"{self.config.name}: the pool is closed")
        try:
            connection = self._dial(spare)
        except Reentered:
            raise
        except Exception as error:
            self._failures, self._failed = self._failures + 1, error
            final(error)
            raise
        self._failed = None
        keep(connection._redpool.slot)
        core = MuxCore(*sharing.parser(connection), self.config.max_in_flight, self.batches)
        lane = Lane(connection, core, self.config.timeout)
        lane.retired = self.closed
        return lane

    # -- their coming and going --------------------------------------------------------------------------------------

    def retire(self, lane: Lane) -> None:
        """It takes nothing new, and is given back once everything in its line is answered."""
        lane.retired = True
        with self._changing:
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
        bulk = self._bulk
        return [*self._shared, *([] if bulk is None else [bulk])]

    def see_off(self, lane: Lane) -> None:
        """Give a connection back that has nothing in its line, or is dead, unless somebody is still at it."""
        if not lane.retired:
            return
        if lane not in self._leaving:
            self.retire(lane)
            return
        if lane.let_go():
            with contextlib.suppress(ValueError):
                self._leaving.remove(lane)  # only one caller gets beyond this
                self._abandoned += lane.core.abandoned
                self._give_back(lane.connection)

    def tick(self, now: float, generation: int) -> None:
        """What is due: called now and then, by the pool's housekeeper."""
        for lane in [*self._leaving, *self.lanes()]:
            lane.look_after()
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
