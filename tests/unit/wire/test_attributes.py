"""Attributes of RESP3 are seen exactly where they are, in whatever pieces they arrive."""

from __future__ import annotations

from collections.abc import Iterator

import hiredis
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from redpool.wire import attributes
from redpool.wire.attributes import AttributeReceived, AttributeWatch

ALIKE = b"\r\n|1\r\n+key\r\n+value\r\n"
"""What looks like an attribute, and may stand in any payload."""


# -- values, as a server sends them ------------------------------------------------------------------------------------


def bulk(sign: bytes, payload: bytes) -> bytes:
    return sign + b"%d\r\n" % len(payload) + payload + b"\r\n"


def aggregate(sign: bytes, parts: list[bytes]) -> bytes:
    return sign + b"%d\r\n" % (len(parts) // 2 if sign == b"%" else len(parts)) + b"".join(parts)


payloads = st.lists(
    st.sampled_from([bytes(1000), b"|", b"\r\n", b"\r", b"\n", b"|1", b"$5", b"x", ALIKE]), max_size=6
).map(b"".join)
texts = st.lists(st.sampled_from([b"|", b"|1", b"x", b"$5"]), max_size=40).map(b"".join)
leaves = st.one_of(
    st.builds(bulk, st.just(b"$"), payloads),
    st.builds(bulk, st.just(b"="), payloads.map(lambda payload: b"txt:" + payload)),
    st.builds(lambda sign, text: sign + text + b"\r\n", st.sampled_from([b"+", b"-"]), texts),
    st.sampled_from([
        b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"#t\r\n", b":-7\r\n", b",1.5\r\n", b",inf\r\n",
        b"(3492890328409238509324850943850943825024385\r\n", b"*0\r\n", b"%0\r\n", b"$0\r\n\r\n",
    ]),
)  # fmt: skip


def aggregates(parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.one_of(
        st.builds(aggregate, st.just(b"*"), st.lists(parts, max_size=4)),
        st.builds(aggregate, st.just(b"~"), st.lists(parts, max_size=4)),
        st.builds(
            lambda pairs: aggregate(b"%", [part for pair in pairs for part in pair]),
            st.lists(st.tuples(st.just(b"+k\r\n"), parts), max_size=2),
        ),
    )


values = st.recursive(leaves, aggregates, max_leaves=12)
pushes = st.builds(lambda parts: aggregate(b">", [b"+message\r\n", *parts]), st.lists(values, max_size=3))
attribute = st.builds(lambda part: b"|1\r\n+key-popularity\r\n" + part, leaves)
marked = st.recursive(
    st.one_of(leaves, st.builds(bytes.__add__, attribute, leaves)),
    lambda parts: st.one_of(aggregates(parts), st.builds(bytes.__add__, attribute, aggregates(parts))),
    max_leaves=12,
)
streams = st.lists(st.one_of(values, values, pushes, marked), max_size=8)
cuts = st.lists(st.one_of(st.integers(1, 12), st.integers(900, 4096)), min_size=1, max_size=40)


def pieces(stream: bytes, sizes: list[int]) -> Iterator[bytes]:
    """Cut a stream into pieces, their sizes being `sizes` again and again."""
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        yield stream[at : at + size]
        at, turn = at + size, turn + 1


# -- two who are asked -------------------------------------------------------------------------------------------------


def first_attribute(stream: bytes) -> int | None:
    """Where the first attribute begins, found by reading value after value, recursively."""

    def line(at: int) -> tuple[bytes, int]:
        end = stream.index(b"\r\n", at)
        return stream[at:end], end + 2

    def value(at: int) -> int:
        said, after = line(at)
        kind, rest = said[:1], said[1:]
        if kind == b"|":
            raise LookupError(at)
        if kind in (b"$", b"="):
            return after if rest == b"-1" else after + int(rest) + 2
        if kind in (b"*", b"~", b">", b"%"):
            for _ in range(max(0, int(rest)) * (2 if kind == b"%" else 1)):
                after = value(after)
        return after

    at = 0
    try:
        while at < len(stream):
            at = value(at)
    except LookupError as found:
        return int(found.args[0])
    return None


NOT_ENOUGH = object()


def noticed_in(chunks: Iterator[bytes], reuse: bool) -> range | None:
    """The bytes of the chunk at which the watch raised; used beside hiredis, as a connection uses it."""
    reader, buffer, before = hiredis.Reader(notEnoughData=NOT_ENOUGH), bytearray(4096), 0
    watch = AttributeWatch(reader)
    for chunk in chunks:
        data: bytes | bytearray = chunk
        if reuse:
            buffer[: len(chunk)] = chunk
            data = buffer
        try:
            watch.check(data, len(chunk))
        except AttributeReceived:
            return range(before, before + len(chunk))
        reader.feed(data, 0, len(chunk))  # type: ignore[arg-type]
        while reader.gets() is not NOT_ENOUGH:
            pass
        watch.fed(data, len(chunk))
        before += len(chunk)
    return None


# -- the rules ---------------------------------------------------------------------------------------------------------


@given(streams.map(b"".join), cuts, st.booleans(), st.sampled_from([0, 24, attributes.KEEP]))
@example(b"|1\r\n+key\r\n+value\r\n:1\r\n", [1], True, 0)
@example(b"*2\r\n:1\r\n|1\r\n+key\r\n+value\r\n:2\r\n", [8], False, attributes.KEEP)
@example(b"+x\r\n|1\r\n+key\r\n+value\r\n:2\r\n", [3, 2], True, attributes.KEEP)
@example(b"$1\r\n|\r\n", [1], False, 0)
@settings(max_examples=200, deadline=None)
def test_an_attribute_is_noticed_before_hiredis_sees_it(
    stream: bytes, sizes: list[int], reuse: bool, keep: int
) -> None:
    """Before hiredis gets the chunk in which it begins, and never where there is none, wherever the stream is cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attributes, "KEEP", keep)
        noticed = noticed_in(pieces(stream, sizes), reuse)
    expected = first_attribute(stream)
    assert (noticed is None) == (expected is None)
    assert noticed is None or expected in noticed


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_payload_that_looks_like_one_is_none(cut: int) -> None:
    """Bulks and verbatim strings may contain anything, before and behind other replies, cut in two anywhere."""
    stream = b"+OK\r\n" + bulk(b"$", b"a" + ALIKE) + bulk(b"=", b"txt:" + ALIKE) + b"*1\r\n" + bulk(b"$", ALIKE)
    assert noticed_in(iter([stream[:cut], stream[cut:]]), reuse=False) is None
    assert noticed_in(iter([stream[:cut], stream[cut:] + ALIKE[2:]]), reuse=False) == range(
        cut, len(stream) + len(ALIKE) - 2
    )


def test_its_text_says_what_to_do() -> None:
    """An error of the connection, which names the way out."""
    with pytest.raises(AttributeReceived, match=r"RESP3 attributes.*protocol=2"):
        AttributeWatch(hiredis.Reader()).check(b"|1\r\n", 4)


def receive(watch: AttributeWatch, reader: hiredis.Reader, chunk: bytes) -> None:
    """Do as a connection does."""
    watch.check(chunk, len(chunk))
    reader.feed(chunk)
    while reader.gets() is not False:
        pass
    watch.fed(chunk, len(chunk))


def test_little_is_kept_of_a_large_bulk() -> None:
    """However large it is, and in however many chunks it comes."""
    reader = hiredis.Reader()
    watch, chunk = AttributeWatch(reader), ALIKE * 3000
    receive(watch, reader, b"*2\r\n$%d\r\n" % (100 * len(chunk)))
    for _ in range(100):
        receive(watch, reader, chunk)
        assert sum(map(len, watch._kept)) <= attributes.KEEP
    with pytest.raises(AttributeReceived):
        receive(watch, reader, b"\r\n|1\r\n")


@pytest.mark.parametrize("start", [b"", b"*100000\r\n"], ids=["replies", "an array"])
def test_little_is_kept_of_many_small_replies(start: bytes) -> None:
    """Only the last of a chunk, which is incomplete, and what hiredis hasn't dropped yet; nothing is walked through."""
    reader = hiredis.Reader()
    watch, stream = AttributeWatch(reader), start + bulk(b"$", b"0123456789") * 100_000
    for chunk in pieces(stream, [10_001]):
        receive(watch, reader, chunk)
        assert sum(map(len, watch._kept)) < 1100
        assert watch._tokens._ahead == 0
    with pytest.raises(AttributeReceived):
        receive(watch, reader, b"|1\r\n")
