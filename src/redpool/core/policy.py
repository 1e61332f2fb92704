"""The rules of thumb, each a small function: which connection, when to grow, how long to pause, what to trust."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.5
PAUSE_JITTER = 0.2
FULL_PAUSE = 1.0

# So many failures in a row may be passing ones: the next caller has a connect of its own at once.
PASSING_FAILURES = 3

# A server that denies the credentials may lock the account after a few more attempts.
FIRST_DENIED_PAUSE = 1.0
LONGEST_DENIED_PAUSE = 30.0
"""where a caller needs the connect"""
LONGEST_DENIED_BACKGROUND_PAUSE = 300.0
"""where none does"""

# However short the times that a user sets, maintenance comes round no sooner than this, in seconds.
LEAST_IDLE_TIME = 0.05

# A pool that sizes itself and doesn't grow for the callers that wait looks again after so many seconds, at the soonest.
LEAST_SIZING_TIME = 0.001

# A call that is seen so many seconds after its deadline is cut off if it still goes on after so many more. The two
# looks are counted apart: a process that was halted goes on beyond its deadlines, and its calls then end by themselves.
CALL_GRACE = 0.01
CALL_LAST_GRACE = 0.05

# For how long, in seconds, a connect that may take for ever counts as under way.
LONGEST_CONNECT = 30.0

# All connections are replaced at most once in so many seconds because a replica has refused a write.
REPLACED_AGAIN_AFTER = 5.0

LEAST_PATIENCE = 0.010
MOST_PATIENCE = 0.100


def picker(order: str, random: Random) -> Callable[[int], int] | None:
    """Return what chooses of `n` idle connections (newest last) the index of the next; `None` for the newest."""
    if order == "fifo":
        return lambda _n: 0
    if order == "random":
        return random.randrange
    return None


def lifetime(max_lifetime: float, jitter: float, random: Random) -> float:
    """Return how many seconds one connection may live: shortened by up to `jitter`, so that they don't end together."""
    return max(LEAST_IDLE_TIME, max_lifetime * (1 - jitter * random.random()))


def pause_after(failures: int, random: Random) -> float:
    """Return the seconds until the next connect after so many failures: doubling, capped, shortened by some jitter."""
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 10))
    return float(pause * (1 - PAUSE_JITTER * random.random()))


def pause_when_full(random: Random) -> float:
    """Return the seconds until a server is asked again that has all the clients it allows: with some jitter."""
    return FULL_PAUSE * (1 + PAUSE_JITTER * random.random())


def pause_when_denied(denials: int, random: Random) -> float:
    """Return the seconds until the next connect after so many denials: doubling, lengthened by some jitter."""
    pause = min(LONGEST_DENIED_BACKGROUND_PAUSE, FIRST_DENIED_PAUSE * 2 ** min(denials - 1, 10))
    return float(pause * (1 + PAUSE_JITTER * random.random()))


def growth_patience(mean_connect: float, timeout: float | None) -> float:
    """Return how many seconds a queue may last before the pool connects more for it.

    In the time of a few connects a burst of short commands is over, served by few connections. Where callers still
    queue then, or where nothing has come back in that time, the pool is too small for its load.
    """
    patience = min(MOST_PATIENCE, max(LEAST_PATIENCE, 4 * mean_connect))
    # The caller that waits only briefly must see the connect, too.
    return patience if timeout is None else min(patience, timeout / 4)
