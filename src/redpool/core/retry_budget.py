"""How many late commands may be sent again: few beside those that are answered.

A command whose reply is late may be sent again by the caller's retry policy. While the server is slow, each of these is
more work for it, which makes more replies late: the load that retries add keeps the server down long after what slowed
it has passed (Bronson et al., "Metastable Failures in Distributed Systems", HotOS 2021). So all retries of a pool share
a budget, as in gRPC's retry throttling and in Google's "Site Reliability Engineering", chapter 22.

Replies that come when their callers have left earn no token: a server that is late with all of them would pay for its
retries for ever.

Callers that wait together are late together: with ten tokens at most, a server that stood still failed 190 calls of
200. In the model of `tests/unit/tuning/test_overload.py`, 2 000 commands a second at load 0.9 and 4 times slower for a
second, all is well again after 5.8 s with ten at most (as without retries), 6.7 s with 250, and 8.5 s with a thousand.

What was not sent needs no token, nor what a replica has refused: neither has cost the server anything. A command whose
connection was closed needs none either: the back-off, `max_connecting` and the breaker limit connects already.
"""

from __future__ import annotations

SHARE = 0.1
"""Tokens that each command adds that is answered in time."""

FIRST = 10.0
"""Tokens that there are at first."""

MOST = 250.0
"""The most tokens that are kept."""


class RetryBudget:
    """The tokens of one pool.

    Threads may ask at once, without a lock: then one of them may go on with another's token, or for free.
    """

    __slots__ = ("_answered", "_tokens", "refused")

    def __init__(self) -> None:
        self._tokens = FIRST
        self._answered = 0
        self.refused = 0
        """late commands that were not sent again since there was no token left"""

    def take(self, answered: int) -> bool:
        """Take a token for a late command, where `answered` others were in time. Return whether there was one.

        Answers are counted only here, by their difference: on their own way they cost nothing.
        """
        # A count may fall for a moment: a connection's answers go over to those of all that are gone, and late replies
        # are taken off before they come.
        since = max(0, answered - self._answered)
        self._answered += since
        tokens = min(MOST, self._tokens + since * SHARE)
        if tokens < 1:
            self._tokens = tokens
            self.refused += 1
            return False
        self._tokens = tokens - 1
        return True
