"""The rules of thumb."""

from __future__ import annotations

from random import Random

import pytest

from redpool.core import policy


def test_pickers_point_at_the_newest_the_oldest_or_any() -> None:
    """The newest is the usual case, so it needs no call."""
    random = Random(1)
    assert policy.picker("lifo", random) is None
    oldest, any_one = policy.picker("fifo", random), policy.picker("random", random)
    assert oldest is not None
    assert oldest(7) == 0
    assert any_one is not None
    assert {any_one(3) for _ in range(50)} == {0, 1, 2}


def test_a_lifetime_is_shortened_by_at_most_the_jitter() -> None:
    """Never lengthened."""
    random = Random(1)
    lives = [policy.lifetime(100.0, 0.2, random) for _ in range(500)]
    assert 80.0 < min(lives) < 82.0
    assert 98.0 < max(lives) <= 100.0
    assert policy.lifetime(100.0, 0.0, random) == 100.0


@pytest.mark.parametrize(("failures", "pause"), [(1, 0.02), (2, 0.04), (5, 0.32), (6, 0.5), (1_000_000, 0.5)])
def test_a_pause_doubles_up_to_half_a_second(failures: int, pause: float) -> None:
    """Less a fifth by chance."""
    pauses = [policy.pause_after(failures, Random(seed)) for seed in range(50)]
    assert 0.8 * pause <= min(pauses) < max(pauses) <= pause


@pytest.mark.parametrize(("connect", "patience"), [(0.0, 0.010), (0.001, 0.010), (0.005, 0.020), (1.0, 0.100)])
def test_patience_is_a_few_connects_within_limits(connect: float, patience: float) -> None:
    """Never so short that a burst opens everything, never so long that a caller would notice."""
    assert policy.growth_patience(connect, None) == policy.growth_patience(connect, 5.0) == patience


def test_patience_leaves_time_for_a_connect() -> None:
    """A caller that waits only briefly has one connected in time; one that never waits, at once."""
    assert policy.growth_patience(0.001, 0.02) == 0.005
    assert policy.growth_patience(0.001, 0) == 0
