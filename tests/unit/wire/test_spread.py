"""Over how many multiplexed connections requests are spread: made-up servers and callers, a clock turned by hand."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from redpool.testing import Clock
from redpool.wire.routing import CONNECT_LOOKS, FIRST_PAUSE, LONGEST_PAUSE, QUIET_LOOKS, Spread

Server = Callable[[int], float]
"""The replies a second that it has for so many connections, all of them busy."""


def thread_per_connection(rate: float) -> Server:
    """A server that serves each connection by a thread of its own."""
    return lambda connections: rate * connections


def one_thread(rate: float) -> Server:
    """A server whose capacity all connections share."""
    return lambda connections: rate


class Pool:
    """A pool that has what the rule wants, and callers that each ask again once they are answered."""

    def __init__(self, server: Server, callers: float, most: int = 4, noise: float = 0.0) -> None:
        self.server, self.callers = server, callers
        self.at_most = float("inf")  # replies a second that the callers can take in
        self.spread = Spread(most)
        self.clock = Clock()
        self.available = most  # connections that can be had
        self.trials: list[float] = []  # when they began
        self._answered = 0.0
        self._noise, self._dice = noise, Random(7)

    def run(self, seconds: int) -> None:
        """Go on for so long, with a look each second."""
        for _ in range(seconds):
            self.second()

    def second(self) -> None:
        """Go on for a second."""
        spread = self.spread
        rate = min(self.server(min(spread.taking, self.available)), self.at_most) if self.callers else 0.0
        wanted = spread.wanted
        self._answered += rate * self._dice.uniform(1 - self._noise, 1 + self._noise)
        spread.look(self.clock.advance(1.0), int(self._answered), int(self.callers), min(spread.wanted, self.available))
        if spread.wanted > wanted:
            self.trials.append(self.clock.now)
        assert 1 <= spread.kept <= spread.taking <= spread.wanted <= min(spread.kept + 1, spread.most)

    @property
    def kept(self) -> int:
        """How many have proved to pay."""
        return self.spread.kept


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_as_many_as_may_be_where_each_has_a_thread(noise: float) -> None:
    """A server that serves each connection by a thread of its own gets as many as may be, one after the other."""
    pool = Pool(thread_per_connection(50_000), callers=100, noise=noise)
    pool.run(15)
    assert pool.kept == 2
    pool.run(60)
    assert pool.kept == pool.spread.taking == 4
    pool.run(600)
    assert pool.kept == 4
    assert len(pool.trials) == 3


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3])
def test_one_where_capacity_is_shared(noise: float) -> None:
    """Where a second connection gains nothing none is kept, and it is tried ever more seldom."""
    pool = Pool(one_thread(50_000), callers=100, noise=noise)
    pool.run(3600)
    assert pool.kept == 1
    pauses = [after - before for before, after in zip(pool.trials, pool.trials[1:], strict=False)]
    assert min(pauses) >= FIRST_PAUSE
    assert pauses[-1] >= LONGEST_PAUSE / 2
    assert len(pool.trials) < 12


def test_as_many_as_the_callers_can_use() -> None:
    """Two connections are kept where the callers can take in what two threads of the server's answer, and no more."""
    pool = Pool(thread_per_connection(50_000), callers=100)
    pool.at_most = 90_000
    pool.run(600)
    assert pool.kept == 2


def test_a_failed_trial_is_short() -> None:
    """One window that is no better ends it: the connection takes requests for one second in ten, at first."""
    pool = Pool(one_thread(50_000), callers=100)
    seconds = []
    for _ in range(int(FIRST_PAUSE)):
        pool.second()
        seconds.append(pool.spread.taking)
    assert seconds.count(2) == 1
    assert pool.spread.wanted == 1


@pytest.mark.parametrize("change", [0.8, 0.9, 1.1, 1.25])
def test_a_load_that_changes_is_no_gain(change: float) -> None:
    """More or fewer callers each second, and so more or fewer replies, look like a gain only to a naive rule."""
    pool = Pool(one_thread(1e9), callers=10_000)
    for _ in range(40):
        pool.server = one_thread(pool.callers * 100)
        pool.second()
        pool.callers = max(50.0, pool.callers * change)
    assert pool.trials
    assert pool.kept == 1


def test_replies_that_come_in_half_the_time_are_a_gain() -> None:
    """Callers that don't ask more often, since none waits for its reply to ask again, are answered sooner."""
    pool = Pool(one_thread(9_000), callers=0)
    for _ in range(20):
        pool.callers = 40 if pool.spread.taking == 1 else 12
        pool.second()
    assert pool.kept == 2


@pytest.mark.parametrize("callers", [0, 1, 7])
def test_none_is_tried_with_little_to_do(callers: int) -> None:
    """A few requests under way need no second connection, whatever the server."""
    pool = Pool(thread_per_connection(5_000), callers=callers)
    pool.run(300)
    assert not pool.spread.decisions


def test_none_is_tried_on_a_server_that_is_silent() -> None:
    """A server that answers nothing is no reason to try another connection."""
    pool = Pool(thread_per_connection(0), callers=1_000)
    pool.run(300)
    assert not pool.spread.decisions


def test_none_above_the_maximum() -> None:
    """Without `shared_connections` above 1 there is no trial."""
    pool = Pool(thread_per_connection(50_000), callers=1_000, most=1)
    pool.run(300)
    assert not pool.spread.decisions


def test_slow_replies_make_windows_long() -> None:
    """What was under way at a switch doesn't count for the other side: windows last until much more is answered."""
    pool = Pool(thread_per_connection(100), callers=200)
    pool.run(30)
    assert pool.kept == 1  # a window lasts for sixteen seconds here
    pool.run(400)
    assert pool.kept > 1


def test_one_that_is_not_to_be_had_is_given_up() -> None:
    """A connection that the server or `max_connections` denies is not waited for, nor asked for again at once."""
    pool = Pool(thread_per_connection(50_000), callers=100)
    pool.available = 1
    pool.run(4 + CONNECT_LOOKS)
    assert pool.spread.wanted == 1
    assert "not to be had" in pool.spread.decisions[-1][1]
    pool.run(int(FIRST_PAUSE) - 1)
    assert len(pool.trials) == 1


def test_one_that_is_lost_on_trial_is_given_up() -> None:
    """A trial ends with its connection."""
    pool = Pool(thread_per_connection(50_000), callers=100)
    pool.run(7)
    assert pool.spread.wanted == 2
    pool.available = 1
    pool.run(1)
    assert (pool.spread.wanted, pool.spread.taking) == (1, 1)


def test_kept_ones_are_retired_where_it_is_quiet() -> None:
    """One goes for each minute with hardly anything under way; a moment with much starts it anew."""
    pool = Pool(thread_per_connection(50_000), callers=100, most=3)
    pool.run(60)
    assert pool.kept == 3
    pool.callers = 2
    pool.run(QUIET_LOOKS - 1)
    pool.callers = 100
    pool.run(1)
    pool.callers = 2
    pool.run(QUIET_LOOKS - 1)
    assert (pool.kept, pool.spread.quiet) == (3, True)
    pool.run(1)
    assert pool.kept == 2
    pool.run(QUIET_LOOKS)
    assert pool.kept == 1
    assert "retired shared connection 2" in pool.spread.decisions[-1][1]
    pool.run(10 * QUIET_LOOKS)
    assert pool.kept == 1


def test_a_look_too_soon_tells_nothing() -> None:
    """Looks that come more often, as with a short `socket_timeout`, make windows no shorter."""
    spread, clock = Spread(2), Clock()
    for number in range(1, 100):
        spread.look(clock.advance(0.02), 1_000 * number, 50, 1)
    assert spread.wanted == 1


def test_decisions_say_why() -> None:
    """Each has the figures that it was made by; the latest few are kept."""
    pool = Pool(thread_per_connection(50_000), callers=100, most=2)
    pool.run(30)
    assert [what for _, what in pool.spread.decisions] == [
        "opened shared connection 2 on trial: 50000 replies/s, 100 under way",
        "kept shared connection 2: 100000 replies/s, 100 under way with it; "
        "50000 replies/s, 100 under way before, 50000 replies/s, 100 under way after",
    ]
