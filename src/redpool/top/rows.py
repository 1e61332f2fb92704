"""The rows of the pools: made of a view and the past, grouped, filtered and sorted. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import add
from typing import Generic, TypeVar

from redpool.core.histogram import BOUNDS
from redpool.fleet.model import FleetView, PoolReport, ProcessReport

from .past import Past, Recent
from .shown import Tone, as_text, count, plural, quantile, rate, seconds, sparkline

Reports = tuple[tuple[ProcessReport, PoolReport], ...]
Each = TypeVar("Each")

LONG = 1.0
"""A caller that has waited for so many seconds suffers."""


class Grouping(Enum):
    """What makes a row."""

    POOL = "each pool"
    SERVICE_POOL = "pools of the same name in a service"
    PROCESS = "processes"
    SERVICE = "services"


@dataclass(frozen=True, slots=True)
class Row:
    """A pool, or several together."""

    key: tuple[str, ...]
    """what stays the same from one view to the next"""
    name: str
    place: str
    """of which process, or of how many"""
    reports: Reports
    recent: Recent
    idle: int
    in_use: int
    waiting: int
    connecting: int
    max_connections: int
    oldest_wait: float

    @property
    def share(self) -> float:
        """How much of what it may open is in use, 0 to 1."""
        return min(1.0, self.in_use / self.max_connections) if self.max_connections else 0.0

    @property
    def tone(self) -> Tone:
        """Bad where callers wait for long or in vain, worth a look where they wait, or could not connect."""
        if self.oldest_wait >= LONG or (self.waiting and self.recent.rate("timeouts")):
            return Tone.BAD
        return Tone.WARN if self.waiting or self.recent.rate("connect_failures") else Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Column(Generic[Each]):
    """A column: how it is headed, how wide its figures are, what it sorts by, what it shows and what that means."""

    heading: str
    width: int
    value: Callable[[Each], float | str | None]
    text: Callable[[Each], str]
    about: str
    tone: Callable[[Each], Tone] = lambda _: Tone.PLAIN
    weight: int = 0
    """the lightest are left out first where the terminal is too narrow"""
    is_name: bool = False
    """written from the left, sorted from a to z, and as wide as there is room"""


def rows(view: FleetView, past: Past, grouping: Grouping) -> list[Row]:
    """Return the rows of a view that `past` has noted, in no order."""
    one_host = len({process.host for process in view.processes}) == 1
    groups: dict[tuple[str, ...], list[tuple[ProcessReport, PoolReport]]] = {}
    for process in view.processes:
        for pool in process.pools:
            groups.setdefault(_key(grouping, process, pool), []).append((process, pool))
    return [_row(key, grouping, tuple(members), past, one_host) for key, members in groups.items()]


def _key(grouping: Grouping, process: ProcessReport, pool: PoolReport) -> tuple[str, ...]:
    match grouping:
        case Grouping.POOL:
            return (process.key, pool.name)
        case Grouping.SERVICE_POOL:
            return (process.service, pool.name)
        case Grouping.PROCESS:
            return (process.key,)
    return (process.service,)


def _row(key: tuple[str, ...], grouping: Grouping, reports: Reports, past: Past, one_host: bool) -> Row:
    process, pool = reports[0]
    pools = [pool for _, pool in reports]
    by_name = grouping in (Grouping.POOL, Grouping.SERVICE_POOL)
    by_process = grouping in (Grouping.POOL, Grouping.PROCESS)
    where = f"{'pid ' if one_host else process.host + ':'}{process.pid}"
    processes = plural(len({process.key for process, _ in reports}), "process", "processes")
    places = [where if by_process else processes, *([] if by_name else [plural(len(pools), "pool")])]
    return Row(
        key,
        as_text(f"{process.service}/{pool.name}" if by_name else process.service),
        as_text(", ".join(places)),
        reports,
        reduce(add, (past.recent((process.key, pool.name)) for process, pool in reports)),
        idle=sum(pool.idle for pool in pools),
        in_use=sum(pool.in_use for pool in pools),
        waiting=sum(pool.waiting for pool in pools),
        connecting=sum(pool.connecting for pool in pools),
        max_connections=sum(pool.max_connections for pool in pools),
        oldest_wait=max(pool.oldest_wait for pool in pools),
    )


def trend(row: Row) -> str:
    """Return how many connections were in use in the last minute, as bars; a full one is all that may be open."""
    most = row.max_connections or 1
    return sparkline([None if number is None else number / most for number in row.recent.in_use])


def oldest_wait_trend(row: Row) -> str:
    """Return how long the oldest waiter had waited in the last minute, as bars below the longest of them, and that."""
    longest = max((wait or 0.0 for wait in row.recent.oldest_wait), default=0.0)
    bars = sparkline([None if wait is None else wait / (longest or 1.0) for wait in row.recent.oldest_wait])
    return f"{bars}  {seconds(longest)}"


def _quiet_zero(value: Callable[[Row], float | None]) -> Callable[[Row], Tone]:
    return lambda row: Tone.PLAIN if value(row) else Tone.QUIET


def _number(heading: str, weight: int, width: int, value: Callable[[Row], int], about: str) -> Column[Row]:
    return Column(heading, width, value, lambda row: count(value(row)), about, _quiet_zero(value), weight)


def _rate(heading: str, weight: int, counter: str, about: str) -> Column[Row]:
    def value(row: Row) -> float | None:
        return row.recent.rate(counter)

    return Column(heading, len(heading), value, lambda row: rate(value(row)), about, _quiet_zero(value), weight)


def _percentile(heading: str, weight: int, share: float, about: str) -> Column[Row]:
    def value(row: Row) -> float | None:
        return row.recent.wait.quantile(share) if row.recent.wait.count else None

    return Column(
        heading, 7, value, lambda row: quantile(value(row)), about, lambda row: _of_wait(value(row) or 0.0), weight
    )


def _of_wait(wait: float) -> Tone:
    return Tone.BAD if wait >= LONG else Tone.QUIET if wait <= BOUNDS[0] else Tone.PLAIN


def _of_waiters(row: Row) -> Tone:
    return row.tone if row.waiting else Tone.QUIET


def _of_share(row: Row) -> Tone:
    return row.tone if row.tone is not Tone.PLAIN else Tone.QUIET


COLUMNS: tuple[Column[Row], ...] = (
    Column(
        "pool", 16, lambda row: f"{row.name} {row.place}", lambda row: row.name,
        "service/pool and its process; for groups, how many they are", is_name=True,
    ),
    _number("in use", 99, 6, lambda row: row.in_use, "connections that callers hold; near max is near waiting"),
    _number("max", 96, 5, lambda row: row.max_connections, "connections that the pool may open"),
    _number("idle", 94, 5, lambda row: row.idle, "connections ready to be taken; more is room, far more is waste"),
    Column(
        "waiting", 7, lambda row: row.waiting, lambda row: count(row.waiting),
        "callers that wait for a connection now; 0 is good", _of_waiters, 98,
    ),
    Column(
        "oldest", 7, lambda row: row.oldest_wait, lambda row: seconds(row.oldest_wait) if row.waiting else "0",
        "how long the first of them has waited; lower is better", _of_waiters, 97,
    ),
    _rate("waits/s", 93, "waited", "checkouts a second that found no idle connection; lower is better"),
    _percentile("p50", 92, 0.5, "half of the checkouts of the last 10 s waited no longer; lower is better"),
    _percentile("p99", 95, 0.99, "99 of 100 checkouts of the last 10 s waited no longer; lower is better"),
    Column(
        "last minute", 12, lambda row: row.share, trend,
        "connections in use, 5 s a bar; a full bar is max; sorts by the share in use now", _of_share, 91,
    ),
    _number(
        "connecting", 88, 10, lambda row: row.connecting,
        "connects under way; many for long: the server accepts slowly",
    ),
    _rate("connects/s", 90, "connected", "connections opened a second; steady use needs few"),
    _rate("closes/s", 89, "closed", "connections closed a second; the reasons stand in the details"),
)  # fmt: skip
"""From the left."""

DEFAULT_SORT = "oldest"


def fitting(columns: Sequence[Column[Each]], width: int, name: int, padding: int = 2) -> list[Column[Each]]:
    """Return the columns that fit into so many cells beside a first one of `name`, the weightiest first to be taken."""
    left = width - name - padding
    taken = {columns[0].heading}
    for column in sorted(columns[1:], key=lambda column: column.weight, reverse=True):
        left -= max(column.width, len(column.heading)) + padding
        if left < 0:
            break
        taken.add(column.heading)
    return [column for column in columns if column.heading in taken]


def filtered(all_rows: Iterable[Each], text: str, words_of: Callable[[Each], str]) -> list[Each]:
    """Return the rows whose words contain each word of `text`, whatever the case."""
    wanted = text.casefold().split()
    return [row for row in all_rows if all(word in words_of(row).casefold() for word in wanted)]


def words(row: Row) -> str:
    """Return what a filter looks at: service, pool, host, process and server."""
    return " ".join(as_text(f"{process.key} {pool.name} {pool.address}") for process, pool in row.reports)


def sorted_by(all_rows: Iterable[Each], columns: Sequence[Column[Each]], heading: str, backwards: bool) -> list[Each]:
    """Return the rows by one column: the largest figure or the first name on top, the other way round if `backwards`.

    Rows of the same value stand by name; those without a value stand last.
    """
    chosen = next(column for column in columns if column.heading == heading)
    by_name = sorted(all_rows, key=lambda row: str(columns[0].value(row)))
    known = [row for row in by_name if chosen.value(row) is not None]
    largest_first = not chosen.is_name
    known.sort(key=chosen.value, reverse=largest_first is not backwards)  # type: ignore[arg-type]  # none is None
    return known + [row for row in by_name if chosen.value(row) is None]
