"""Which waiters a pool turns away while it is overloaded: CoDel, with a look at each caller's deadline.

CoDel ("Controlled Delay", Nichols and Jacobson, RFC 8289) tells a standing queue from a burst by one number: the
*shortest* wait of the last 100 ms. A burst is over in that time, and the last of its callers has waited briefly; in a
standing queue all have waited long. It is applied as Facebook's server queues do it (Maurer, "Fail at Scale", ACM
Queue 13/8, 2015; folly's `Codel.h`): while the queue stands, a caller that has waited for more than twice the target
is turned away when its turn comes.

A caller that would get its connection too late for its deadline is turned away, too, at once or at its turn. What a
call takes is estimated by the median of the last 31 uses: a mean would follow a few slow ones. An estimate that only
successes renew could shut a pool for ever, so that the last waiter always goes, and a caller that is alone is never
turned away. What was simulated: `docs/overload.md`.

Room on a shared connection is shed alike; there a use is the time for which a command is in flight.
"""

from __future__ import annotations

from .recent import Usual
from .waiters import Ticket

TARGET = 0.005
"""Seconds that callers may wait for long; twice the median use where that is more."""

INTERVAL = 0.1
"""Seconds within which a burst must be over."""


class Shedding:
    """What a pool knows of its queue in order to turn callers away. The owner holds its lock."""

    __slots__ = ("_interval_ends", "_shortest", "_uses", "overloaded", "shed")

    def __init__(self, uses: Usual, now: float) -> None:
        self._uses = uses
        self._interval_ends = now
        self._shortest = 0.0  # wait in this interval
        self.overloaded = False
        """whether the queue stands"""
        self.shed = 0
        """callers turned away"""

    @property
    def usual_use(self) -> float:
        """Seconds that a caller keeps a connection, most often; 0 as long as nothing is known."""
        return self._uses.usual

    @property
    def target(self) -> float:
        """Seconds that callers may wait for long."""
        return max(TARGET, 2 * self.usual_use)

    def queue_begins(self) -> None:
        """Note that a caller joins that finds no other waiting: no queue has stood."""
        self._shortest = 0.0

    def turn_comes(self, waited: float, now: float) -> bool:
        """Note that a connection is free for the first waiter. Return whether it has waited too long to get it."""
        target = self.target
        if now >= self._interval_ends:
            # Of an interval in which no turn came, nothing is known.
            self.overloaded = self._shortest > target and now < self._interval_ends + INTERVAL
            self._interval_ends, self._shortest = now + INTERVAL, waited
        else:
            self._shortest = min(self._shortest, waited)
        return self.overloaded and waited > 2 * target

    def comes_too_late(self, ahead: int, in_use: int, ticket: Ticket, now: float) -> bool:
        """Return whether a caller can't have its turn, or not be done, in time, with so many ahead of it."""
        use = self.usual_use
        turn = now + use * (ahead + 1) / max(1, in_use)
        return turn > ticket.deadline or turn + use > ticket.end
