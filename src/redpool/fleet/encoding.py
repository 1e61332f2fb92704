"""Reports, and the records of pools, as bytes, and back: compact JSON, compressed where that pays.

What comes back is made by anyone who can write to that Redis, or who listens at that socket. So sizes and types are
checked, texts are cut, and what is wrong raises `ReportError`. What a newer version adds is passed over.
"""

from __future__ import annotations

import json
import math
import operator
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from itertools import accumulate
from typing import Any, NoReturn, TypeVar

from ..core.arrivals import SECONDS, SLOTS, Arrivals
from ..core.histogram import BOUNDS, Distribution
from ..core.record import CONNECTS, LONGEST, Record, Span
from .model import Borrowed, Calling, PoolReport, ProcessReport, Sample, Waiting

VERSION = 1
MOST_POOLS = 256
"""So many pools a report has at most."""
MOST_BYTES = 256 * 1024
"""So long a report is at most."""
MOST_RECORDS = 32
"""The records of so many pools come at once at most: those with the most callers."""
MOST_BYTES_OF_RECORDS = 8 * 1024 * 1024
_MOST_PLAIN = 4 * 1024 * 1024  # bytes when decompressed
_MOST_PLAIN_OF_RECORDS = 32 * 1024 * 1024
_LONGEST = 400  # characters of a text
_MOST_ENTRIES = 64  # of counters, reasons, leases, waiters
_MOST_HELD = 4096  # leases of a record that have not ended
_MOST_BUCKETS = 4096  # of a record's holds
_MOST_IN_SLOT = 0xFFFF  # callers
_LARGEST = 2**63
_SMALL = 160  # bytes which zlib doesn't shorten by much
_COUNTS = len(BOUNDS) + 1
_EMPTY = Distribution()

_T = TypeVar("_T")
_Read = Callable[[Any], Any]


class ReportError(ValueError):
    """What should be a report is none: the message says why."""


def encode(report: ProcessReport) -> bytes:
    """Return a report as bytes."""
    return _pack(_plain_record(report))


def decode(data: bytes) -> ProcessReport:
    """Return the report that `encode` has made bytes of. Raises `ReportError` where they are none."""
    report: ProcessReport = _decoded(data, _process)
    return report


def encode_samples(report: ProcessReport) -> bytes:
    """Return as bytes what the history keeps of a report."""
    pools = [_plain_record(sample_of(report, pool), leave_out=("at", "process")) for pool in report.pools]
    return _pack({"process": report.key, "pools": pools})


def decode_samples(data: bytes, at: float) -> tuple[Sample, ...]:
    """Return what `encode_samples` has made bytes of, noted at this moment. Raises `ReportError` as `decode` does."""

    def read(value: Any) -> tuple[Sample, ...]:
        found = _of(dict, value)
        process = _text(found.get("process"))
        return tuple(Sample(at=at, process=process, **each) for each in _samples(found.get("pools")))

    samples: tuple[Sample, ...] = _decoded(data, read)
    return samples


def encode_records(records: Iterable[Record]) -> bytes:
    """Return records as bytes, of at most 32 pools: those with the most callers."""
    most = sorted(records, key=lambda record: -sum(each.callers for each in record.arrivals))[:MOST_RECORDS]
    return _pack({"records": [_plain_of_record(record) for record in most]})


def decode_records(data: bytes) -> tuple[Record, ...]:
    """Return the records that `encode_records` has made bytes of. Raises `ReportError` where they are none."""

    def read(value: Any) -> tuple[Record, ...]:
        if "records" not in _of(dict, value):
            raise ReportError("no report: there are no records in it")
        records: tuple[Record, ...] = _several(_checked_record, MOST_RECORDS)(value["records"])
        return records

    found: tuple[Record, ...] = _decoded(data, read, MOST_BYTES_OF_RECORDS, _MOST_PLAIN_OF_RECORDS)
    return found


def encode_refusal(why: str) -> bytes:
    """Return as bytes why a process answers a request with nothing else; `decode` and the like raise it."""
    return _pack({"refused": why})


def sample_of(report: ProcessReport, pool: PoolReport) -> Sample:
    """Return what the history keeps of a pool."""
    return Sample(
        at=report.at,
        process=report.key,
        pool=pool.name,
        open=pool.open,
        in_use=pool.in_use,
        connecting=pool.connecting,
        waiting=pool.waiting,
        oldest_wait=pool.oldest_wait,
        acquired=pool.counters.get("acquired", 0),
        timeouts=pool.counters.get("timeouts", 0),
        connected=pool.counters.get("connected", 0),
        closed=sum(pool.closed.values()),
        wait=pool.wait,
    )


# -- to bytes ----------------------------------------------------------------------------------------------------------


def _pack(plain: dict[str, Any]) -> bytes:
    text = json.dumps({"v": VERSION, **plain}, separators=(",", ":"), ensure_ascii=True).encode()
    short = zlib.compress(text, 6) if len(text) > _SMALL else text
    return min(text, short, key=len)


def _plain_record(record: Any, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the fields that don't have their default."""
    found = {}
    for name, default in _DEFAULTS[type(record)]:
        value = getattr(record, name)
        if value != default and name not in leave_out:
            found[name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is float:
        return round(value, 6)
    if kind is str:
        return value[:_LONGEST]
    if kind is Distribution:
        # Each count without those below it: most of these are 0, and the compression likes that.
        return [round(value.sum, 6), value.counts[0], *map(operator.sub, value.counts[1:], value.counts)]
    if kind is tuple:
        return [_plain_record(each) for each in value]
    return dict(value) if isinstance(value, Mapping) else value


def _plain_of_record(record: Record) -> dict[str, Any]:
    plain = {each.name: getattr(record, each.name) for each in fields(record)}
    rows = {name: [_rounded(row) for row in plain[name]] for name in ("arrivals", "holds", "longest", "connects")}
    return plain | rows | {"name": record.name[:_LONGEST], "held": record.held[:_MOST_HELD]}


def _rounded(row: Iterable[float]) -> list[float]:
    return [round(each, 7) for each in row]


def _defaults(record: Any) -> list[tuple[str, Any]]:
    made = [(f.name, f.default_factory() if f.default_factory is not MISSING else f.default) for f in fields(record)]
    return [(name, object() if default is MISSING else default) for name, default in made]


_DEFAULTS = {record: _defaults(record) for record in (Borrowed, Calling, Waiting, PoolReport, ProcessReport, Sample)}

# -- from bytes --------------------------------------------------------------------------------------------------------


def _decoded(data: bytes, read: _Read, most: int = MOST_BYTES, most_plain: int = _MOST_PLAIN) -> Any:
    try:
        found = json.loads(_unpacked(data, most, most_plain), parse_constant=_not_finite)
        if type(found) is dict and "refused" in found:
            raise ReportError(f"no report: {_text(found['refused'])}")
        return read(found)
    except ReportError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, zlib.error) as error:
        raise ReportError(f"no report: {error}") from None


def _unpacked(data: bytes, most: int, most_plain: int) -> bytes:
    if len(data) > most:
        raise ReportError(f"no report: {len(data)} bytes are more than {most}")
    if data[:1] == b"{":
        return data
    inflate = zlib.decompressobj()
    text = inflate.decompress(data, most_plain)
    if inflate.unconsumed_tail or not inflate.eof:
        raise ReportError(f"no report: cut off, or more than {most_plain} bytes when decompressed")
    return text


def _not_finite(text: str) -> NoReturn:
    raise ReportError(f"no report: {text} is no number")


def _of(kind: type[_T], value: Any) -> _T:
    if type(value) is not kind:
        raise ReportError(f"no report: a {type(value).__name__} in the place of a {kind.__name__}")
    return value


def _text(value: Any) -> str:
    text = _of(str, value)[:_LONGEST]
    # JSON can carry half a surrogate pair, which no terminal and no page can show.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _truth(value: Any) -> bool:
    return _of(bool, value)


def _optional_truth(value: Any) -> bool | None:
    return None if value is None else _truth(value)


def _count(value: Any) -> int:
    if not 0 <= _of(int, value) < _LARGEST:
        raise ReportError("no report: a count below 0 or above 2**63")
    return int(value)


def _seconds(value: Any) -> float:
    seconds = float(value) if type(value) is int else _of(float, value)
    if not (0 <= seconds < _LARGEST and math.isfinite(seconds)):
        raise ReportError("no report: a time below 0, or without end")
    return seconds


def _moment(value: Any) -> float:
    """Return a time that may be before the record's beginning."""
    return -_seconds(-value) if type(value) in (int, float) and value < 0 else _seconds(value)


def _below(limit: int) -> _Read:
    def below(value: Any) -> int:
        if _count(value) >= limit:
            raise ReportError(f"no report: {value} is not below {limit}")
        return int(value)

    return below


def _row(kind: Callable[..., Any], *reads: _Read) -> _Read:
    """Return what reads a list with one entry for each of `reads`."""

    def row(value: Any) -> Any:
        if len(_of(list, value)) != len(reads):
            raise ReportError(f"no report: {len(value)} entries in the place of {len(reads)}")
        return kind(*(read(each) for read, each in zip(reads, value, strict=True)))

    return row


def _pair(one: float, other: int) -> tuple[float, int]:
    return one, other


def _checked_record(value: Any) -> Record:
    record: Record = _pool_record(value)
    if not 0 < record.seconds <= SECONDS + 1:
        raise ReportError(f"no report: a record of {record.seconds} s")
    return record


def _counts(value: Any) -> dict[str, int]:
    if len(_of(dict, value)) > _MOST_ENTRIES:
        raise ReportError(f"no report: more than {_MOST_ENTRIES} counters")
    return {_text(name): _count(count) for name, count in value.items()}


def _distribution(value: Any) -> Distribution:
    total, *steps = _of(list, value)
    if len(steps) != _COUNTS:
        return _EMPTY  # another version has other bounds
    counts = tuple(accumulate(map(_count, steps)))
    return Distribution(counts, _seconds(total)) if any(counts) else _EMPTY


def _several(read: _Read, most: int) -> _Read:
    def several(value: Any) -> tuple[Any, ...]:
        if len(_of(list, value)) > most:
            raise ReportError(f"no report: more than {most} entries in a list")
        return tuple(map(read, value))

    return several


def _record(kind: Callable[..., Any], /, **reads: _Read) -> _Read:
    def record(value: Any) -> Any:
        found = _of(dict, value)
        return kind(**{name: read(found[name]) for name, read in reads.items() if name in found})

    return record


_samples = _several(
    _record(
        dict, pool=_text, open=_count, in_use=_count, connecting=_count, waiting=_count,
        oldest_wait=_seconds, acquired=_count, timeouts=_count, connected=_count, closed=_count, wait=_distribution,
    ),
    MOST_POOLS,
)  # fmt: skip
_waiting = _record(Waiting, age=_seconds, borrower=_text)
_borrowed = _record(Borrowed, age=_seconds, borrower=_text, taken_at=_optional_text, command=_optional_text)
_calling = _record(Calling, age=_seconds, command=_text, sent=_truth, borrower=_optional_text, waits_at=_optional_text)
_pool = _record(
    PoolReport, name=_text, kind=_text, shell=_text, address=_text, max_connections=_count, open=_count, idle=_count,
    in_use=_count, connecting=_count, waiting=_count, oldest_wait=_seconds, in_flight=_count, counters=_counts,
    closed=_counts, wait=_distribution, use=_distribution, connect=_distribution,
    borrowed=_several(_borrowed, _MOST_ENTRIES), waiters=_several(_waiting, _MOST_ENTRIES),
    calls=_several(_calling, _MOST_ENTRIES), bounded=_optional_truth, sizes_itself=_truth,
)  # fmt: skip
_process = _record(
    ProcessReport, service=_text, host=_text, pid=_count, started=_seconds, at=_seconds, period=_seconds, redpool=_text,
    redis_py=_text, python=_text, pools=_several(_pool, MOST_POOLS), more_pools=_count,
)  # fmt: skip
_span = _row(Span, _moment, _seconds)
_arrivals = _row(Arrivals, _below(SLOTS), _below(_MOST_IN_SLOT + 1), _below(_MOST_IN_SLOT + 1), _seconds)
_pool_record = _record(
    Record, name=_text, seconds=_seconds, max_connections=_count, arrivals=_several(_arrivals, SLOTS),
    holds=_several(_row(_pair, _seconds, _count), _MOST_BUCKETS), longest=_several(_span, 2 * LONGEST),
    exact_above=_seconds, held=_several(_seconds, _MOST_HELD), connects=_several(_span, CONNECTS), wait_p99=_seconds,
    timeouts=_count, callers=_count, nesting=_count, deepest=_count, kept=_count, age=_seconds, commands=_count,
)  # fmt: skip
