"""What pools were like in the last minute: rates and percentiles are made of it. `Past` owns it; a view adds to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from redpool.core.histogram import Distribution
from redpool.fleet.model import FleetView, PoolReport, ProcessReport, Sample

RECENT = 10.0
"""Over how many seconds rates and percentiles are taken; over two reports where a process reports less often."""
BARS, BAR = 12, 5.0
"""How many bars a trend has, and how many seconds each of them stands for."""

_MOST = 200  # points of one pool

Key = tuple[str, str]
"""a pool: the `key` of its process, and its name"""


@dataclass(frozen=True, slots=True)
class Recent:
    """What a pool, or several, did in the last seconds. Rates are by second, and `None` before two reports came."""

    rates: Mapping[str, float] | None = None
    """of each counter, and of `closed`"""
    reasons: Mapping[str, float] = field(default_factory=dict)
    """of connections closed, by reason"""
    wait: Distribution = field(default_factory=Distribution)
    in_use: tuple[int | None, ...] = (None,) * BARS
    """the most connections in use, for each bar of the trend; `None` before the pool was known"""
    oldest_wait: tuple[float | None, ...] = (None,) * BARS
    """the longest wait of a caller that waited, likewise"""

    def rate(self, counter: str) -> float | None:
        """Return how often a second it was counted; `None` if that isn't known."""
        return None if self.rates is None else self.rates.get(counter)

    def __add__(self, other: Recent) -> Recent:
        """Return what both did together."""
        rates = self.rates if other.rates is None else other.rates if self.rates is None else None
        return Recent(
            _summed(self.rates, other.rates) if self.rates and other.rates else rates,
            _summed(self.reasons, other.reasons),
            self.wait + other.wait,
            tuple(
                b if a is None else a if b is None else a + b for a, b in zip(self.in_use, other.in_use, strict=True)
            ),
            tuple(max(_known(both), default=None) for both in zip(self.oldest_wait, other.oldest_wait, strict=True)),
        )


@dataclass(frozen=True, slots=True)
class _Point:
    """A pool at one moment."""

    at: float
    in_use: int
    oldest_wait: float
    counters: Mapping[str, int]
    closed: Mapping[str, int] | None
    """by reason; the stream's samples don't say it"""
    wait: Distribution


class Past:
    """Remembers the points of each pool that the last view had, for as long as a trend lasts."""

    def __init__(self) -> None:
        self._points: dict[Key, deque[_Point]] = {}

    def note(self, view: FleetView) -> None:
        """Add what a view says. What it has of the past counts for the pools that weren't known before."""
        reports = {(process.key, pool.name): (process, pool) for process in view.processes for pool in process.pools}
        unknown = reports.keys() - self._points.keys()
        before: dict[Key, list[_Point]] = {}
        for sample in view.history if unknown else ():
            if (key := (sample.process, sample.pool)) in unknown:
                before.setdefault(key, []).append(_of_sample(sample))
        points = {key: self._points.get(key) or deque(before.get(key, ())) for key in reports}
        for key, (process, pool) in reports.items():
            _append(points[key], _of_report(process, pool))
        self._points = points

    def recent(self, key: Key) -> Recent:
        """Return what a pool of the last view did in the seconds before it was reported."""
        points = self._points.get(key)
        if not points:
            return Recent()
        in_use, oldest_wait = _trend(points)
        newest, before = points[-1], _before(points)
        if not before:
            return Recent(in_use=in_use, oldest_wait=oldest_wait)
        rates = {name: _rate(newest, before, _counter(name)) for name in newest.counters}
        reasons = {reason: _rate(newest, before, _reason(reason)) for reason in newest.closed or ()}
        wait = newest.wait.since(before[0].wait)
        return Recent(_without_none(rates), _without_none(reasons), wait, in_use, oldest_wait)


def _of_report(process: ProcessReport, pool: PoolReport) -> _Point:
    counters = {**pool.counters, "closed": sum(pool.closed.values())}
    return _Point(process.at, pool.in_use, pool.oldest_wait, counters, pool.closed, pool.wait)


def _of_sample(sample: Sample) -> _Point:
    counters = {name: getattr(sample, name) for name in ("acquired", "timeouts", "connected", "closed")}
    return _Point(sample.at, sample.in_use, sample.oldest_wait, counters, None, sample.wait)


def _append(points: deque[_Point], point: _Point) -> None:
    """Add the newest point. What came before is forgotten if it is of an earlier pool of that name, or too old."""
    while points and points[-1].at >= point.at:
        points.pop()
    if points and any(point.counters.get(name, 0) < number for name, number in points[-1].counters.items()):
        points.clear()
    points.append(point)
    while len(points) > _MOST or points[0].at < point.at - BARS * BAR - RECENT:
        points.popleft()


def _before(points: deque[_Point]) -> list[_Point]:
    """Return the points with which the newest may be compared, oldest first."""
    *before, newest = points
    return [point for point in before if point.at >= newest.at - RECENT - 0.5] or before[-1:]


def _rate(newest: _Point, before: Iterable[_Point], number_of: Callable[[_Point], int | None]) -> float | None:
    """Return how often a second it was counted since the oldest point that says it; `None` if none does."""
    now = number_of(newest)
    for point in before:
        then = number_of(point)
        if now is not None and then is not None:
            return max(0, now - then) / (newest.at - point.at)
    return None


def _counter(name: str) -> Callable[[_Point], int | None]:
    return lambda point: point.counters.get(name)


def _reason(reason: str) -> Callable[[_Point], int | None]:
    return lambda point: None if point.closed is None else point.closed.get(reason, 0)


def _trend(points: deque[_Point]) -> tuple[tuple[int | None, ...], tuple[float | None, ...]]:
    """Return what was most in each bar up to the newest point; a bar without a point is as the one before."""
    in_use: list[int | None] = [None] * BARS
    oldest_wait: list[float | None] = [None] * BARS
    last = int(points[-1].at // BAR)
    for point in points:
        bar = BARS - 1 - last + int(point.at // BAR)
        if 0 <= bar < BARS:
            in_use[bar] = max(in_use[bar] or 0, point.in_use)
            oldest_wait[bar] = max(oldest_wait[bar] or 0.0, point.oldest_wait)
    for bar in range(1, BARS):
        if in_use[bar] is None:
            in_use[bar], oldest_wait[bar] = in_use[bar - 1], oldest_wait[bar - 1]
    return tuple(in_use), tuple(oldest_wait)


def _summed(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in {**one, **other}}


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _without_none(rates: Mapping[str, float | None]) -> dict[str, float]:
    return {name: rate for name, rate in rates.items() if rate is not None}
