"""Classes of callers: what is reserved is there for its class, the rest is shared in turn, and none starves."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from redpool.core.config import PoolConfig
from redpool.core.priorities import ClassedQueue, PrioritizedCore
from redpool.core.slot import Slot
from redpool.core.stats import CallerClass
from redpool.core.waiters import Ticket, TicketState
from redpool.errors import PoolClosed, PoolFull, PoolOverloaded, PoolTimeout
from redpool.tuning import workloads
from redpool.tuning.simulator import Simulator
from redpool.tuning.workloads import Caller

from .driver import Driver
from .invariants import check_step

WAITING, GRANTED = TicketState.WAITING, TicketState.GRANTED


def pool(max_connections: int = 4, **options: Any) -> Driver:
    """A pool that keeps two of its connections, all of them open, for the class "web"."""
    driver = Driver(max_connections=max_connections, reserved={"web": 2}, **options)
    driver.open(max_connections, 0.0)
    return driver


def ask(driver: Driver, name: str, now: float = 0.0) -> Slot | Ticket:
    driver.caller_class = name
    got = driver.acquire(now)
    check_step(driver, now)
    return got


def wait(driver: Driver, name: str, now: float = 0.0) -> Ticket:
    got = ask(driver, name, now)
    assert isinstance(got, Ticket)
    return got


def take(driver: Driver, name: str, count: int = 1) -> list[Slot]:
    slots = [ask(driver, name) for _ in range(count)]
    assert all(isinstance(slot, Slot) for slot in slots)
    return slots  # type: ignore[return-value]  # as was just asserted


def give_back(driver: Driver, slot: Slot, now: float) -> None:
    slot.needs_validation = None
    driver.release(slot, now)
    check_step(driver, now)


def test_what_is_reserved_is_there_whatever_the_others_do() -> None:
    """The batch jobs have taken all that they may: the two connections for the web are still there at once."""
    driver = pool()
    take(driver, "batch", 2)
    assert wait(driver, "batch").state is WAITING
    take(driver, "web", 2)
    assert wait(driver, "web").state is WAITING


def test_a_class_may_use_more_than_what_is_reserved_for_it() -> None:
    """Where no other class needs the rest."""
    take(pool(), "web", 4)


def test_a_caller_that_is_held_gets_the_idle_connection_when_its_class_may_have_it() -> None:
    """It waits while two connections are idle, for those are the web's."""
    driver = pool()
    first, _ = take(driver, "batch", 2)
    held = wait(driver, "batch")
    assert len(driver.core.idle.slots) == 2
    give_back(driver, first, 1.0)
    assert held.state is GRANTED
    assert held.slot is not None
    assert held.slot.priority == "batch"


def test_classes_are_served_in_turn_and_within_a_class_in_order() -> None:
    """The one caller of "mail" doesn't wait for the ten batch jobs that came before it."""
    driver = pool()
    first, second = take(driver, "batch", 2)
    batch = [wait(driver, "batch") for _ in range(10)]
    mail = wait(driver, "mail")
    give_back(driver, first, 1.0)
    give_back(driver, second, 1.0)
    assert (batch[0].state, mail.state, batch[1].state) == (GRANTED, GRANTED, WAITING)


def test_one_class_that_says_nothing_is_served_as_ever() -> None:
    """All callers are of the class "default": strictly first come, first served, over what isn't reserved."""
    driver = pool()
    slots = take(driver, "default", 2)
    tickets = [wait(driver, "default") for _ in range(5)]
    now = 0.0
    for place, ticket in enumerate(tickets):
        now += 1
        give_back(driver, slots.pop(0), now)
        assert ticket.slot is not None
        slots.append(ticket.slot)
        assert [each.state for each in tickets[place + 1 :]] == [WAITING] * (4 - place)


def test_callers_that_are_held_end_like_others() -> None:
    """By their time, by leaving, by a bound on the queue, by `timeout=0`, and with the pool."""
    driver = pool(timeout=5.0, max_waiting=3)
    take(driver, "batch", 2)
    late, leaves, stays = wait(driver, "batch"), wait(driver, "batch", 1.0), wait(driver, "batch", 2.0)
    one_more = wait(driver, "batch", 3.0)
    assert isinstance(one_more.error, PoolFull)
    assert driver.stats(3.0).waiting == 3
    assert driver.stats(3.0).oldest_wait == 3.0
    driver.give_up(leaves, 4.0)
    driver.run_until(5.0)
    assert (late.state, leaves.state) == (TicketState.TIMED_OUT, TicketState.GIVEN_UP)
    assert isinstance(late.error, PoolTimeout)
    driver.shutdown(6.0)
    assert isinstance(stays.error, PoolClosed)
    never_waits = pool(timeout=0)
    take(never_waits, "batch", 2)
    assert wait(never_waits, "batch").state is TicketState.TIMED_OUT


def test_a_connect_is_made_for_a_class_that_may_have_one() -> None:
    """And none for a caller that is held: the connections that are left are for another class."""
    driver = Driver(max_connections=2, reserved={"web": 1})
    driver.prompt = True
    ask(driver, "batch")
    driver.run_until(1.0)
    held = wait(driver, "batch", 1.0)
    driver.run_until(2.0)
    assert (driver.core.open, held.state) == (1, WAITING)
    ask(driver, "web", 2.0)
    driver.run_until(3.0)
    assert driver.core.open == 2


def test_a_caller_is_not_lost_though_its_admission_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits without end, and nothing else would ever tell of it."""
    driver = pool(timeout=None)
    first, _ = take(driver, "batch", 2)
    held = wait(driver, "batch")
    held.waker = object()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ClassedQueue, "join", interrupt)
        with pytest.raises(KeyboardInterrupt):
            driver.core.release(first, 1.0)
    driver.core.repair(2.0)
    assert held.state is GRANTED


def test_a_pool_that_sizes_itself_grows_for_callers_that_are_held() -> None:
    """It keeps a connection for the web, used or not; when the callers are gone, it shrinks to what is reserved."""
    driver = Driver(max_connections=3, limits=(3, 6), reserved={"web": 2}, prompt=True, timeout=None)
    tickets = [wait(driver, "batch") for _ in range(4)]
    driver.run_until(1.0)
    assert [ticket.state for ticket in tickets] == [GRANTED] * 4
    assert driver.core.max_connections == 6
    for ticket in tickets:
        assert ticket.slot is not None
        give_back(driver, ticket.slot, 1.0)
    driver.run_until(60.0)
    assert driver.core.max_connections == 3


def test_a_pool_that_sizes_itself_does_not_shrink_under_callers_that_are_held() -> None:
    """What is idle is the web's."""
    driver = Driver(max_connections=3, limits=(3, 4), reserved={"web": 2}, prompt=True, timeout=None)
    for _ in range(3):
        wait(driver, "batch")
    driver.run_until(60.0)
    assert driver.core.max_connections == 4


def test_each_class_is_shed_by_its_own_waits() -> None:
    """The queue of batch jobs stands; callers of "mail" come one at a time, and none is turned away."""
    driver = pool(3, shed="codel", timeout=None)
    (slot,) = take(driver, "batch")
    batch, now = [wait(driver, "batch") for _ in range(200)], 0.0
    for _ in range(60):
        mail = wait(driver, "mail", now)
        now += 0.01
        give_back(driver, slot, now)
        slot = next(slot for slot in driver.core.slots if slot.borrower is not None and slot.since == now)
        assert mail.state in (GRANTED, WAITING)
        if mail.state is WAITING:
            driver.give_up(mail, now)
    assert any(isinstance(ticket.error, PoolOverloaded) for ticket in batch)
    assert driver.stats(now).shed == sum(ticket.state is TicketState.REJECTED for ticket in batch)


def test_a_caller_that_is_held_is_turned_away_where_its_deadline_comes_first() -> None:
    """At once; but not where it is the only one of its class that waits."""
    driver = pool(3, shed="codel", timeout=None)
    now = 0.0
    for _ in range(31):
        (slot,) = take(driver, "batch")
        now += 0.1
        slot.since = now - 0.1
        give_back(driver, slot, now)
    driver.caller_class = "batch"
    driver.acquire(now)
    for state in (WAITING, TicketState.REJECTED):
        ticket = wait(driver, "batch", now)
        driver.core.bound(ticket, now + 0.05, now)
        assert ticket.state is state
        driver.waiting = [each for each in driver.waiting if each.state is WAITING]


def test_a_caller_that_is_held_wakes_a_pool_that_was_closed() -> None:
    """It has asked, though a connection in use is what it waits for."""
    driver = pool(min_idle=1)
    first, _ = take(driver, "batch", 2)
    driver.close(1.0)
    assert driver.core.resting
    held = wait(driver, "batch", 2.0)
    assert driver.core.crowded
    give_back(driver, first, 3.0)
    assert held.state is WAITING  # for a new connection


def test_callers_that_are_held_are_recorded() -> None:
    """For advice on the pool's size: that they came, and that one waits while it has a connection."""
    driver = pool()
    first, _ = take(driver, "batch", 2)
    first.borrower = 1
    for _ in range(3):
        wait(driver, "batch").borrower = 1
    record = driver.core.record(1.0)
    assert sum(arrivals.callers for arrivals in record.arrivals) == 5
    assert record.deepest == 4


def test_a_class_that_fills_the_queue_leaves_room_to_those_that_are_reserved_for() -> None:
    """All others share one bound, for their names may be made up."""
    driver = pool(max_waiting=3)
    take(driver, "batch", 2)
    assert [wait(driver, "batch").state for _ in range(3)] == [WAITING] * 3
    for name in ("batch", "mail", "of user 1"):
        assert isinstance(wait(driver, name).error, PoolFull)
    take(driver, "web", 2)
    assert [wait(driver, "web").state for _ in range(3)] == [WAITING] * 3
    assert isinstance(wait(driver, "web").error, PoolFull)


def test_a_caller_that_waits_for_its_own_connect_does_not_fill_the_queue() -> None:
    """As without classes: `max_waiting` is about those that wait for a release."""
    driver = Driver(max_connections=4, reserved={"web": 2}, max_waiting=2)
    for name in ("batch", "web"):
        assert [wait(driver, name).state for _ in range(4)] == [WAITING] * 4
        assert isinstance(wait(driver, name).error, PoolFull)


def test_names_of_classes_do_not_stay() -> None:
    """A program may make them up as it goes."""
    driver = pool()
    first, _ = take(driver, "batch", 2)
    tickets = [wait(driver, f"of user {number}") for number in range(3)]
    driver.give_up(tickets[0], 1.0)
    give_back(driver, first, 1.0)
    assert list(driver.core.queue.held) == ["of user 2"]  # type: ignore[attr-defined]  # a classed one


def test_each_class_that_came_is_seen_and_counted() -> None:
    """A misspelled name isn't refused, for a class need not be reserved; of made-up names the last ones are kept."""
    driver = pool()
    take(driver, "batch", 2)
    wait(driver, "wbe")
    assert driver.core.caller_classes() == (
        CallerClass("web", reserved=2, callers=0, in_use=0, waiting=0),
        CallerClass("batch", reserved=0, callers=2, in_use=2, waiting=0),
        CallerClass("wbe", reserved=0, callers=1, in_use=0, waiting=1),
    )
    take(driver, "web")
    for number in range(1000):
        driver.give_up(wait(driver, f"of user {number}"), 1.0)
    names = [each.name for each in driver.core.caller_classes()]
    assert (len(names), names[0], names[-1]) == (65, "web", "of user 999")


class Classed(Simulator):
    """Callers of the class that they are of, and how long each class has waited at most."""

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(config)
        self.name = ""
        self.core = PrioritizedCore(config, 0.0, Random(1), 5.0, lambda: self.name)
        self.waited: dict[str, float] = {}
        self.served: dict[str, int] = {}

    def ask(self, caller: Caller, now: float) -> Slot | Ticket:
        self.name = caller.kind
        return super().ask(caller, now)

    def _use(self, slot: Slot, call: Any, now: float) -> None:
        name = call.caller.kind
        self.waited[name] = max(self.waited.get(name, 0.0), now - call.since)
        self.served[name] = self.served.get(name, 0) + 1
        super()._use(slot, call, now)


def of_class(name: str, workload: workloads.Workload) -> workloads.Workload:
    return lambda random, seconds: [caller._replace(kind=name) for caller in workload(random, seconds)]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_reserved_class_waits_less_than_a_use_while_another_is_in_overload(seed: int) -> None:
    """The batch jobs bring twice of what they could do, and still have their part; so has a class that came late."""
    use = 0.01
    config = PoolConfig(max_connections=8, reserved={"web": 4}, timeout=None)
    workload = workloads.both(
        of_class("batch", workloads.poisson(800, workloads.fixed(use))),
        of_class("web", workloads.poisson(100, workloads.fixed(use))),
        of_class("mail", workloads.poisson(50, workloads.fixed(use))),
    )
    simulator = Classed(config)
    outcome = simulator.run(workload(Random(seed), 5.0), 5.0)
    assert simulator.waited["web"] <= use + 0.01  # a connect, at the beginning
    assert simulator.waited["mail"] <= 3 * use
    assert simulator.served["batch"] >= 0.9 * 5.0 * (4 / use - 50)
    assert outcome.timeouts == simulator.core.stats(5.0).waiting


@pytest.mark.parametrize(
    ("reserved", "error", "said"),
    [
        ({"web": 4}, ValueError, "leaves none of max_connections=4"),
        ({"web": 0}, ValueError, r"reserved\['web'\] must be at least 1, not 0"),
        ({"web": "2"}, TypeError, r"reserved\['web'\] must be a whole number"),
        ({1: 2}, TypeError, "reserved must be a dict"),
        ("web=2", TypeError, "reserved must be a dict"),
    ],
)
def test_what_makes_no_sense_is_rejected(reserved: Any, error: type[Exception], said: str) -> None:
    """By the option's name and the value."""
    with pytest.raises(error, match=said):
        PoolConfig(max_connections=4, reserved=reserved)
