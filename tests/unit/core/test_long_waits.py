"""A caller that waits for longer than `warn_wait` is reported once, with who has what it waits for."""

from __future__ import annotations

import json

import pytest

from redpool.core.long_waits import wait_line
from redpool.core.stats import Lease

from .driver import Driver


def test_a_long_wait_is_reported_once_while_it_lasts() -> None:
    """A tick is due just then; the report says how old the leases are, the oldest first."""
    driver = Driver(max_connections=2, timeout=None, warn_wait=0.5)
    older, newer = driver.take(1.0), driver.take(2.0)
    older.borrower, newer.borrower = "older", "newer"
    driver.ask(10.0)
    driver.run_until(10.4)
    assert driver.long_waits == []
    driver.run_until(60.0)
    (report,) = driver.long_waits
    assert (report.waited, report.more) == (0.5, 0)
    assert [(each.borrower, each.age) for each in report.held_by] == [("older", 9.5), ("newer", 8.5)]
    assert report.counts == {"in_use": 2, "max_connections": 2, "connecting": 0, "waiting": 1}


def test_many_that_wait_are_one_report_a_second() -> None:
    """It counts the others; those that became long meanwhile come in the next one."""
    driver = Driver(max_connections=1, timeout=None, warn_wait=0.5)
    driver.take(0.0)
    for tenth in range(10):
        driver.ask(1.0 + tenth / 10)
    driver.run_until(30.0)
    assert [(round(each.waited, 3), each.more) for each in driver.long_waits] == [(0.5, 0), (1.4, 8)]


def test_a_caller_that_is_held_for_its_class_waits_as_any_other() -> None:
    """The first to wait is reported, whichever class it is of."""
    driver = Driver(max_connections=2, timeout=None, warn_wait=0.5, reserved={"a": 1})
    driver.take(0.0)
    driver.run_until(1.0)
    driver.ask(1.0)
    driver.run_until(30.0)
    assert [(report.waited, report.more) for report in driver.long_waits] == [(0.5, 0)]


@pytest.mark.parametrize("warn_wait", [None, 0.5])
def test_a_short_wait_is_not_reported(warn_wait: float | None) -> None:
    """Nor is any where that wasn't asked for."""
    driver = Driver(max_connections=1, timeout=None, warn_wait=warn_wait)
    slot = driver.take(0.0)
    driver.ask(1.0)
    driver.run_until(1.4 if warn_wait else 30.0)
    driver.release(slot, 1.4 if warn_wait else 30.0)
    driver.run_until(60.0)
    assert driver.long_waits == []


def test_the_line_can_be_read_by_programs() -> None:
    """One line of pairs, each value as in JSON, whatever the names of threads and files are."""
    lease = Lease(2.0, "thread 'a\n\"b\"'", 'File "x.py", line 1, in f', "GET")
    line = wait_line(0.5, None, 3, {"in_use": 1}, [lease])
    assert "\n" not in line
    pairs, _, holders = line.partition(" held_by=")
    assert pairs == "waited=0.5 caller=null more=3 in_use=1"
    assert json.loads(holders) == [
        {"age": 2.0, "borrower": lease.borrower, "at": lease.taken_at, "command": "GET"},
    ]
