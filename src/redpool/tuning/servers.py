"""Virtual servers: when a call is through that begins now. Pure; times are in seconds of the virtual clock.

A server is asked once for each lease, in the order of time: `through(now, hold)` returns when the reply is there.
`hold` is what the call asks for while all is well.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import NamedTuple, Protocol


class Server(Protocol):
    """What simulated calls and connects are sent to."""

    def through(self, now: float, hold: float) -> float:
        """Return when a call is through that begins now and asks for so many seconds."""

    def connected(self, now: float, seconds: float) -> float:
        """Return when a connect is through that begins now and asks for so many seconds."""


class Trouble(NamedTuple):
    """A span in which the server takes so many times longer; with an infinite `slowdown` it stands still."""

    start: float
    end: float
    slowdown: float = math.inf


class Parallel:
    """A server that is never the bottleneck: each call takes its own time, whatever the others do.

    It is what a record is replayed against, as the recorded holds have the server's share in them.
    """

    def __init__(self, troubles: Iterable[Trouble] = ()) -> None:
        self._troubles = in_order(troubles)

    def through(self, now: float, hold: float) -> float:
        """Return when a call is through that begins now and asks for so many seconds."""
        return finish(now, hold, self._troubles) if self._troubles else now + hold

    def connected(self, now: float, seconds: float) -> float:
        """Return when a connect is through that begins now and asks for so many seconds."""
        return self.through(now, seconds)


class OneByOne:
    """A server that executes one call at a time, as Redis does: `hold` is what it takes to execute the call.

    Half a round trip passes before and after. A connect takes `connect_work` of the server's time, too. What it has
    begun it executes to the end, also for a caller that has left.
    """

    def __init__(
        self, round_trip: float = 0.001, troubles: Iterable[Trouble] = (), connect_work: float = 0.0002
    ) -> None:
        self.round_trip = round_trip
        self.busy_until = 0.0
        self._connect_work = connect_work
        self._troubles = in_order(troubles)

    def through(self, now: float, hold: float) -> float:
        """Return when a call is through that begins now and asks for so many seconds of execution."""
        begins = max(now + self.round_trip / 2, self.busy_until)
        self.busy_until = finish(begins, hold, self._troubles)
        return self.busy_until + self.round_trip / 2

    def connected(self, now: float, seconds: float) -> float:
        """Return when a connect is through that begins now and asks for so many seconds."""
        return max(self.through(now, self._connect_work), finish(now, seconds, self._troubles))


def in_order(troubles: Iterable[Trouble]) -> tuple[Trouble, ...]:
    """Return the troubles by their start. Raises `ValueError` where one makes no sense, or two overlap."""
    ordered = tuple(sorted(troubles))
    for trouble in ordered:
        if not 0 <= trouble.start < trouble.end or trouble.slowdown < 1:
            raise ValueError(f"a trouble needs 0 <= start < end and a slowdown of at least 1, not {trouble!r}")
    for before, after in itertools.pairwise(ordered):
        if after.start < before.end:
            raise ValueError(f"two troubles overlap: {before!r} and {after!r}")
    return ordered


def finish(now: float, work: float, troubles: tuple[Trouble, ...]) -> float:
    """Return when so many seconds of work are done that begin now, at the pace that the troubles allow."""
    for start, end, slowdown in troubles:
        if end <= now:
            continue
        if now + work <= start:
            break
        before = max(0.0, start - now)
        work -= before
        now += before
        done = (end - now) / slowdown
        if done >= work:
            return now + work * slowdown
        work -= done
        now = end
    return now + work
