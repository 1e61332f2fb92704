"""What a pool says about itself: exact at any moment, in numbers and in words."""

from __future__ import annotations

import json

import pytest

from redpool.core.slot import Reason
from redpool.core.stats import Lease, PoolDump, Waiter
from redpool.errors import PoolTimeout

from .driver import Driver


def test_open_is_idle_and_in_use() -> None:
    """Three of each kind of thing, one after the other."""
    driver = Driver(max_connections=4, name="cache")
    driver.open(3, 0.0)
    driver.take(1.0)
    stats = driver.stats(1.0)
    assert (stats.name, stats.max_connections) == ("cache", 4)
    assert (stats.open, stats.idle, stats.in_use) == (3, 2, 1)
    assert (stats.connecting, stats.waiting) == (0, 0)


def test_a_connection_that_is_being_checked_counts_as_idle() -> None:
    """It is open, and no caller uses it."""
    driver = Driver(ping_after_idle=30.0)
    driver.open(2, 0.0)
    driver.tick(30.0)
    assert not driver.core.idle
    stats = driver.stats(30.0)
    assert (stats.open, stats.idle, stats.in_use) == (2, 2, 0)


def test_checkouts_are_counted_when_they_happen_and_waits_when_they_end() -> None:
    """`acquired` has those still in use; `waited` those that found nothing idle."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    driver.ask(1.0)
    driver.ask(1.0)
    driver.release(slot, 3.0)
    stats = driver.stats(4.0)
    assert (stats.acquired, stats.released, stats.waited, stats.waiting) == (2, 1, 2, 1)
    assert (stats.wait.count, stats.wait.max) == (2, 2.0)
    assert (stats.use.count, stats.use.max) == (1, 3.0)


def test_the_oldest_wait_is_that_of_the_first_in_the_queue() -> None:
    """It goes on while the caller waits, is the next one's after that, and 0 where none waits."""
    driver = Driver(max_connections=1, timeout=None)
    slot = driver.take(0.0)
    assert driver.stats(9.0).oldest_wait == 0.0
    first = driver.ask(10.0)
    driver.ask(12.0)
    assert [driver.stats(now).oldest_wait for now in (12.0, 15.0)] == [2.0, 5.0]
    driver.give_up(first, 16.0)
    assert driver.stats(16.0).oldest_wait == 4.0
    driver.release(slot, 17.0)
    assert driver.stats(18.0).oldest_wait == 0.0


def test_a_checkout_that_found_an_idle_connection_waited_for_nothing() -> None:
    """It is in the summary of waits, as 0."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    for _ in range(9):
        driver.release(slot, 0.0)
        driver.take(0.0)
    driver.ask(1.0)
    driver.release(slot, 2.0)
    stats = driver.stats(2.0)
    assert (stats.wait.count, stats.wait.p50, stats.wait.max) == (11, 0.0, 1.0)
    assert stats.wait.mean == pytest.approx(1 / 11)


def test_connects_are_timed_from_their_beginning() -> None:
    """Not from the order, which may have lain about."""
    driver = Driver()
    driver.ask(0.0)
    driver.begin_connects(1.0)
    driver.answer_connects(3.0)
    stats = driver.stats(3.0)
    assert (stats.connected, stats.connect.count, stats.connect.max) == (1, 1, 2.0)
    assert stats.wait.max == 3.0


def test_failures_are_counted() -> None:
    """And are no connections."""
    driver = Driver()
    driver.ask(0.0)
    driver.fail_connects(OSError(), 0.1)
    stats = driver.stats(0.1)
    assert (stats.connected, stats.connect_failures, stats.open) == (0, 1, 0)


def test_closes_are_counted_by_reason_as_soon_as_they_are_decided() -> None:
    """Such a connection is no longer open."""
    driver = Driver()
    slots = driver.take_many(3, 0.0)
    driver.release(slots[0], 1.0, Reason.ERROR)
    driver.drain(1.0)
    driver.release(slots[1], 1.0)
    stats = driver.stats(1.0)
    assert stats.closed == {"error": 1, "drained": 1}
    assert stats.open == stats.in_use == 1


def test_utilization_is_the_mean_share_in_use_since_the_beginning() -> None:
    """One of two for half the time: a quarter. A lease that lasts counts so far."""
    driver = Driver(max_connections=2)
    slot = driver.take(0.0)
    assert driver.stats(0.0).utilization == 0.0
    assert driver.stats(4.0).utilization == 0.5
    driver.release(slot, 5.0)
    assert driver.stats(10.0).utilization == 0.25


def test_utilization_knows_of_a_resize() -> None:
    """What was on offer before counts as it was then: 10 s of 2 and 10 s of 3 places, 20 s of use."""
    driver = Driver(max_connections=2)
    driver.take(0.0)
    driver.resize(3, 10.0)
    assert driver.stats(20.0).utilization == pytest.approx(20 / 50)


def test_stats_are_plain_for_json() -> None:
    """Summaries and reasons, too; nothing is left out."""
    driver = Driver()
    driver.release(driver.take(0.0), 1.0, Reason.ERROR)
    plain = json.loads(json.dumps(driver.stats(1.0).to_dict()))
    assert plain["closed"] == {"error": 1}
    assert plain["use"]["count"] == 1
    assert set(plain) == set(type(driver.stats(1.0)).__dataclass_fields__)


def test_counts_in_words() -> None:
    """As they stand in messages and in `repr`."""
    driver = Driver(max_connections=2)
    assert driver.counts(0.0) == "0 of 2 in use, 0 waiting"
    driver.ask(0.0)
    assert driver.counts(0.0) == "0 of 2 in use, 1 connecting, 1 waiting"
    driver.answer_connects(0.1)
    assert driver.counts(12.5) == "1 of 2 in use, 0 waiting, oldest lease 12.4 s"


def test_a_timeout_says_how_things_stand() -> None:
    """Who has what for how long, who waits, and how long this one did."""
    driver = Driver(max_connections=1, timeout=5.0, name="cache")
    driver.take(0.0)
    ticket, _ = driver.ask(2.0), driver.ask(2.5)
    driver.tick(7.0)
    assert isinstance(ticket.error, PoolTimeout)
    assert str(ticket.error) == (
        "cache: no connection within 5.000 s: 1 of 1 in use, 2 waiting, oldest lease 7.0 s"
    )  # fmt: skip
    assert ticket.error.__cause__ is None


def test_the_last_connect_failure_is_a_timeouts_cause() -> None:
    """A server that is down isn't a pool that is too small."""
    driver = Driver(timeout=5.0, connect_retries=1_000)
    down = ConnectionError("connection refused")
    ticket = driver.ask(0.0)
    for at in (0.1, 1.0, 2.0):
        driver.tick(at)
        driver.fail_connects(down, at)
    driver.tick(5.0)
    assert isinstance(ticket.error, PoolTimeout)
    assert str(ticket.error).endswith("; last connect failed: connection refused")
    assert ticket.error.__cause__ is down


def test_a_failure_that_is_over_is_nobodys_cause() -> None:
    """The server answered since."""
    driver = Driver(max_connections=1, timeout=5.0, connect_retries=1_000)
    driver.ask(0.0)
    driver.fail_connects(ConnectionError("connection refused"), 0.1)
    driver.tick(1.0)
    driver.answer_connects(1.0)
    late = driver.ask(2.0)
    driver.tick(7.0)
    assert "refused" not in str(late.error)


def test_a_dump_reads_well() -> None:
    """Leases with where they were taken, then waiters."""
    dump = PoolDump(
        "cache",
        (Lease(1.5, "thread a", "File x\n  get()", "GET"), Lease(0.25, "thread b", None, None)),
        (Waiter(0.1, "thread c"),),
    )
    assert str(dump).splitlines() == [
        "cache: 2 in use, 1 waiting",
        "  in use 1.500 s by thread a, last command GET",
        "    File x",
        "      get()",
        "  in use 0.250 s by thread b, last command unknown",
        "  waiting 0.100 s: thread c",
    ]


def test_distributions_count_what_stats_summarize() -> None:
    """A checkout that found an idle connection waited 0 seconds, also while it is in use; so does a connect here."""
    driver = Driver(max_connections=1)
    slot = driver.take(0.0)
    driver.release(slot, 2.0)
    driver.take(3.0)
    distributions, stats = driver.core.distributions(), driver.stats(3.0)
    for name in ("wait", "use", "connect"):
        assert getattr(distributions, name).count == getattr(stats, name).count
    assert distributions.wait.counts[0] == 2
    assert distributions.use.sum == 2.0
