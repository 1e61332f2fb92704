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

from redpool.fleet.encoding import (
    MOST_BYTES,
    MOST_POOLS,
    ReportError,
    decode,
    decode_samples,
    encode,
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


def test_the_history() -> None:
    """It keeps of each pool a few numbers, with the time that the server noted."""
    report = process(pools=(pool(), pool(name="queue")))
    read = decode_samples(encode_samples(report), at=5.0)
    assert read == tuple(replace(sample_of(report, each), at=5.0) for each in report.pools)
    for bad in (b"", b"{}", b'{"process":"a","pools":[{"pool":3}]}', b'{"process":"a","pools":[{}]}'):
        with pytest.raises(ReportError):
            decode_samples(bad, at=5.0)
