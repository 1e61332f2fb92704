"""Pools in the log."""

from __future__ import annotations

import dataclasses
import gc
import math
import threading
from typing import Any

import pytest

from redpool.core.histogram import Summary
from redpool.core.stats import PoolStats
from redpool.metrics.logs import log_stats, stats_line
from support.faces import Face, eventually

from .exporters import Lines

STATS = PoolStats(
    "a:1/0", 10, 3, 2, 1, 4, 5, 1.5, 6, 7, 8, 9, 10, 11, 12, 13, {"idle": 2, "invalid": 1}, Summary(5, 0.25, 0.5)
)


def _loggers() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.endswith(" stats")]


def test_the_line() -> None:
    """Every number of `stats()` by its name, in one order; times in seconds, to the microsecond."""
    assert stats_line(STATS) == (
        "pool=a:1/0 max_connections=10 open=3 idle=2 in_use=1 connecting=4 waiting=5 oldest_wait=1.500000 acquired=6 "
        "waited=7 timeouts=8 rejected=9 connected=10 connect_failures=11 released=12 leaks=13 closed_idle=2 "
        "closed_invalid=1 wait_mean=0.250000 wait_p50=0.500000 wait_p90=0.000000 wait_p99=0.000000 wait_p999=0.000000 "
        "wait_max=0.000000 use_mean=0.000000 use_p50=0.000000 use_p90=0.000000 use_p99=0.000000 use_p999=0.000000 "
        "use_max=0.000000 connect_mean=0.000000 connect_p50=0.000000 connect_p90=0.000000 connect_p99=0.000000 "
        "connect_p999=0.000000 connect_max=0.000000 utilization=0.000000 retries_refused=0"
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cache", "cache"),
        ("two words", '"two words"'),
        ('"', r'"\""'),
        ("a\nb", r'"a\nb"'),
        ("a=b", '"a=b"'),
        ("", '""'),
    ],
)
def test_a_name_can_not_break_the_line(name: str, shown: str) -> None:
    """A name with a space, a quote, an equals sign or a line's end is quoted."""
    line = stats_line(dataclasses.replace(STATS, name=name))
    assert line.startswith(f"pool={shown} max_connections=10 ")
    assert "\n" not in line


def test_a_line_per_interval(face: Face, at: dict[str, Any]) -> None:
    """Lines come until the log is ended, and say what the pool says."""
    lines = Lines()
    pool = face.pool(**at, name="logged")
    face.open_connections(pool, 2)
    end = log_stats(getattr(pool, "_target", pool), every=0.01, logger=lines.logger)
    assert eventually(lambda: len(lines.seen) >= 3)
    assert all(line.startswith("pool=logged max_connections=50 open=2 idle=2 ") for line in lines.seen)
    end()
    assert eventually(lambda: not _loggers())
    end()


def test_the_thread_ends_with_the_pool(threads: Face, at: dict[str, Any]) -> None:
    """It holds the pool weakly, and doesn't wait for the interval to end."""
    pool = threads.pool_class(**at, name="logged")
    log_stats(pool, every=3600)
    assert _loggers() == ["redpool logged stats"]
    del pool
    gc.collect()
    assert eventually(lambda: not _loggers())


@pytest.mark.parametrize("every", [0, -1, math.nan, math.inf])
def test_nonsense_is_refused(threads: Face, every: float) -> None:
    """An interval is a number of seconds above 0."""
    pool = threads.pool()
    with pytest.raises(ValueError, match=f"every={every}"):
        log_stats(pool, every=every)
    assert not _loggers()
