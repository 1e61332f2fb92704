"""Reports as bytes, and what is made by others in their place."""

from __future__ import annotations

import itertools
import json
import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpool.core.arrivals import Arrivals
from redpool.core.record import Record, Span
from redpool.fleet.encoding import (
    MOST_BYTES,
    MOST_BYTES_OF_RECORDS,
    MOST_POOLS,
    MOST_RECORDS,
    ReportError,
    decode,
    decode_records,
    decode_samples,
    encode,
    encode_records,
    encode_refusal,
    encode_samples,
    sample_of,
)

from .made_up import pool, process


def plain(**more: Any) -> dict[str, Any]:
    """A report as JSON has it, with something else in it."""
    data = encode(process())
    found: dict[str, Any] = json.loads(data if data[:1] == b"{" else zlib.decompress(data))
    return found | more


def with_pool(**more: Any) -> dict[str, Any]:
    """The same with something else in its pool."""
    return plain(pools=[plain()["pools"][0] | more])


def test_there_and_back() -> None:
    """What comes back is equal, of any number of pools."""
    for report in (process(), process(pools=()), process(pools=(pool(), pool(name="x#2", in_flight=3)), more_pools=2)):
        assert decode(encode(report)) == report


def test_small() -> None:
    """A report of a pool that works is a few hundred bytes, and its part of the history less."""
    assert len(encode(process())) < 500
    assert len(encode_samples(process())) < 250


@given(st.text(), st.text())
def test_names_are_data(service: str, name: str) -> None:
    """Any text comes back as it was, but for its length and halves of surrogate pairs: quotes, control characters."""
    back = decode(encode(process(service=service, pools=(pool(name=name),))))
    assert back.service == service[:400].encode("utf-8", "replace").decode()
    assert back.pools[0].name == name[:400].encode("utf-8", "replace").decode()


def test_half_a_surrogate_pair_is_replaced() -> None:
    """JSON can carry one; no terminal could show it."""
    assert decode(json.dumps(plain(service="a\ud800b")).encode()).service == "a?b"


def test_what_a_newer_version_adds_is_passed_over() -> None:
    """Unknown fields, at each level, and other bounds of a distribution."""
    newer = with_pool(heat=3, wait=[1.0, 1, 2]) | {"v": 7, "mood": {"of": "the process"}}
    read = decode(json.dumps(newer).encode())
    assert read.service == "checkout"
    assert read.pools[0].wait.count == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cut off"),
        (b"{", "no report: Expecting"),
        (b"[]", "incomplete or incorrect|no report"),
        (b"{}", "missing"),
        (b"\x00" * 50, "no report: Error -3"),
        (encode(process())[:-9], "cut off"),
        (b"{" + b" " * MOST_BYTES, "bytes are more than"),
        (zlib.compress(b" " * 2**23), "when decompressed"),
        (b'{"service":' + b"[" * 100_000, "no report"),
        (b'{"pid":' + b"9" * 5000 + b"}", "no report"),
        (plain(pid=-1), "a count below 0"),
        (plain(pid=2**70), "a count below 0 or above"),
        (plain(pid=True), "a bool in the place of a int"),
        (plain(pid="1"), "a str in the place of a int"),
        (plain(service=None), "a NoneType in the place of a str"),
        (plain(at=float("inf")), "Infinity is no number"),
        (plain(at=float("nan")), "NaN is no number"),
        (plain(at=-1.0), "a time below 0"),
        (plain(at=1e400), "Infinity is no number"),
        (plain(at=10**400), "no report: int too large"),
        (plain(pools={}), "a dict in the place of a list"),
        (plain(pools=[3]), "a int in the place of a dict"),
        (plain(pools=[{}] * (MOST_POOLS + 1)), "more than 256 entries"),
        (with_pool(open="3"), "a str in the place of a int"),
        (with_pool(counters={"acquired": -1}), "a count below 0"),
        (with_pool(closed={str(n): 1 for n in range(99)}), "more than 64 counters"),
        (with_pool(wait=[1.0, *[-1] * 18]), "a count below 0"),
        (with_pool(wait=[]), "no report"),
        (with_pool(borrowed=[{}]), "missing"),
        (with_pool(calls=[{"age": 1.0, "command": "GET", "sent": 1}]), "a int in the place of a bool"),
    ],
    ids=itertools.count(),
)
def test_what_is_no_report(data: Any, why: str) -> None:
    """It raises the one error, which says why: no size, depth or type gets through."""
    with pytest.raises(ReportError, match=why):
        decode(data if isinstance(data, bytes) else json.dumps(data).encode())


RECORD = Record(
    "cache", 60.0, 10, arrivals=(Arrivals(0, 3, 2, 0.0001), Arrivals(7, 1, 1, 0.0)), holds=((0.0005, 3), (0.002, 1)),
    longest=(Span(-0.5, 0.002),), exact_above=0.001, held=(0.25,), connects=(Span(0.1, 0.003),), wait_p99=0.004,
    timeouts=1, callers=2, nesting=1, deepest=2, kept=1, age=99.5, commands=7,
)  # fmt: skip


def records(**more: Any) -> dict[str, Any]:
    """A record as JSON has it, with something else in it, among no others."""
    return {"v": 1, "records": [json.loads(zlib.decompress(encode_records([RECORD])))["records"][0] | more]}


def test_records_come_back() -> None:
    """Of many pools those with the most callers, in at most as many bytes as are read."""
    assert decode_records(json.dumps(records()).encode()) == (RECORD,)
    busy = replace(RECORD, arrivals=tuple(Arrivals(slot, slot % 99 + 1, 1, 0.0001) for slot in range(6000)))
    many = [replace(RECORD, name=f"pool {n}") for n in range(2 * MOST_RECORDS)]
    back = decode_records(encode_records([*many, busy]))
    assert (back[0], len(back)) == (busy, MOST_RECORDS)
    full = replace(busy, longest=tuple(Span(n * 0.0291237, 1.2345671 + n / 7) for n in range(2048)))
    assert len(encode_records([full])) * MOST_RECORDS < MOST_BYTES_OF_RECORDS


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cut off"),
        (b"[]", "no report"),
        (plain(), "there are no records in it"),
        (encode_refusal("not now"), "no report: not now"),
        (b"{" + b" " * MOST_BYTES_OF_RECORDS, "bytes are more than"),
        (zlib.compress(b" " * 2**26), "when decompressed"),
        ({"records": [{}] * (MOST_RECORDS + 1)}, "entries in a list"),
        ({"records": [{}]}, "missing"),
        (records(seconds=0.0), "a record of 0.0 s"),
        (records(seconds=1e9), "a record of"),
        (records(name=3), "a int in the place of a str"),
        (records(arrivals=[[0, 70_000, 1, 0.0]]), "not below 65536"),
        (records(arrivals=[[6000, 1, 1, 0.0]]), "not below 6000"),
        (records(arrivals=[[0, 1, 1]]), "3 entries in the place of 4"),
        (records(arrivals=[[0, 1, 1, 0.0]] * 6001), "entries in a list"),
        (records(holds=[[-1.0, 1]]), "a time below 0"),
        (records(holds=[[1.0, -1]]), "a count below 0"),
        (records(longest=[["0", 1.0]]), "a str in the place of a float"),
        (records(longest=[[float("nan"), 1.0]]), "NaN is no number"),
        (records(longest=[[-1e300, 1.0]]), "a time below 0, or without end"),
        (records(held=[0.0] * 5000), "entries in a list"),
    ],
    ids=itertools.count(),
)
def test_what_are_no_records(data: Any, why: str) -> None:
    """It raises the one error, as for reports."""
    with pytest.raises(ReportError, match=why):
        decode_records(data if isinstance(data, bytes) else json.dumps(data).encode())


def test_the_history() -> None:
    """It keeps of each pool a few numbers, with the time that the server noted."""
    report = process(pools=(pool(), pool(name="queue")))
    read = decode_samples(encode_samples(report), at=5.0)
    assert read == tuple(replace(sample_of(report, each), at=5.0) for each in report.pools)
    for bad in (b"", b"{}", b'{"process":"a","pools":[{"pool":3}]}', b'{"process":"a","pools":[{}]}'):
        with pytest.raises(ReportError):
            decode_samples(bad, at=5.0)
