"""Rates, percentiles and trends: made of what pools have counted between two reports."""

from __future__ import annotations

from typing import Any

import pytest

from redpool.fleet.model import PoolReport, Sample
from redpool.top.past import BARS, Past
from support.views import NOON, later, pool, process, view, waits

CACHE = ("shop@web-1:100", "cache")


def counted(acquired: int, waited: int = 0, **others: Any) -> PoolReport:
    return pool(counters={"acquired": acquired, "waited": waited, "connected": 0}, **others)


def test_rates_are_those_between_two_reports() -> None:
    """By the process's own clock, however late the second is read; the first alone says none."""
    past, first = Past(), process(counted(100, 10, closed={"idle": 1}))
    past.note(view(first))
    assert past.recent(CACHE).rate("acquired") is None
    past.note(view(later(first, 2.0, counted(140, 12, closed={"idle": 1, "error": 4})), at=NOON + 7))
    recent = past.recent(CACHE)
    assert [recent.rate(name) for name in ("acquired", "waited", "closed")] == [20, 1, 2]
    assert recent.reasons == {"idle": 0, "error": 2}


def test_the_last_seconds_count_and_not_those_before() -> None:
    """Percentiles, too: what was slow a minute ago is over."""
    past, first = Past(), process(counted(0))
    for second in range(40):
        slow = min(second, 20)
        past.note(view(later(first, second, counted(second * 10, wait=waits(ms1=second, s2=slow)))))
    recent = past.recent(CACHE)
    assert recent.rate("acquired") == 10
    assert recent.wait.count == 10
    assert recent.wait.quantile(0.99) < 0.002


def test_a_pool_that_began_again_has_no_negative_rates() -> None:
    """The pool before it, of the same name, is forgotten."""
    past, first = Past(), process(counted(1000))
    past.note(view(first))
    past.note(view(later(first, 1, counted(3))))
    assert past.recent(CACHE).rates is None
    past.note(view(later(first, 2, counted(8))))
    assert past.recent(CACHE).rate("acquired") == 5


def test_a_report_that_is_read_twice_counts_once() -> None:
    """A process that reports less often than it is looked at."""
    past, first = Past(), process(counted(0))
    for report in (first, first, later(first, 5, counted(50)), later(first, 5, counted(50))):
        past.note(view(report))
    assert past.recent(CACHE).rate("acquired") == 10


def sample(seconds: float, **others: Any) -> Sample:
    said = dict.fromkeys(("open", "in_use", "connecting", "waiting", "acquired", "timeouts", "connected", "closed"), 0)
    return Sample(NOON + seconds, *CACHE, oldest_wait=0.5, **(said | others))


def test_the_first_view_has_rates_where_the_history_goes_back() -> None:
    """What samples don't say is known from the second report on."""
    past, first = Past(), process(counted(100, 7))
    past.note(view(first, history=(sample(-50), sample(-5, acquired=50))))
    recent = past.recent(CACHE)
    assert recent.rate("acquired") == 10
    assert recent.rate("waited") is None
    past.note(view(later(first, 1, counted(100, 9)), history=(sample(-50), sample(-5, acquired=50))))
    assert past.recent(CACHE).rate("waited") == 2


def test_a_trend_has_the_most_of_each_bar() -> None:
    """Nothing before the pool was known; between two points the one before."""
    past = Past()
    past.note(view(process(pool(in_use=2)), history=(sample(-31, in_use=9), sample(-32, in_use=6))))
    trend = past.recent(CACHE).in_use
    assert len(trend) == BARS
    assert [number for number in trend if number is not None] == [9] * 7 + [2]


def test_several_pools_add_up() -> None:
    """Rates and distributions do; a rate that isn't known of one is that of the other."""
    past, first, second = Past(), process(counted(0)), process(counted(0), pid=2)
    past.note(view(first))
    past.note(view(later(first, 1, counted(10, wait=waits(ms1=3))), second))
    both = past.recent(CACHE) + past.recent(("shop@web-1:2", "cache"))
    assert both.rate("acquired") == 10
    past.note(view(later(first, 2, counted(20, wait=waits(ms1=3))), later(second, 1, counted(1, wait=waits(s1=4)))))
    both = past.recent(CACHE) + past.recent(("shop@web-1:2", "cache"))
    assert both.rate("acquired") == pytest.approx(11)
    assert both.wait.count == 7


def test_what_is_gone_is_forgotten() -> None:
    """Processes come and go for as long as somewhere a screen is open."""
    past = Past()
    past.note(view(process(counted(1))))
    past.note(view())
    assert past.recent(CACHE).in_use == (None,) * BARS
