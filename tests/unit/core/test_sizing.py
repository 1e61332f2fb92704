"""`max_connections="auto"`: the pool grows where a connection more pays, and shrinks where fewer were needed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

import pytest

from redpool.core.config import PoolConfig
from redpool.core.shares import Budgeted
from redpool.core.sizing import TARGET
from redpool.core.slot import Slot
from redpool.core.stats import BudgetShare, Decision
from redpool.core.waiters import TicketState
from redpool.tuning import workloads
from redpool.tuning.servers import OneByOne, Parallel, Server, Trouble
from redpool.tuning.simulator import Outcome, Simulator, quantile
from redpool.tuning.workloads import Workload

from .driver import Driver

# A server of 6 000 commands a second, a round trip of a millisecond, and 5 ms for a connect.
EXECUTION = workloads.exponential(1 / 6000)
EQUAL = workloads.fixed(1 / 6000)


class Sized(Simulator):
    """Notes the size every 10 ms."""

    def __init__(self, server: Server, low: int = 2, high: int = 64) -> None:
        super().__init__(PoolConfig(max_connections=low, limits=(low, high), timeout=None), server)
        self.sizes: list[int] = []
        self.every(0.01, lambda _: self.sizes.append(self.core.max_connections))

    def size(self, at: float) -> int:
        return self.sizes[round(at * 100)]

    def reversals(self) -> int:
        """How often it has shrunk after it had grown, or grown after it had shrunk."""
        steps = [after > before for before, after in itertools.pairwise(self.sizes) if after != before]
        return sum(one != other for one, other in itertools.pairwise(steps))


def run(workload: Workload, server: Server, seconds: float, seed: int = 1) -> tuple[Sized, Outcome]:
    simulator = Sized(server)
    return simulator, simulator.run(workload(Random(seed), seconds), seconds)


def p99(outcome: Outcome, start: float, end: float, rate: float) -> float:
    """The wait of all callers that came in that span, of which most did not wait."""
    waits = [wait for wait, at in zip(outcome.waits, outcome.waited_at, strict=True) if start <= at < end]
    return quantile(waits, 0.99, round(rate * (end - start)) - len(waits))


def loads(*levels: tuple[float, float], execution: workloads.Holds = EXECUTION) -> Workload:
    return workloads.steps(execution, *levels)


def said(simulator: Sized) -> list[str]:
    assert simulator.core.sizing is not None
    return [what for _, what in simulator.core.sizing.decisions]


def test_it_follows_a_jump_of_the_load_within_100_ms() -> None:
    """From 500 to 4 000 a second: the waits are below twice the target from then on, and it never turns round."""
    simulator, outcome = run(loads((0, 500), (4, 4000)), OneByOne(0.001), 8.0)
    assert simulator.size(3.9) <= 4
    assert p99(outcome, 4.1, 8.0, 4000) <= 2 * TARGET
    assert simulator.size(7.9) <= 16
    assert simulator.reversals() == 0


def test_it_serves_bursts_and_keeps_what_they_need() -> None:
    """Half a second of 5 000 in every five, and 500 else."""
    levels = [level for turn in range(4) for level in ((5 * turn, 500), (5 * turn + 4.5, 5000))]
    simulator, outcome = run(loads(*levels), OneByOne(0.001), 20.0)
    assert p99(outcome, 5.0, 20.0, 950) <= 2 * TARGET  # the first burst has had it grow
    assert simulator.reversals() <= 1


@pytest.mark.parametrize("execution", [EQUAL, EXECUTION], ids=["equal", "exponential"])
def test_it_grows_to_twice_its_size_at_most_while_the_server_is_the_slow_part(execution: workloads.Holds) -> None:
    """Four times slower, and overloaded for that: each connection more is more work for it. It says what it has seen.

    Nor does it grow for what has gathered when the server is quick again: that comes down as it is.
    """
    slow = OneByOne(0.001, [Trouble(4, 6, 4)])
    simulator, _ = run(loads((0, 3000), execution=execution), slow, 7.0)
    assert simulator.size(6.9) <= 2 * simulator.size(3.9)
    assert any(what.startswith("uses take ") and "it grows to " in what for what in said(simulator))
    assert any(what.endswith("it doesn't grow") for what in said(simulator))


def test_where_the_server_is_near_its_limit_no_larger_pool_has_its_replies_sooner() -> None:
    """1.8 times slower, at 90 %: callers wait for the server, in the pool or beyond it."""
    replies = []
    for config in (PoolConfig(max_connections=2, limits=(2, 64), timeout=None), PoolConfig(max_connections=64)):
        simulator = Simulator(config, OneByOne(0.001, [Trouble(2, 6, 1.8)]), keep_replies=True)
        outcome = simulator.run(loads((0, 3000))(Random(2), 6.0), 6.0)
        replies.append(outcome.reply(0.99))
    assert replies[0] <= 1.1 * replies[1]


def test_calls_that_take_longer_by_themselves_are_no_slow_server() -> None:
    """Eight times longer, and as many: it grows, as more connections bring more replies."""
    before, after = workloads.exponential(0.0005), workloads.exponential(0.004)

    def workload(random: Random, seconds: float) -> list[workloads.Caller]:
        quick = workloads.steps(before, (0, 2000))(random, 2.0)
        return quick + workloads.steps(after, (0, 0), (2, 2000))(random, seconds)

    simulator, outcome = run(workload, Parallel(), 6.0, seed=2)
    assert p99(outcome, 4.0, 6.0, 2000) <= 2 * simulator.core.sizing.target  # type: ignore[union-attr]
    assert simulator.size(5.9) <= 32


@pytest.mark.parametrize("seed", [106, 116, 119, 141])
def test_uses_from_before_they_took_longer_do_not_keep_it_small(seed: int) -> None:
    """While they are still among those that are counted, there are more replies than there will be again.

    Nor does chance: a trial is a step that shows.
    """
    quick, slow = workloads.exponential(0.0005), workloads.exponential(0.004)
    random = Random(seed)
    callers = [
        caller._replace(hold=quick(random) if caller.at < 4 else slow(random))
        for caller in workloads.poisson(2000, workloads.fixed(0.0))(random, 6.0)
    ]
    simulator = Sized(Parallel())
    simulator.run(callers, 6.0)
    assert simulator.core.queue.oldest_wait(6.0) < 0.1


def test_it_grows_at_once_when_its_share_does() -> None:
    """What a trial has shown while it had no further connection to try says nothing."""
    simulator = Sized(Parallel())
    for at, share in ((1.0, 4), (4.0, 64)):
        simulator.after(0.0, at, partial(simulator.core.share, share))
    callers = workloads.poisson(2000, workloads.exponential(0.005))(Random(9), 4.5)
    simulator.run(callers, 4.5)
    assert simulator.size(3.9) == 4
    assert simulator.size(4.3) > 16


def test_first_uses_that_were_short_by_chance_do_not_keep_it_small() -> None:
    """Exponential uses: some are a tenth of the median. With this seed the first were."""
    workload = workloads.steps(workloads.exponential(0.002), (0, 500), (2, 4000))
    simulator, outcome = run(workload, Parallel(), 4.0, seed=2)
    assert simulator.size(3.9) >= 10
    assert p99(outcome, 2.5, 4.0, 4000) <= 2 * TARGET


def test_a_server_that_stops_for_a_moment_is_no_reason_to_grow() -> None:
    """Within 300 ms: at most twice the size. It may grow for what has gathered; a second later all waits are short."""
    simulator, outcome = run(loads((0, 3000)), OneByOne(0.001, [Trouble(4, 4.3)]), 8.0)
    assert simulator.size(4.3) <= 2 * simulator.size(3.9)
    assert p99(outcome, 5.3, 8.0, 3000) <= 2 * TARGET


def test_uses_of_very_different_length_are_served() -> None:
    """Lognormal ones, whose deviation is three times their mean: the median is what a usual one takes."""
    simulator, outcome = run(workloads.poisson(2000, workloads.lognormal(0.002, 3)), Parallel(), 12.0)
    assert p99(outcome, 2.0, 12.0, 2000) <= 2 * TARGET
    assert simulator.size(11.9) <= 14


def auto(low: int = 2, high: int = 8, **options: Any) -> Driver:
    return Driver(max_connections=low, limits=(low, high), **options)


def use(driver: Driver, count: int, now: float, seconds: float) -> None:
    """So many callers at once, each with a connection for so long."""
    slots: Sequence[Slot] = driver.take_many(count, now)
    for slot in slots:
        driver.release(slot, now + seconds)


def grown(driver: Driver, callers: int) -> None:
    """So many callers come and keep their connections: the pool grows for them as they wait."""
    now = 0.0
    tickets = [driver.acquire(now) for _ in range(callers)]
    for _ in range(20):
        driver.answer_connects(now)
        now += 0.003
        driver.run_until(now)
    for got in tickets:
        slot = got if isinstance(got, Slot) else got.slot
        assert slot is not None
        slot.needs_validation = None
        driver.release(slot, now)


def test_it_grows_only_for_callers_that_wait_long_enough_and_two_connects_at_a_time() -> None:
    """A caller that waits for less than the target is no reason."""
    driver = auto()
    driver.open(2, 0.0)
    driver.take_many(2, 0.0)
    for _ in range(3):
        driver.ask(0.0)
    driver.run_until(0.0015)
    assert driver.core.max_connections == 2
    driver.run_until(0.0025)
    assert driver.core.max_connections == 4
    assert len(driver.ordered) == 2
    assert "a caller waits" in driver.notes[0]


def test_it_shrinks_by_a_tenth_a_second_to_what_was_needed_in_the_last_ten() -> None:
    """And one more; never below its lower limit, and it needs no look any more once it is there."""
    driver = auto(max_idle_time=None)
    grown(driver, 8)
    assert driver.core.max_connections == 8
    driver.run_until(9.0)
    assert driver.core.max_connections == 8
    driver.run_until(12.0)
    use(driver, 3, 12.0, 0.001)
    driver.run_until(20.0)
    assert driver.core.max_connections == 4  # three were in use at 12.0
    driver.run_until(40.0)
    assert driver.core.max_connections == 2
    assert driver.core.sizing is not None
    assert driver.core.sizing.due_at == float("inf")
    assert "at the busiest moment" in driver.notes[-1]


def test_it_grows_to_what_is_to_be_warmed_up_and_shrinks_by_its_rule() -> None:
    """Not while that is being connected, however long it takes."""
    driver = auto(max_idle_time=None)
    ticket = driver.warm_up(6, 0.0)
    assert driver.core.max_connections == 6
    assert driver.notes == ["6 connections are allowed in place of 2: warm_up(6) asks for them"]
    driver.run_until(30.0)
    while driver.answer_connects(30.0):
        pass
    assert ticket.state is TicketState.GRANTED
    assert driver.core.open == 6
    driver.run_until(39.0)
    assert driver.core.max_connections == 6
    driver.run_until(60.0)
    assert driver.core.max_connections == 2
    with pytest.raises(ValueError, match=r"n=9 is more than limits\[1\]=8"):
        driver.warm_up(9, 60.0)


def test_its_decisions_are_kept_with_their_reasons() -> None:
    """The latest twenty, with their times."""
    driver = auto()
    grown(driver, 8)
    assert driver.core.sizing is not None
    assert [what for _, what in driver.core.sizing.decisions] == driver.notes
    assert driver.notes[0].startswith("3 connections are allowed in place of 2: a caller waits for ")


def test_it_is_not_resized_by_hand() -> None:
    """That says so, and leaves it alone."""
    driver = auto()
    with pytest.raises(ValueError, match='max_connections=7: with max_connections="auto" the pool sizes itself'):
        driver.core.resize(7, 0.0)
    assert driver.core.max_connections == 2


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"limits": (2, 5)}, ValueError, r"limits=\(2, 5\) goes with max_connections=\"auto\" only"),
        ({"max_connections": "auto", "limits": (0, 5)}, ValueError, r"limits\[0\] must be at least 1, not 0"),
        ({"max_connections": "auto", "limits": (6, 5)}, ValueError, r"limits\[1\] must be at least 6, not 5"),
        ({"max_connections": "auto", "limits": 5}, TypeError, "limits must be two whole numbers"),
        ({"max_connections": "auto", "limits": ()}, TypeError, r"limits must be two whole numbers.*not \(\)"),
        ({"max_connections": "auto", "limits": 0}, TypeError, "limits must be two whole numbers.*not 0"),
        ({"max_connections": "auto", "min_idle": 3}, ValueError, r"min_idle=3 is more than limits\[0\]=2"),
        ({"max_connections": "automatic"}, ValueError, "must be a positive integer"),
    ],
)
def test_what_makes_no_sense_is_rejected(options: dict[str, Any], error: type[Exception], said: str) -> None:
    """By the option's name and the value."""
    with pytest.raises(error, match=said):
        PoolConfig.take(dict(options))


def test_the_limits_have_defaults() -> None:
    """From 2 to 50; the pool begins with the lower one."""
    config = PoolConfig.take({"max_connections": "auto"})
    assert (config.max_connections, config.limits) == (2, (2, 50))


def test_nothing_is_due_of_a_pool_that_was_shut_down() -> None:
    """Maintenance would come again and again, though there is nothing left to make smaller."""
    driver = Driver(max_connections=1, limits=(1, 4), timeout=None, prompt=True)
    tickets = [driver.ask(0.0) for _ in range(4)]
    driver.run_until(0.1)
    assert driver.core.max_connections == 4
    driver.shutdown(0.2)
    for ticket in tickets:
        assert ticket.slot is not None
        driver.release(ticket.slot, 0.2)
    driver.tick(0.3)
    assert driver.core.wake_at == math.inf


@pytest.mark.parametrize("is_down", [False, True])
def test_it_does_not_look_for_callers_for_which_it_can_not_grow(is_down: bool) -> None:
    """It has grown as far as it may; or it connects no more than it does, as the server is down."""
    driver = Driver(max_connections=1, limits=(1, 2), timeout=None, connect_retries=math.inf)
    driver.prompt = not is_down
    driver.ask(0.0)
    driver.ask(0.0)
    if is_down:
        driver.begin_connects(0.0)
        driver.fail_connects(ConnectionError(), 0.0)
    else:
        driver.run_until(0.1)
        driver.ask(0.1)
    now = driver.core.wake_at
    driver.tick(now)
    looks = 0
    while driver.core.wake_at < now + 0.01:
        driver.tick(driver.core.wake_at)
        looks += 1
    assert looks <= 1


class SharedBudget(Budgeted):
    """One whose server has said nothing so far."""

    def join(self, member: Any, at_once: bool) -> None: ...

    def caller_waits(self) -> None: ...

    def decisions(self) -> tuple[Decision, ...]:
        return ()

    def describe(self, granted: int, age: float) -> BudgetShare:
        return BudgetShare("of another", 0, 0, granted, age, None)


def test_no_more_is_warmed_up_than_its_share_allows() -> None:
    """Before it has one, that waits for it."""
    driver = Driver(max_connections=1, limits=(1, 6), prompt=True, budget=SharedBudget())
    first = driver.warm_up(4, 0.0)
    assert (first.state, driver.core.open) == (TicketState.WAITING, 0)
    driver.core.share(3, 1.0)
    driver.collect(1.0)
    second = driver.warm_up(4, 1.0)
    assert (first.state, second.state) == (TicketState.GRANTED, TicketState.GRANTED)
    assert driver.core.open == 3


def test_it_does_not_grow_before_it_has_a_share_of_its_budget() -> None:
    """However long callers wait for the first one."""
    driver = Driver(max_connections=2, limits=(2, 6), timeout=None, prompt=True, budget=SharedBudget())
    for _ in range(6):
        driver.ask(0.0)
    driver.run_until(1.0)
    assert driver.core.open == 0
    driver.core.share(3, 1.0)
    driver.collect(1.0)
    driver.run_until(2.0)
    assert driver.core.open == 3
