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
from redpool.tuning.replay import MOST_CALLERS, replayed

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
    assert advice.shared_p99 is None


def test_the_server_s_limit_is_a_ceiling() -> None:
    """The advice says that it is too low."""
    busy = a_record(arrivals=tuple(Arrivals(slot, 20, 20, 0.0) for slot in range(200)))
    advice = advise(busy, ceiling=3)
    assert (advice.size, advice.met) == (3, False)
    assert "leaves 3 connections" in str(advice)


def test_sharing_is_advised_where_it_would_do() -> None:
    """Holds that are all alike are round trips, which commands over one connection share."""
    assert advise(a_record()).shared_p99 == pytest.approx(0.0, abs=1e-4)
    slow = a_record(holds=((0.001, 150), (0.2, 50)), exact_above=1.0)
    assert advise(slow).shared_p99 == math.inf


def test_the_notes_say_what_else_a_record_tells() -> None:
    """A pool of whose connections one was in use is not short: its callers have waited for the connect."""
    assert "was short" not in str(advise(a_record(wait_p99=0.1)))
    assert "was short" in str(advise(a_record(wait_p99=0.1, max_connections=2)))
    assert "callers came: record while there is load" in str(advise(a_record()))
    shared = str(advise(a_record(commands=5000)))
    assert "5000 commands have gone over shared connections" in shared
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


@pytest.mark.parametrize("wrong", [{"target": 0.0}, {"target": math.inf}, {"ceiling": 0}])
def test_a_wish_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    """The error names it and its value."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        advise(a_record(), **wrong)  # type: ignore[arg-type]  # one of them is no float


def test_a_record_without_callers_gives_no_advice() -> None:
    """The error names the pool."""
    with pytest.raises(ValueError, match="shop: no caller came"):
        advise(a_record(arrivals=()))
    with pytest.raises(ValueError, match="shop: no caller came"):
        advise(a_record(arrivals=(Arrivals(0, 1, 1, 0.0),), kept=1, commands=9))  # the pool's own lease


def test_erlang_s_formula() -> None:
    """Values from published tables of the Erlang C formula: 4 erlangs on 6 servers, 10 on 12."""
    assert formulas.erlang_c(6, 4.0) == pytest.approx(0.2848, abs=1e-4)
    assert formulas.erlang_c(12, 10.0) == pytest.approx(0.4494, abs=1e-4)
    assert formulas.erlang_c(3, 3.0) == 1.0
    assert formulas.erlang_c(3, 0.0) == 0.0
