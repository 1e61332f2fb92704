"""The histogram: close to the truth, and of a fixed size."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpool.core.histogram import BOUNDS, LATEST, Distribution, Histogram, Summary

durations = st.floats(min_value=1e-9, max_value=1e6)


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(st.lists(durations, min_size=1, max_size=200), st.sampled_from([0.001, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0]))
def test_a_quantile_is_within_one_part_in_32_of_the_truth(values: list[float], share: float) -> None:
    """The truth being the smallest value that so many are at or below."""
    truth = sorted(values)[math.ceil(share * len(values)) - 1]
    assert filled(values).quantile(share) == pytest.approx(truth, rel=1 / 32)


@given(st.lists(durations, max_size=50), st.integers(0, 50), st.sampled_from([0.25, 0.5, 0.9, 1.0]))
def test_zeros_count_as_values(values: list[float], zeros: int, share: float) -> None:
    """Counting so many zeros besides is the same as having added them."""
    assert filled(values).quantile(share, zeros) == filled(values + [0.0] * zeros).quantile(share)
    assert filled(values).summary(zeros).count == len(values) + zeros


@given(st.lists(st.lists(durations, max_size=70), max_size=4))
def test_the_latest_are_known_however_often_it_is_looked_at(parts: list[list[float]]) -> None:
    """A look sorts what came so far into buckets."""
    histogram, came = Histogram(), list[float]()
    for part in parts:
        for value in part:
            histogram.add(value)
        came += part
        assert histogram.latest == came[-LATEST:]
        histogram.summary()


@given(st.lists(durations, max_size=100), st.lists(durations, max_size=100))
def test_merging_is_counting_both(one: list[float], other: list[float]) -> None:
    """And leaves the other as it was."""
    merged, kept = filled(one), filled(other)
    merged.merge(kept)
    both, got = filled(one + other).summary(), merged.summary()
    assert (got.count, got.p50, got.p90, got.p99, got.max) == (both.count, both.p50, both.p90, both.p99, both.max)
    assert got.mean == pytest.approx(both.mean)
    assert kept.summary() == filled(other).summary()


@given(st.lists(durations, min_size=1, max_size=1_500))
def test_count_mean_and_largest_are_exact(values: list[float]) -> None:
    """However many were gathered or sorted in."""
    summary = filled(values).summary()
    assert summary.count == len(values)
    assert summary.max == max(values)
    assert summary.mean == pytest.approx(math.fsum(values) / len(values))
    assert summary.p50 <= summary.p90 <= summary.p99 <= summary.p999 <= summary.max


def test_an_empty_histogram_is_all_zero() -> None:
    """No division by nothing."""
    assert Histogram().summary() == Summary()
    assert Histogram().mean == Histogram().quantile(0.5) == 0.0


def test_a_clock_that_went_backwards_counts_as_zero() -> None:
    """No negative duration."""
    assert filled([-1.0, -0.5]).summary() == Summary(count=2)


def test_memory_is_fixed() -> None:
    """A million values from a nanosecond to a day fit into as many buckets as there are, not more."""
    histogram = Histogram()
    value = 1e-9
    for _ in range(1_000_000):
        histogram.add(value)
        value = value * 1.0001 if value < 86_400 else 1e-9
    assert histogram.count == 1_000_000
    assert len(histogram._buckets) <= 47 * 16
    assert len(histogram.gathered) < 1_000


def test_a_summary_is_plain_for_json() -> None:
    """Every field by its name."""
    assert filled([1.0]).summary().to_dict() == {
        "count": 1, "mean": 1.0, "p50": 1.0, "p90": 1.0, "p99": 1.0, "p999": 1.0, "max": 1.0,
    }  # fmt: skip


@given(st.lists(durations, max_size=200), st.integers(0, 20))
def test_a_distribution_counts_what_is_at_or_below_each_bound(values: list[float], zeros: int) -> None:
    """But for values within 1/32 of the bound."""
    distribution = filled(values).distribution(zeros)
    for bound, count in zip(BOUNDS, distribution.counts, strict=False):
        assert sum(value <= bound * 31 / 32 for value in values) <= count - zeros
        assert count - zeros <= sum(value <= bound * 33 / 32 for value in values)
    assert distribution.count == len(values) + zeros
    assert distribution.sum == pytest.approx(math.fsum(values))


@given(st.lists(durations, max_size=50), st.lists(durations, max_size=50))
def test_distributions_add_up_and_tell_what_came_since(one: list[float], other: list[float]) -> None:
    """Those of two processes are the distribution of all their durations."""
    first, second = filled(one).distribution(), filled(other).distribution()
    both = first + second
    assert both.counts == filled(one + other).distribution().counts
    assert both.since(first).counts == second.counts
    assert first.since(both) == first or both.count == first.count


def test_a_distributions_quantiles_lie_between_its_bounds() -> None:
    """Half of a thousand durations of 3 ms are below a value between 2.5 and 5 ms; none at all gives 0."""
    assert Distribution().quantile(0.99) == 0.0
    assert 0.0025 <= filled([0.003] * 1000).distribution().quantile(0.5) <= 0.005
    assert filled([1e5]).distribution().quantile(0.5) == BOUNDS[-1]
