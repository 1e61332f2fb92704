"""The simulator: the production core, virtual callers, a virtual server."""

from __future__ import annotations

import math
from random import Random

import pytest

from redpool.core.config import PoolConfig
from redpool.tuning import workloads
from redpool.tuning.servers import OneByOne, Parallel, Trouble, finish, in_order
from redpool.tuning.simulator import Manner, Outcome, Simulator, quantile
from redpool.tuning.workloads import Caller

SHORT = workloads.exponential(0.002)


def simulated(size: int = 7, *, seconds: float = 5.0, seed: int = 1, **more: object) -> Outcome:
    callers = workloads.poisson(2000, SHORT)(Random(seed), seconds)
    return Simulator(PoolConfig(max_connections=size), warm=True, **more).run(callers, seconds)  # type: ignore[arg-type]


def test_the_same_arguments_give_the_same_outcome() -> None:
    """All chance comes out of the seeds."""
    assert simulated() == simulated()
    assert simulated() != simulated(seed=2)


def test_waits_are_those_of_the_queue_of_the_books() -> None:
    """Poisson arrivals and exponential holds on a warm pool are an M/M/c queue: Erlang's formula says how many wait."""
    outcome = simulated(6, seconds=20.0)
    load, size = 4.0, 6
    terms = [load**n / math.factorial(n) for n in range(size)]
    last = load**size / math.factorial(size) * size / (size - load)
    assert len(outcome.waits) / outcome.granted == pytest.approx(last / (sum(terms) + last), rel=0.1)
    assert outcome.used_seconds / outcome.seconds == pytest.approx(load, rel=0.05)
    assert outcome.idle_seconds / outcome.seconds == pytest.approx(size - load, rel=0.1)


def test_a_run_that_is_bad_enough_is_broken_off() -> None:
    """A search over sizes needn't know how bad a bad one is."""
    outcome = simulated(3, stop_above=(0.002, 50))
    assert outcome.stopped
    assert outcome.longer(0.002) > 0


def test_a_page_s_commands_follow_each_other() -> None:
    """Each is sent once the one before has its reply, so that one connection is enough for one page."""
    page = Caller(0.0, 0.001, iter([(0.0005, 0.001)] * 29))
    outcome = Simulator(PoolConfig(max_connections=2)).run([page], 1.0)
    assert (outcome.served, outcome.peak) == (30, 1)


def test_callers_that_gave_up_come_again() -> None:
    """Each retry is one attempt more; the deadline bounds each of them."""
    callers = [Caller(0.0, 10.0), Caller(0.1, 0.01)]
    manner = Manner(deadline=0.5, retries=2)
    outcome = Simulator(PoolConfig(max_connections=1), manner=manner, warm=True).run(callers, 5.0)
    assert outcome.served == 1
    assert outcome.lost == 3
    assert outcome.attempts == 4


def test_waits_in_vain_count() -> None:
    """A caller that timed out has waited, too."""
    outcome = Simulator(PoolConfig(max_connections=1, timeout=0.5), warm=True).run(
        [Caller(0.0, 3.0), Caller(0.1, 0.1)], 5.0
    )
    assert outcome.timeouts == 1
    assert outcome.wait(0.99) == pytest.approx(0.5)


def test_nothing_is_done_while_the_server_stands_still() -> None:
    """Work that a trouble interrupts goes on afterwards; within a slower span it takes that many times longer."""
    troubles = in_order([Trouble(1.0, 2.0), Trouble(3.0, 4.0, 4.0)])
    assert finish(0.9, 0.2, troubles) == pytest.approx(2.1)
    assert finish(0.0, 0.2, troubles) == pytest.approx(0.2)
    assert finish(3.0, 0.1, troubles) == pytest.approx(3.4)
    assert finish(3.8, 0.1, troubles) == pytest.approx(4.05)
    assert Parallel(troubles).through(1.5, 0.5) == pytest.approx(2.5)


def test_one_call_at_a_time_is_executed() -> None:
    """The second call waits for the first; both have the round trip."""
    server = OneByOne(round_trip=0.001)
    assert server.through(0.0, 0.1) == pytest.approx(0.101)
    assert server.through(0.0, 0.1) == pytest.approx(0.201)


@pytest.mark.parametrize(
    "troubles",
    [[Trouble(2.0, 1.0)], [Trouble(-1.0, 1.0)], [Trouble(0.0, 1.0, 0.5)], [(0.0, 2.0, 2.0), (1.0, 3.0, 2.0)]],
)
def test_troubles_that_make_no_sense_are_refused(troubles: list[tuple[float, float, float]]) -> None:
    """With what was said in the error."""
    with pytest.raises(ValueError, match="trouble"):
        in_order([Trouble(*each) for each in troubles])


def test_quantiles_count_those_that_did_not_wait() -> None:
    """99 callers that got a connection at once and one that waited: the p99 is 0."""
    assert quantile([5.0], 0.99, zeros=99) == 0.0
    assert quantile([5.0], 0.991, zeros=99) == 5.0
    assert quantile([], 0.99) == 0.0


@pytest.mark.parametrize(
    ("workload", "rate"),
    [
        (workloads.poisson(100, SHORT), 100),
        (workloads.steps(SHORT, (0.0, 50), (10.0, 150)), 100),
        (workloads.bursts(70, SHORT, times=5, length=0.1, every=1.0), 98),
        (workloads.fan_out(5, SHORT, size=20), 100),
        (workloads.both(workloads.poisson(60, SHORT), workloads.poisson(40, SHORT)), 100),
    ],
)
def test_workloads_have_the_rate_that_they_are_made_for(workload: workloads.Workload, rate: float) -> None:
    """And their callers come in order."""
    callers = workload(Random(3), 20.0)
    assert callers == sorted(callers, key=lambda caller: caller.at)
    assert len(callers) / 20.0 == pytest.approx(rate, rel=0.15)
