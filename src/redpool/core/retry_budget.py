"""How many late commands may be sent again: few beside those that are answered.

A command whose reply is late may be sent again by the caller's retry policy. While the server is slow, each of these is
more work for it, which makes more replies late: the load that retries add keeps the server down long after what slowed
it has passed (Bronson et al., "Metastable Failures in Distributed Systems", HotOS 2021). So all retries of a pool share
a budget, as in gRPC's retry throttling and in Google's "Site Reliability Engineering", chapter 22.

What was not sent needs no token, nor what a replica has refused: neither has cost the server anything. A command whose
connection was closed needs none either: the back-off, `max_connecting` and the breaker limit connects already.
"""

from __future__ import annotations

SHARE = 0.1
"""Tokens that each answered command adds."""

FIRST = 10.0
"""Tokens that there are at first."""

MOST = 1000.0
"""The most tokens that are kept, as gRPC allows: callers of a busy pool that wait together are late together."""


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
        """Take a token for a late command, where `answered` others were by now. Return whether there was one.

        Answers are counted only here, by their difference: on their own way they cost nothing.
        """
        # A count may fall for a moment, while a connection's answers go over to those of all that are gone.
        since = max(0, answered - self._answered)
        self._answered += since
        tokens = min(MOST, self._tokens + since * SHARE)
        if tokens < 1:
            self._tokens = tokens
            self.refused += 1
            return False
        self._tokens = tokens - 1
        return True
