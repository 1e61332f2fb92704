"""What is advised from a record, against the best size of the workload that was recorded."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from benchmarks.tuning import MOST_ABOVE_BEST, MOST_TIMES_TARGET, WORKLOADS, simulated
from redpool.core.arrivals import Arrivals
from redpool.core.record import Basics, Record, Recorder, Span
from redpool.tuning import formulas
from redpool.tuning.advice import SHARE, advise
from redpool.tuning.replay import MOST_CALLERS, needed_at_most, replayed

SECONDS, SEED = 2.0, 1


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_advised_size_is_near_the_best(name: str) -> None:
    """For each kind of workload: two connections too many at most, and never a p99 wait above twice the target."""
    workload = WORKLOADS[name]
    advice = advise(simulated(workload, 50, SECONDS, SEED, warm=False)[1])
    if advice.size > MOST_ABOVE_BEST + 1:
        below_best = advice.size - MOST_ABOVE_BEST - 1
        assert simulated(workload, below_best, SECONDS, SEED)[0].wait(SHARE) > advice.target
    assert simulated(workload, advice.size, SECONDS, SEED)[0].wait(SHARE) <= MOST_TIMES_TARGET * advice.target


def a_record(**changes: object) -> Record:
    recorder = Recorder(0.0)
    recorder.arrived += [0.01 * n for n in range(200)]
    for _ in range(200):
        recorder.add(0.004)
    made = recorder.record(2.0, [], [], Basics("shop", 10, 0.0, 0))
    return replace(made, **changes)  # type: ignore[arg-type]  # fields of a record


def test_without_contention_one_connection_is_enough() -> None:
    """One caller each 10 ms that needs 4 ms; and the advice says so to people and to programs."""
    advice = advise(a_record())
    assert (advice.size, advice.met, advice.now, advice.load.peak) == (1, True, 10, 2)
    assert "max_connections=1" in str(advice)
    assert json.loads(json.dumps(advice.to_dict()))["size"] == 1


def test_callers_that_need_several_connections_set_a_floor() -> None:
    """Five callers with up to three connections each could block each other on ten."""
    advice = advise(a_record(callers=5, nesting=5, deepest=3))
    assert (advice.size, advice.deadlock_floor) == (11, 11)
    assert "block each other" in str(advice)
    assert advice.shared is False


def test_the_server_s_limit_is_a_ceiling() -> None:
    """The advice says that it is too low."""
    busy = a_record(arrivals=tuple(Arrivals(slot, 20, 20, 0.0) for slot in range(200)))
    advice = advise(busy, ceiling=3)
    assert (advice.size, advice.met) == (3, False)
    assert "leaves 3 connections" in str(advice)


def test_whether_callers_could_share_a_connection_is_for_the_server_to_say() -> None:
    """A lease has the network's time and the interpreter's in it, which pass for all that share at once."""
    busy = a_record(arrivals=tuple(Arrivals(slot, 20, 20, 0.0) for slot in range(0, 200, 10)))
    assert (advise(busy).shared, advise(busy).shared_p99) == (None, None)
    assert "may do: a record can't tell" in str(advise(busy))
    quick = advise(busy, commands=[(3e-6, 1000), (0.0, 0)])
    assert quick.shared
    assert quick.shared_p99 == pytest.approx(19 * 23e-6, rel=0.1)
    assert "would do: p99 wait 0.4 ms" in str(quick)
    slow = advise(busy, commands=[(3e-6, 900), (0.03, 100)])
    assert slow.shared is None  # nor would any other number of connections
    assert "would not" not in str(slow)
    assert advise(a_record()).shared  # one connection is enough


def test_those_that_block_can_t_share() -> None:
    """And of a pool that shares connections, nothing is said of sharing."""
    listens = advise(a_record(held=(1.5,)), commands=[(3e-6, 1000)])
    assert listens.shared is False
    assert "can't share one, others may" in str(listens)
    shares = advise(a_record(commands=5000, kept=1), commands=[(3e-6, 1000)])
    assert shares.shared is None
    assert "MultiplexedConnectionPool" not in str(shares)


def test_no_more_is_advised_than_the_pool_has_ever_opened() -> None:
    """Where its callers hardly waited. Threads don't come while they wait, nor do they in the replay."""
    loop = {"arrivals": tuple(Arrivals(slot, 5, 2, 0.0) for slot in range(200)), "holds": ((0.002, 900), (0.01, 9))}
    assert advise(a_record(**loop)).size > 2
    advice = advise(a_record(**loop, connects=(Span(0.0, 0.005),)))
    assert (advice.size, advice.load.peak, advice.min_idle, advice.shared) == (1, 1, 0, True)
    assert [each.size for each in advice.curve] == [1]
    assert "the pool had opened 1," in str(advice)
    no_room = loop | {"connects": (Span(0.0, 0.005),), "max_connections": 1}
    assert advise(a_record(**no_room)).size == 1  # as often as it was looked at, no caller waited
    assert advise(a_record(**no_room, callers=2)).size > 2
    for not_shown in ({"wait_p99": 0.5}, {"connects": 256 * (Span(0.0, 0.005),)}, {"held": (1.0, 1.0)}, {"age": 9.0}):
        assert advise(a_record(**(loop | {"connects": (Span(0.0, 0.005),)} | not_shown))).size > 2


def test_of_an_old_pool_only_many_looks_show_that_none_waited() -> None:
    """The p99 of all its life says little of a minute; and one that was full had no chance to open more."""
    busy = tuple(Arrivals(slot, 30, 1, 0.0) for slot in range(2000))
    old = a_record(arrivals=busy, seconds=20.0, age=900.0, connects=4 * (Span(0.0, 0.005),), callers=4)
    assert needed_at_most(old) == 4
    for less in ({"callers": 5}, {"max_connections": 4}, {"arrivals": busy[:1000]}, {"commands": 9, "kept": 1}):
        assert needed_at_most(replace(old, **less)) is None
    assert needed_at_most(replace(old, commands=9, kept=1, callers=3)) == 3


def test_a_pool_that_shares_counts_its_shared_connection_in() -> None:
    """As `max_connections` does; one of those that come and go is no size for the others."""
    alone, beside = advise(a_record()), advise(a_record(commands=5000, kept=1))
    assert beside.size == alone.size + 1
    assert advise(a_record(commands=5000, kept=2)).size == alone.size + 2
    assert [each.size for each in beside.curve] == [each.size + 1 for each in alone.curve]
    assert advise(a_record(commands=5000, kept=1), ceiling=1).size == 2  # it is the least that such a pool needs


def test_twice_the_load_is_twice_the_callers() -> None:
    """And with half of it, every second one comes."""
    record = a_record(arrivals=tuple(Arrivals(slot, 20, 20, 0.0) for slot in range(0, 200, 10)))
    once, twice, half = (advise(record, load=load) for load in (1.0, 2.0, 0.5))
    assert (once.load.callers, twice.load.callers) == (400, 800)
    assert half.load.callers == pytest.approx(200, abs=40)
    assert half.size < once.size <= twice.size
    assert twice.load.busy == pytest.approx(2 * once.load.busy)
    assert "2 times those of the record" in str(twice)
    known = a_record(arrivals=record.arrivals, connects=5 * (Span(0.0, 0.005),))
    assert (advise(known).load.peak, advise(known, load=2.0).load.peak) == (5, 10)


def test_the_notes_say_what_else_a_record_tells() -> None:
    """A pool that never had all its connections is not short: its callers have waited for connects."""
    few = a_record(arrivals=tuple(Arrivals(slot, 1, 1, 0.0) for slot in range(0, 200, 4)))
    assert advise(few).min_idle == 0  # of fewer than 100 callers the first, which has to connect, is the p99
    assert "was short" not in str(advise(a_record(wait_p99=0.1)))
    one, two = (connects * (Span(0.0, 0.2),) for connects in (1, 2))
    assert "was short" in str(advise(a_record(wait_p99=0.1, max_connections=2, connects=two)))
    asked_again = str(advise(a_record(wait_p99=0.1, max_connections=2, connects=one)))
    assert "had opened 1 of 2" in asked_again
    assert "record again, with min_idle=2" in asked_again
    bursts = a_record(arrivals=tuple(Arrivals(slot, 9, 9, 0.0) for slot in range(0, 200, 4)), max_connections=2)
    assert "record again, with max_connections=9, min_idle=9" in str(advise(replace(bursts, wait_p99=0.1)))
    assert "callers came: record while there is load" in str(advise(a_record()))
    shared = str(advise(a_record(commands=5000)))
    assert "1 of the connections is shared: 5000 commands" in shared
    assert "record while there is load" not in shared


def test_what_is_held_all_the_time_needs_a_connection_beside() -> None:
    """A subscriber has its connection for the whole record."""
    assert advise(a_record(held=(100.0,))).size == advise(a_record()).size + 2  # one, as holds differ so much


def test_a_worker_s_long_leases_follow_each_other() -> None:
    """They are replayed with their times: two workers never need a third connection."""
    longest = [Span(start, 0.9) for start in (0.0, 0.5, 1.0)]
    record = a_record(
        arrivals=tuple(Arrivals(int(lease.start * 100), 1, 1, 0.0) for lease in longest),
        holds=((0.9, 3),), longest=tuple(longest), exact_above=0.001,
    )  # fmt: skip
    assert advise(record).load.peak == 2


def test_of_too_many_callers_the_busiest_time_is_replayed() -> None:
    """So that an answer takes seconds, whatever the rate."""
    quiet, busy = [Arrivals(n, 50, 1, 0.0) for n in range(3000)], [Arrivals(3000 + n, 500, 1, 0.0) for n in range(300)]
    callers, seconds = replayed(a_record(seconds=33.0, arrivals=(*quiet, *busy)))
    assert len(callers) <= MOST_CALLERS
    assert len(callers) / seconds == pytest.approx(50_000, rel=0.05)


@pytest.mark.parametrize("wrong", [{"target": 0.0}, {"target": math.inf}, {"ceiling": 0}, {"load": 0.0}])
def test_a_wish_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    """The error names it and its value."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        advise(a_record(), **wrong)  # type: ignore[arg-type]  # one of them is no float


def test_a_record_without_callers_gives_no_advice() -> None:
    """The error names the pool."""
    with pytest.raises(ValueError, match="shop: no caller came"):
        advise(a_record(arrivals=()))
    for kept in (1, 0):  # it is the pool's own lease, also where the pool is closed when it is asked
        with pytest.raises(ValueError, match="shop: no caller came"):
            advise(a_record(arrivals=(Arrivals(0, 1, 1, 0.0),), kept=kept, commands=9))


def test_erlang_s_formula() -> None:
    """Values from published tables of the Erlang C formula: 4 erlangs on 6 servers, 10 on 12."""
    assert formulas.erlang_c(6, 4.0) == pytest.approx(0.2848, abs=1e-4)
    assert formulas.erlang_c(12, 10.0) == pytest.approx(0.4494, abs=1e-4)
    assert formulas.erlang_c(3, 3.0) == 1.0
    assert formulas.erlang_c(3, 0.0) == 0.0


def test_one_after_the_other_those_that_wait_don_t_come_again() -> None:
    """Behind a slow command two callers that are there at once wait once each; many would all wait."""
    times, works = [0.01 * n for n in range(100)], [0.5] + 99 * [0.001]
    assert formulas.one_by_one(times, works, 0.9, 100) > 0.2
    assert formulas.one_by_one(times, works, 0.9, 2) == pytest.approx(0.001)
    assert formulas.one_by_one([], [], 0.9, 1) == 0.0
