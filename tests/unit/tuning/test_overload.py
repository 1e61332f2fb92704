"""Overload in the production core: a server of 8 000 commands a second, 16 connections, callers that have 100 ms."""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import hiredis
import pytest

from redpool.core.config import PoolConfig
from redpool.core.pool import PoolCore
from redpool.core.retry_budget import RetryBudget
from redpool.core.shedding import TARGET
from redpool.tuning import workloads
from redpool.tuning.servers import OneByOne, Trouble
from redpool.tuning.simulator import Manner, Outcome, Simulator, quantile
from redpool.tuning.workloads import Caller, Workload
from redpool.wire.pipeline import Pipeline, Request

CAPACITY = 8000
EXECUTION = workloads.fixed(1 / CAPACITY)
DEADLINE = 0.1
NOT_ENOUGH = object()
USE = 16 / CAPACITY + 0.001
"""what a call takes while all connections are busy: its turn at the server, and a round trip"""


def simulated(
    workload: Workload, seconds: float, troubles: Sequence[Trouble] = (), retries: int = 0, **options: Any
) -> Outcome:
    simulator = Simulator(
        PoolConfig(max_connections=16, **options), OneByOne(0.001, troubles), seed=1, warm=True, keep_replies=True,
        manner=Manner(deadline=DEADLINE, retries=retries),
    )  # fmt: skip
    return simulator.run(workload(Random(1), seconds), seconds)


def load(share: float) -> Workload:
    return workloads.poisson(share * CAPACITY, EXECUTION)


def good(outcome: Outcome, start: float, end: float) -> float:
    """Replies a second in that span; all of them came within the deadline."""
    return (bisect_left(outcome.replied_at, end) - bisect_left(outcome.replied_at, start)) / (end - start)


class Unbounded(RetryBudget):
    """No budget at all."""

    __slots__ = ()

    def take(self, answered: int) -> bool:
        return True


class Shared:
    """Callers that share one connection, and send a late command again at once, as the retry budget allows.

    The pool's own core, pipeline and budget decide; what is sent the server does, whether its caller waits or not.
    """

    capacity = 2000

    def __init__(self, trouble: Trouble, retries: int) -> None:
        self.core = PoolCore(PoolConfig(), 0.0, Random(1), 5.0)
        self.core.tries_again = True
        self.pipeline = Pipeline(hiredis.Reader(notEnoughData=NOT_ENOUGH), NOT_ENOUGH, None, 1_000_000, [0] * 9)
        self.server, self.retries = OneByOne(0.001, [trouble]), retries
        self.replied_at: list[float] = []
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def run(self, share: float, seconds: float) -> None:
        for caller in workloads.poisson(share * self.capacity, workloads.fixed(0.0))(Random(1), seconds):
            self._at(caller.at, self._send, self.retries)
        while self._due:
            now, _, do, arguments = heapq.heappop(self._due)
            if now < seconds:
                do(*arguments, now)

    def _at(self, at: float, do: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._due, (at, next(self._numbers), do, arguments))

    def _send(self, retries: int, now: float) -> None:
        request = Request(("GET", "k"), b"")
        self.pipeline.begin(request)
        self._at(self.server.through(now, 1 / self.capacity), self._receive)
        self._at(now + DEADLINE, self._leave, request, retries)

    def _receive(self, now: float) -> None:
        answered: list[Request] = []
        self.pipeline.receive(b"+OK\r\n", 5, answered.append, answered)
        if not answered[0].gone:
            self.replied_at.append(now)

    def _leave(self, request: Request, retries: int, now: float) -> None:
        if request.done:
            return
        self.pipeline.abandon(request)
        if self.core.may_send_again(self.pipeline.in_time) and retries:
            self._send(retries - 1, now)


@pytest.mark.parametrize(
    ("share", "trouble", "retries", "seconds"),
    [(0.8, Trouble(0.5, 1.1), 2, 4.5), (0.7, Trouble(0.5, 1.5, 4), 3, 4.5)],
    ids=["stopped", "slower"],
)
def test_the_retry_budget_has_a_shared_connection_recover(
    share: float, trouble: Trouble, retries: int, seconds: float
) -> None:
    """All is well once the server has made up for the trouble; without the budget retries keep it down for ever."""
    bounded, unbounded = Shared(trouble, retries), Shared(trouble, retries)
    unbounded.core.retry_budget = Unbounded()
    for shared in (bounded, unbounded):
        shared.run(share, seconds)
    answered = [bisect_left(shared.replied_at, seconds - 1) for shared in (bounded, unbounded)]
    assert len(bounded.replied_at) - answered[0] >= 0.95 * share * Shared.capacity
    assert len(unbounded.replied_at) == answered[1]
    assert bounded.core.retry_budget.refused > 0


def test_an_overloaded_pool_answers_what_its_server_can() -> None:
    """At load 1.3 at least 95 % of the capacity is answered, at most three targets and a use after the caller came.

    The latter after half a second: until then the queue may be a burst. Without the option
    less than a tenth is: what is executed has no caller any more.
    """
    outcome = simulated(load(1.3), 4.0, shed="codel")
    assert outcome.served / outcome.seconds >= 0.95 * CAPACITY
    later = outcome.replies[bisect_left(outcome.replied_at, 0.5) :]
    assert quantile(later, 0.99) <= 3 * max(TARGET, 2 * USE) + USE
    assert outcome.lost == 0
    without = simulated(load(1.3), 4.0)
    assert without.served / without.seconds < 0.15 * CAPACITY


@pytest.mark.parametrize("workload", ["steady", "bursts"])
def test_none_is_turned_away_who_can_be_served(workload: str) -> None:
    """At load 0.8; and at 0.6 with 200 callers more at once, ten times a second."""
    at_once = [Caller(0.1 * turn, 1 / CAPACITY) for turn in range(30) for _ in range(200)]
    bursts = workloads.both(load(0.6), lambda _random, _seconds: at_once)
    outcome = simulated(load(0.8) if workload == "steady" else bursts, 3.0, shed="codel")
    assert (outcome.rejected, outcome.timeouts, outcome.lost) == (0, 0, 0)


@pytest.mark.parametrize(
    ("share", "trouble", "retries"),
    [
        (0.5, Trouble(1.0, 2.0, 4), 0),
        (0.8, Trouble(1.0, 1.6), 0),
        (0.8, Trouble(1.0, 1.6), 2),
        (0.9, Trouble(1.0, 2.0, 4), 3),
    ],
    ids=["slower", "stopped", "stopped, retried", "slower, retried"],
)
def test_all_is_well_again_a_second_after_the_trouble(share: float, trouble: Trouble, retries: int) -> None:
    """Whatever the callers do: at least 95 % of what comes is answered in time."""
    outcome = simulated(load(share), 5.0, [trouble], retries, shed="codel")
    assert good(outcome, trouble.end + 1, 4.9) >= 0.95 * share * CAPACITY
