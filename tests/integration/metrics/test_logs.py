"""Pools in the log."""

from __future__ import annotations

import dataclasses
import gc
import math
import re
import threading
from typing import Any

import pytest
import redis

from redpool.core.histogram import Summary
from redpool.core.slot import Reason
from redpool.core.stats import PoolStats
from redpool.metrics.logs import EventLog, log_stats, stats_line
from redpool.testing import Clock
from support.faces import Face, Listener, eventually

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
        "connect_p999=0.000000 connect_max=0.000000 utilization=0.000000 shed=0 retries_refused=0"
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


def _event_log(lines: Lines, **options: Any) -> EventLog:
    return EventLog(logger=lines.logger, **options)


MADE = {"max_connections": 1, "timeout": 0, "leak_after": 0.001}


def test_what_happens_to_connections(face: Face, at: dict[str, Any]) -> None:
    """A line for each connect, close, caller that waits in vain, and leak."""
    lines = Lines()
    pool = face.pool(**at, name="said", instruments=[_event_log(lines)], **MADE)
    with pool.connection():
        with pytest.raises(redis.ConnectionError):
            pool.get_connection()
        assert eventually(lambda: any(line.startswith("event=leaked ") for line in lines.seen))
    pool.disconnect()
    assert eventually(lambda: any(line.startswith("event=closed ") for line in lines.seen))
    connected, timed_out, leaked, closed = sorted(lines.seen, key=_order)
    number = r"\d+\.\d{6}"
    assert re.fullmatch(f"event=connected pool=said seconds={number}", connected)
    assert re.fullmatch(f"event=timed_out pool=said seconds={number}", timed_out)
    place = r'"[^"]+(test_logs|faces)\.py:\d+ in \w+"'
    assert re.fullmatch(f"event=leaked pool=said age={number} borrower=.+ taken_at={place}", leaked)
    assert re.fullmatch(f'event=closed pool=said reason="pool closed" age={number}', closed)


def _order(line: str) -> int:
    return ["connected", "timed_out", "leaked", "closed"].index(line.split(" ", maxsplit=1)[0].removeprefix("event="))


def test_a_failed_connect_says_no_more_than_its_kind(threads: Face, refusing: Listener) -> None:
    """An error's text may quote a secret."""
    lines = Lines()
    pool = threads.pool(host="127.0.0.1", port=refusing.port, name="said", instruments=[_event_log(lines)])
    with pytest.raises(redis.ConnectionError):
        pool.get_connection()
    assert eventually(lambda: "event=connect_failed pool=said error=ConnectionError" in lines.seen)


def test_a_long_wait_is_logged(threads: Face, at: dict[str, Any]) -> None:
    """From `long_wait` on; where there is none, the pool's checkouts have nothing more to do."""
    lines = Lines()
    log = _event_log(lines, long_wait=0.5)
    log.acquired("said", 0.499)
    log.acquired("said", 0.5)
    assert lines.seen == ["event=waited_long pool=said seconds=0.500000"]
    assert threads.pool(**at, instruments=[log])._watched
    assert not threads.pool(**at, instruments=[_event_log(lines, long_wait=None)])._watched


def test_no_more_than_so_many_are_logged() -> None:
    """Of each kind; the next one says how many were left out."""
    lines, clock = Lines(), Clock()
    log = _event_log(lines, most=2, within=10.0, clock=clock)
    for _ in range(5):
        log.closed("said", Reason.IDLE.value, 1.0)
    log.closed("said", Reason.ERROR.value, 1.0)
    log.closed("other", Reason.IDLE.value, 1.0)
    assert [line.split(" ", 1)[1] for line in lines.seen] == [
        "pool=said reason=idle age=1.000000",
        "pool=said reason=idle age=1.000000",
        "pool=said reason=error age=1.000000",
        "pool=other reason=idle age=1.000000",
    ]
    clock.advance(10.0)
    log.closed("said", Reason.IDLE.value, 1.0)
    log.closed("said", Reason.IDLE.value, 1.0)
    assert lines.seen[-2:] == [
        "event=closed pool=said reason=idle age=1.000000 left_out=3",
        "event=closed pool=said reason=idle age=1.000000",
    ]


@pytest.mark.parametrize(("options", "said"), [({"most": 0}, "most=0"), ({"within": 0}, "within=0")])
def test_nonsense_about_events_is_refused(options: dict[str, Any], said: str) -> None:
    """At once, by its name."""
    with pytest.raises(ValueError, match=said):
        EventLog(**options)
