"""Which size pools should have, by their records, or by counters where there is no record. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ..core.record import Record
from ..fleet.model import PoolReport, ProcessReport
from ..tuning.advice import Advice, advise
from ..tuning.counters import advise_from_counters
from .facts import Facts

FEW = 100
"""callers, below which a load says nothing"""
_MOST_BUSY = 500
"""connections in use on average: what claims more than that is not computed"""


@dataclass(frozen=True, slots=True)
class Sized:
    """A pool, and the size that its load asks for."""

    label: str
    name: str
    """of pools of several processes the same"""
    address: str
    max_connections: int
    sizes_itself: bool
    shares: bool
    """its callers share connections already"""
    wait_p99: float
    record: Record | None
    """`None` where the advice comes from counters"""
    advice: Advice


def sized(facts: Facts) -> Iterator[Sized]:
    """Yield the pools whose load is known: a hundred callers, and how long they kept their connections."""
    for pool in facts.pools:
        advice = _by_record(pool.record)
        if advice is not None:
            wait = pool.wait.quantile(0.99)
            yield Sized(
                pool.where, pool.name, pool.name, pool.max_connections, pool.sizes_itself, pool.multiplexed, wait,
                pool.record, advice,
            )  # fmt: skip
    for process in facts.fleet.processes if facts.fleet else ():
        for report in process.pools:
            record = facts.records.get((process.key, report.name))
            advice = _by_record(record) or _by_counters(process, report)
            if advice is not None:
                yield Sized(
                    f"{report.name} of {process.key}", report.name, report.address, report.max_connections,
                    report.sizes_itself, report.kind == "multiplexed", report.wait.quantile(0.99),
                    None if advice.guessed else record, advice,
                )  # fmt: skip


@lru_cache(maxsize=64)
def _by_record(record: Record | None) -> Advice | None:
    """Return the advice that `redpool tune` would give; several rules ask, and it takes up to some seconds."""
    if record is None or sum(arrivals.callers for arrivals in record.arrivals) < FEW:
        return None
    try:
        return advise(record)
    except ValueError:  # another process has made it up
        return None


def _by_counters(process: ProcessReport, report: PoolReport) -> Advice | None:
    """Return a guess by the mean load since the process was started."""
    seconds, acquired = process.at - process.started, report.counters.get("acquired", 0)
    if seconds <= 0 or acquired < FEW or not report.use.count or not report.use.sum:
        return None
    rate, hold = acquired / seconds, report.use.sum / report.use.count
    if rate * hold > min(report.max_connections, _MOST_BUSY):
        return None
    return advise_from_counters(
        report.name, report.max_connections, rate, hold, median_hold=report.use.quantile(0.5)
    )  # fmt: skip
