"""A simulated load on the real core: reproducible, and as true as the pool's own invariants."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from redpool.core.slot import Slot
from redpool.testing import Simulation

# A pool to which everything happens that can happen.
ROUGH: dict[str, Any] = {
    "arrivals": 30.0, "use": 0.1, "patience": 0.5, "connect_failures": 0.3, "broken": 0.1, "max_connections": 3,
    "min_idle": 1, "max_idle_time": 0.2, "max_lifetime": 2.0, "ping_after_idle": 0.1, "validate_after_idle": 0.01,
    "timeout": 0.3, "max_waiting": 5, "leak_after": 0.4,
}  # fmt: skip


def whats(simulation: Simulation) -> Counter[str]:
    return Counter(event.what for event in simulation.trace)


def test_the_same_seed_gives_the_same_trace() -> None:
    """Event for event, to the last bit of the time; in one go or in several."""
    whole, parts = Simulation(1, **ROUGH), Simulation(1, **ROUGH)
    whole.run(30.0)
    for _ in range(30):
        parts.run(1.0)
    assert whole.trace == parts.trace
    assert len(whole.trace) > 1_000
    assert whole.stats().acquired == parts.stats().acquired


def test_another_seed_gives_another_trace() -> None:
    """Or the former test would show nothing."""
    one, two = Simulation(1), Simulation(2)
    one.run(1.0)
    two.run(1.0)
    assert one.trace != two.trace


def test_other_pools_meet_the_same_callers() -> None:
    """Who comes when depends on the seed alone: what differs is what the pool makes of it."""
    arrivals = []
    pools: list[dict[str, Any]] = [
        {"max_connections": 1},
        {"max_connections": 9},
        {"connect": 0.1, "connect_failures": 0.5},
    ]
    for options in pools:
        simulation = Simulation(3, **options)
        simulation.run(5.0)
        arrivals.append([event for event in simulation.trace if event.what == "arrives"])
    assert arrivals[0] == arrivals[1] == arrivals[2]
    assert len(arrivals[0]) > 100


def test_everything_that_can_happen_happens() -> None:
    """In a pool rough enough."""
    simulation = Simulation(1, **ROUGH)
    simulation.run(100.0)
    assert whats(simulation).keys() == {
        "arrives", "gets", "gives back", "breaks", "found broken", "given up", "timed out", "rejected",
        "connect begins", "connect succeeds", "connect fails", "validation succeeds", "validation fails",
        "leak reported", "closed: idle", "closed: lifetime", "closed: error", "closed: invalid",
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_the_trace_adds_up(seed: int) -> None:
    """Each caller's story ends once, a connection has one holder at a time, and the pool's own counts agree."""
    simulation = Simulation(seed, **ROUGH)
    stats = simulation.run(50.0)
    seen = whats(simulation)
    ends = Counter(
        event.caller
        for event in simulation.trace
        if event.what in ("gives back", "breaks", "given up", "timed out", "rejected")
    )
    assert set(ends.values()) == {1}
    assert seen["arrives"] == len(ends) + stats.in_use + stats.waiting
    assert stats.acquired == seen["gets"] + seen["found broken"]
    assert stats.connected == seen["connect succeeds"]
    assert stats.connect_failures == seen["connect fails"]
    held: set[int] = set()
    for event in simulation.trace:
        if event.what == "gets":
            assert event.connection not in held
            held.add(event.connection)
        elif event.what in ("gives back", "breaks"):
            held.remove(event.connection)
    assert held == {slot.connection for slot in simulation.core.leased() if isinstance(slot, Slot)}


def test_callers_are_served_first_come_first_served() -> None:
    """With patience and a good network, in the order of arrival."""
    simulation = Simulation(1, arrivals=200.0, use=0.02, max_connections=3, timeout=None)
    simulation.run(10.0)
    served = [event.caller for event in simulation.trace if event.what == "gets"]
    assert served == sorted(served)
    assert simulation.stats().waited > 100


def test_a_bigger_pool_waits_less() -> None:
    """The simulation answers what it is for."""
    waits = [Simulation(7, arrivals=300.0, use=0.01, max_connections=size).run(20.0).wait.mean for size in (3, 4, 8)]
    assert waits == sorted(waits, reverse=True)
    assert waits[0] > 10 * waits[-1]


def test_time_goes_on_without_callers() -> None:
    """The pool looks after itself; the clock says how late it is."""
    simulation = Simulation(arrivals=0.0, min_idle=2, max_lifetime=10.0)
    stats = simulation.run(60.0)
    assert simulation.clock.now == 60.0
    assert stats.open == 2
    assert stats.closed["lifetime"] >= 10


def test_a_connect_that_is_cut_ends_there_and_then() -> None:
    """And not once more when it would have ended."""
    simulation = Simulation(arrivals=0.0, min_idle=1, connect=10.0)
    simulation.run(0.0)
    simulation.core.shutdown(simulation.clock.now)
    simulation.run(1000.0)
    assert whats(simulation) == {"connect begins": 1, "connect fails": 1}


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ({"arrivals": -1.0}, ValueError),
        ({"use": float("inf")}, ValueError),
        ({"connect": float("nan")}, ValueError),
        ({"broken": 1.5}, ValueError),
        ({"connect_failures": -0.1}, ValueError),
        ({"max_connections": 0}, ValueError),
        ({"max_conections": 1}, TypeError),
    ],
)
def test_nonsense_is_refused_by_name(argument: dict[str, Any], error: type[Exception]) -> None:
    """At the door."""
    with pytest.raises(error, match=next(iter(argument))):
        Simulation(**argument)
