"""The connections that no caller has: idle ones, and those that are being validated meanwhile."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from random import Random

from . import policy
from .config import PoolConfig
from .slot import Slot, State


class IdleSet:
    """Idle slots, the newest last; slots being validated; and since when there have been so many of both.

    `since` has an entry for each of both: when their number last rose to 1, 2, 3, ... So its first entry says since
    when one of them has not been needed, whichever the order in which they are taken.

    What must stay true: `len(since) == len(slots) + len(validating)`. `PoolCore.acquire` and `release` do inline what
    `take` and `put` do.
    """

    __slots__ = ("_min_idle", "max_idle_time", "pick", "since", "slots", "validating")

    def __init__(self, config: PoolConfig, random: Random) -> None:
        self.slots: deque[Slot] = deque()  # a list that has one now and then would be allocated anew each time
        self.validating: set[Slot] = set()
        self.since: deque[float] = deque()
        self.pick = policy.picker(config.order, random)
        """chooses the index of the one that is taken; `None` for the newest"""
        self._min_idle = config.min_idle
        self.max_idle_time = math.inf if config.max_idle_time is None else config.max_idle_time

    def __len__(self) -> int:
        return len(self.slots)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self.slots)

    @property
    def ready(self) -> int:
        """How many there are, with those that are being validated."""
        return len(self.since)

    def take(self) -> Slot:
        """Take one out, in the pool's order."""
        slot = self.slots.pop() if self.pick is None else self.take_at(self.pick(len(self.slots)))
        self.since.pop()
        return slot

    def take_at(self, place: int) -> Slot:
        """Take out the one at that place, without what is said of how many there are."""
        slot = self.slots[place]
        del self.slots[place]
        return slot

    def put(self, slot: Slot, now: float) -> None:
        """Put in a connection that a caller has just used, or that was just opened."""
        slot.state = State.IDLE
        slot.verified_at = now
        self.slots.append(slot)
        self.since.append(now)

    def put_oldest(self, slot: Slot, since: float, now: float) -> None:
        """Put in one that was validated; it is no newer for that, and has not been needed since then."""
        slot.state = State.IDLE
        slot.verified_at = now
        self.slots.appendleft(slot)
        self.since.append(since)

    def remove(self, slot: Slot) -> None:
        """Take out this one."""
        self.slots.remove(slot)
        self.since.pop()

    def take_excess(self, now: float) -> Slot | None:
        """Take out the one that was put in first, where so many have not been needed for `max_idle_time`."""
        return None if now < self.excess_at() else self.take_oldest()

    def take_oldest(self) -> Slot:
        """Take out the one that was put in first: of those that are not needed there is one less."""
        self.since.popleft()
        return self.slots.popleft()

    def excess_at(self) -> float:
        """Return when there is one too many, unless it is needed before."""
        if not self.slots or len(self.since) <= self._min_idle:
            return math.inf
        return self.since[0] + self.max_idle_time

    # -- validation --------------------------------------------------------------------------------------------------

    def set_aside(self, slot: Slot, begun: bool) -> bool:
        """Keep an idle connection from callers until it is validated. Return whether it was idle."""
        if slot.state is not State.IDLE:
            return False
        slot.begun = begun
        self.slots.remove(slot)
        slot.state = State.VALIDATING
        self.validating.add(slot)
        return True

    def set_aside_returned(self, slot: Slot, now: float) -> None:
        """Keep a connection that comes back from callers until it is validated."""
        slot.begun = False
        slot.state = State.VALIDATING
        slot.since = now
        self.validating.add(slot)
        self.since.append(now)

    def validated(self, slot: Slot) -> float:
        """Take out one that was validated; return since when it has not been needed."""
        self.validating.discard(slot)
        return self.since.pop()

    # -- repair ------------------------------------------------------------------------------------------------------

    def rebuild(self, slots: Iterable[Slot], now: float) -> None:
        """Hold the slots that are idle or being validated by their state; those that were idle keep their order."""
        slots = list(slots)
        idle = [slot for slot in dict.fromkeys((*self.slots, *slots)) if slot.state is State.IDLE]
        self.slots.clear()
        self.slots.extend(idle)
        validating = [slot for slot in slots if slot.state is State.VALIDATING]
        self.validating.clear()
        self.validating.update(validating)
        ready = len(self.slots) + len(validating)
        while len(self.since) > ready:
            self.since.pop()
        self.since.extend([now] * (ready - len(self.since)))
