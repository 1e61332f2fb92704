"""What a pool remembers of what it was asked for: the recorder, and the record made of it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from random import Random
from types import FrameType
from typing import Any

import pytest

from redpool.core import arrivals as ring
from redpool.core import record
from redpool.core.histogram import GATHER
from redpool.core.record import Basics, Record, Recorder
from redpool.core.slot import Slot, State
from redpool.core.waiters import Ticket
from unit.core.driver import Driver
from unit.core.shell import shell

BASICS = Basics("redis", 10, 0.0, 0)


def recorded(arrivals: list[float], now: float, start: float = 0.0) -> Record:
    recorder = Recorder(start)
    for arrival in arrivals:
        recorder.arrived.append(arrival)
        if len(recorder.arrived) >= GATHER:
            recorder.sort_in()
    return recorder.record(now, [], [], BASICS)


def by_hand(arrivals: list[float], now: float) -> dict[int, int]:
    first = max(0, int(now * 100) - ring.SLOTS + 1)
    kept = [int(arrival * 100) - first for arrival in arrivals if int(arrival * 100) >= first]
    return dict(Counter(kept))


@pytest.mark.parametrize("rate", [0.5, 200.0])
def test_each_arrival_of_the_last_minute_is_counted_in_its_slot(rate: float) -> None:
    """However far the ring has turned; older ones are forgotten."""
    random, now = Random(7), 0.0
    arrivals = []
    while now < 80.0:
        now += random.expovariate(rate)
        arrivals.append(now)
    made = recorded(arrivals, now)
    assert {each.slot: each.callers for each in made.arrivals} == by_hand(arrivals, now)
    assert made.seconds == pytest.approx(60.0, abs=0.02)


def test_an_arrival_between_two_slots_is_in_one_of_them() -> None:
    """However the time is rounded: 0.29 is a little less than 29 slots of 10 ms, and no less than 29 / 100."""
    assert sum(each.callers for each in recorded([n / 100 for n in range(100)], 1.0).arrivals) == 100


def test_a_young_pool_has_a_short_record() -> None:
    """It begins when the pool was created."""
    made = recorded([5.001, 5.5], 7.0, start=5.0)
    assert made.seconds == pytest.approx(2.0)
    assert [(each.slot, each.callers) for each in made.arrivals] == [(0, 1), (50, 1)]


def test_callers_that_come_together_are_seen_among_others() -> None:
    """Twenty at once in a slot with five others: the largest group, and how close together it came."""
    others = [1.000, 1.002, 1.004, 1.006, 1.008]
    made = recorded(sorted([*others, *[1.005 + n * 1e-5 for n in range(20)]]), 2.0)
    (slot,) = made.arrivals
    assert (slot.callers, slot.group) == (25, 20)
    assert slot.span == pytest.approx(0.0002, abs=5e-5)


def test_a_group_is_one_in_whatever_order_its_leases_end() -> None:
    """Twenty at once, of which each is sorted in apart from the others; and more that come before or after them."""
    times = [1.005 + n * 1e-5 for n in range(20)]
    Random(5).shuffle(times)
    recorder = Recorder(0.0)
    for time in [*times, 1.0001, 1.0002, 1.0095]:
        recorder.end(time, 1.5)
        recorder.sort_in()
    (slot,) = recorder.record(2.0, [], [], BASICS).arrivals
    assert (slot.callers, slot.group) == (23, 20)


@pytest.mark.parametrize("now", [0.29, 0.57, 1.13, 4.1])
def test_a_caller_at_the_edge_of_a_slot_is_counted(now: float) -> None:
    """Though 0.29 * 100 is less than 29."""
    assert now * 100 < round(now * 100)
    made = recorded([now, now], 5.0)
    assert [(each.slot, each.callers, each.group) for each in made.arrivals] == [(round(now * 100), 2, 2)]


def test_a_slot_counts_no_further_than_two_bytes_hold() -> None:
    """A full slot stays full."""
    made = recorded([0.5] * 70_000, 1.0)
    (slot,) = made.arrivals
    assert slot.callers == 65_535


def test_the_longest_leases_are_kept_with_their_times() -> None:
    """Exactly those that are longer than the record says, nearly 1024, of the windows under way and before."""
    recorder, random = Recorder(0.0), Random(3)
    leases = []
    for n in range(20_000):
        start, seconds = n * 0.002, 0.002 + random.expovariate(100)
        leases.append((start + seconds - start, start))
        recorder.end(start, start + seconds)
    made = recorder.record(40.0, [], [], BASICS)
    expected = sorted(leases, reverse=True)[: record.LONGEST - 1]
    assert made.exact_above == pytest.approx(sorted(leases)[-record.LONGEST][0])
    assert [lease.start for lease in made.longest] == pytest.approx(sorted(start for _, start in expected))
    assert max(lease.seconds for lease in made.longest) == pytest.approx(expected[0][0])
    assert sum(count for _, count in made.holds) == 20_000


def test_leases_of_long_ago_are_forgotten() -> None:
    """The record has the leases of the last one to two minutes."""
    recorder = Recorder(0.0)
    for start in (1.0, 70.0, 75.0, 140.0):
        recorder.end(start, start + 0.5)
    made = recorder.record(141.0, [], [], BASICS)
    assert sum(count for _, count in made.holds) == 3
    assert [lease.start for lease in made.longest] == pytest.approx([140.0 - (141.0 - made.seconds)])


def test_each_caller_has_come_once_whether_it_waited_or_not() -> None:
    """At the time when it came; also while it waits, or has its connection still."""
    pool = Driver(max_connections=1, prompt=True)
    first = pool.take(1.0)
    waiter = pool.ask(1.1)
    expected = [1.0, 1.1]
    for now in (1.2, 1.3, 1.4):
        assert came(pool, now) == pytest.approx(expected)
        if now == 1.2:
            pool.release(first, now)
        if now == 1.3:
            assert waiter.slot is not None
            pool.release(waiter.slot, now)
            pool.release(pool.take(1.35), 1.36)
            expected.append(1.35)


def test_a_lease_whose_caller_had_waited_is_kept_from_when_it_came() -> None:
    """It lasted from when it got the connection."""
    pool = Driver(max_connections=1, prompt=True)
    first = pool.take(1.0)
    waiter = pool.ask(1.1)
    pool.release(first, 1.5)
    assert waiter.slot is not None
    pool.release(waiter.slot, 1.75)
    longest = pool.core.record(2.0).longest
    assert [(each.start, each.seconds) for each in longest] == [(1.0, 0.5), (pytest.approx(1.1), 0.25)]


def came(pool: Driver, now: float) -> list[float]:
    """Return when callers came, as a record says it."""
    made = pool.core.record(now)
    return [each.slot / 100 + now - made.seconds for each in made.arrivals for _ in range(each.callers)]


def test_a_lease_whose_end_was_interrupted_is_counted_when_it_ends() -> None:
    """Between its beginning and its length; those that follow are counted as they are."""
    pool = Driver(max_connections=2, prompt=True)
    slot = pool.take(1.0)
    pool.core.recorder.leases.append(slot.since)
    pool.core.recorder.repair(pool.core.slots)
    pool.release(slot, 1.5)
    pool.release(pool.take(2.0), 2.25)
    assert [lease.seconds for lease in pool.core.record(3.0).longest] == [0.5, 0.25]
    assert pool.stats(3.0).use.max == 0.5


def test_a_caller_whose_grant_was_interrupted_has_come_once() -> None:
    """At the time when it came, not when the repair had it have its connection."""
    pool = shell(idle=1, max_connections=1)
    slot, connection = pool.lease(1.0)
    ticket = pool.wait(1.5)
    pool.core.recorder.end(slot.since, 2.0)
    slot.connection, ticket.slot = connection, slot  # the first step of a grant
    pool.repair(2.0)
    assert pool.core.recorder.granted == 1
    slot.connection = None
    pool.come_back(slot, connection, 2.5)
    assert came(pool, 3.0) == pytest.approx([1.0, 1.5])
    assert pool.core.recorder.granted == 0


def leased(borrower: object, since: float = 0.0) -> Slot:
    slot = Slot()
    slot.state, slot.lease, slot.borrower, slot.since = State.LEASED, 1, borrower, since
    return slot


def test_callers_that_have_several_connections_are_seen() -> None:
    """One that waits while it has one counts as well; what the pool keeps for itself does not."""
    recorder = Recorder(0.0)
    waiting = Ticket(0.0)
    waiting.borrower = 2
    kept = leased(1)
    kept.keep()
    recorder.sample([leased(1), leased(2), leased(3), leased(3), leased(3), kept], [waiting], 0.0)
    made = recorder.record(1.0, [kept], [], BASICS)
    assert (made.callers, made.nesting, made.deepest, made.kept) == (3, 2, 3, 1)


def test_a_record_survives_its_way_through_json() -> None:
    """What is read is what was written."""
    pool = Driver(max_connections=2, prompt=True)
    slots = pool.take_many(2, 1.0)
    pool.ask(1.5)
    pool.release(slots[0], 2.0)
    made = pool.core.record(3.0)
    assert made.holds
    assert made.longest
    assert made.held == (2.0, 1.0)
    assert Record.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"redpool_record": 99}', '{"redpool_record": 1, "name": "x"}'],
)
def test_what_is_no_record_is_refused(text: str) -> None:
    """With an error that says so."""
    with pytest.raises(ValueError, match="record"):
        Record.from_json(text)


def test_a_record_with_a_wrong_field_is_refused() -> None:
    """The error names the field."""
    document = json.loads(recorded([0.5], 1.0).to_json())
    for name, value in (("max_connections", "many"), ("arrivals", [["a", 1, 1, 0]]), ("name", 5)):
        with pytest.raises(ValueError, match="record"):
            Record.from_json(json.dumps({**document, name: value}))


def test_a_pool_that_is_polled_gathers_no_more_than_a_batch() -> None:
    """A reader of the stats sorts in the arrivals, too, however often it comes: the memory stays fixed."""
    pool = Driver(max_connections=1, prompt=True)
    for n in range(3 * GATHER):
        slot = pool.take(n * 0.01)
        pool.release(slot, n * 0.01 + 0.001)
        if n % 100 == 0:
            pool.stats(n * 0.01)
        assert len(pool.core.recorder.arrived) <= GATHER
        assert len(pool.core.recorder.leases) <= 2 * GATHER


class Interrupted(BaseException):
    """Raised at one bytecode."""


def interrupted_at(number: int) -> tuple[Recorder, bool]:
    """Return a recorder whose `sort_in` was interrupted at its n-th bytecode, and whether it had so many."""
    recorder, left = Recorder(0.0), [number]
    recorder.arrived += [0.001 * n for n in range(50)]
    for n in range(50):
        recorder.end(0.001 * n, 0.002 * n + 0.002)

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in (record.__file__, ring.__file__):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left[0] -= 1
            if left[0] < 0:
                raise Interrupted
        return trace

    sys.settrace(trace)
    try:
        recorder.sort_in()
    except Interrupted:
        return recorder, True
    finally:
        sys.settrace(None)
    return recorder, False


def test_an_interruption_at_any_bytecode_leaves_a_recorder_that_goes_on() -> None:
    """What was gathered is counted once at most, and what comes afterwards is counted."""
    number, more = 0, True
    while more:
        recorder, more = interrupted_at(number)
        recorder.arrived += [1.0, 1.0]
        recorder.end(1.0, 1.5)
        made = recorder.record(2.0, [], [], BASICS)
        assert all(each.seconds == pytest.approx(each.start + 0.002) for each in made.longest[:-1])
        assert made.longest[-1] == (1.0, 0.5)
        assert sum(each.callers for each in made.arrivals if each.slot < 50) <= 100
        assert sum(each.callers for each in made.arrivals if each.slot >= 50) == 3
        number += 7 if number > 60 else 1
    assert number > 60
