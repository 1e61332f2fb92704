"""The line of one shared connection: what is written, whose reply it is, who is told of the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpool.wire import mux
from redpool.wire.mux import Entry, MuxCore

NOT_ENOUGH = object()


class Line:
    """A core, and what it has said."""

    def __init__(self, max_in_flight: int = 100, reader: Any = None, **options: Any) -> None:
        self.reader = reader or hiredis.Reader(notEnoughData=NOT_ENOUGH, **options)
        self.batches = [0] * 9
        self.core = MuxCore(self.reader, NOT_ENOUGH, max_in_flight, self.batches)
        self.pushed: list[Any] = []

    def queue(self, *words: str, decode: bool = True) -> Entry:
        """One command in the line."""
        entry = Entry(words, " ".join(words).encode() + b";", 0, decode)
        self.core.queued.append(entry)
        return entry

    def queue_group(self, *names: str) -> Entry:
        """Several, which belong together."""
        entry = Entry([(name,) for name in names], ",".join(names).encode() + b";", len(names))
        self.core.queued.append(entry)
        return entry

    def hear(self, data: bytes) -> list[Entry]:
        """What is answered by these bytes."""
        return self.core.receive(bytearray(data) + b"what was here before", len(data), self.pushed.append)


@pytest.fixture
def line() -> Line:
    return Line()


# -- order -------------------------------------------------------------------------------------------------------------


def test_what_is_queued_goes_out_in_one_piece_and_in_order(line: Line) -> None:
    """One write takes all that waits; the replies belong to the entries in the same order."""
    entries = [line.queue(name) for name in "abc"]
    assert line.core.take_output() == b"a;b;c;"
    assert line.core.take_output() == b""
    assert line.hear(b"+1\r\n+2\r\n") == entries[:2]
    assert line.hear(b"+3\r\n") == entries[2:]
    assert [entry.replies for entry in entries] == [b"1", b"2", b"3"]
    assert all(entry.done and entry.error is None for entry in entries)


def test_a_group_is_done_with_its_last_reply(line: Line) -> None:
    """Its replies are a list, errors among them, and nobody else's stand between."""
    group, single = line.queue_group("a", "b", "c"), line.queue("d")
    assert line.core.take_output() == b"a,b,c;d;"
    assert line.hear(b"+1\r\n-ERR two\r\n") == []
    assert not group.done
    assert line.hear(b":3\r\n$1\r\n4\r\n") == [group, single]
    assert [str(each) for each in group.replies] == ["b'1'", "ERR two", "3"]
    assert single.replies == b"4"


def test_a_refusal_is_a_reply(line: Line) -> None:
    """An error of the server's is its own caller's, and the line goes on."""
    refused, fine = line.queue("a"), line.queue("b")
    line.core.take_output()
    line.hear(b"-WRONGTYPE no\r\n+OK\r\n")
    assert (type(refused.replies), refused.error, fine.replies) == (hiredis.ReplyError, None, b"OK")


def test_an_entry_is_sent_before_its_first_byte_can_leave(line: Line) -> None:
    """Not while it is queued; from the moment on at which its bytes are handed out."""
    entry = line.queue("a")
    assert (entry.sent, line.core.take_output(), entry.sent) == (False, b"a;", True)


def test_a_write_takes_no_further_entry_beyond_its_size(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is written next, still in order."""
    monkeypatch.setattr(mux, "WRITE_SIZE", 3)
    for name in ("aaa", "b", "c", "d"):
        line.queue(name)
    assert [line.core.take_output() for _ in range(4)] == [b"aaa;", b"b;c;", b"d;", b""]


def test_batches_are_counted_by_their_commands(line: Line) -> None:
    """A group counts as many as it has, and the last place counts all larger ones."""
    line.queue("a")
    line.core.take_output()
    line.queue("a")
    line.queue_group("b", "c")
    line.core.take_output()
    line.queue_group(*"abcdefghijkl")
    line.core.take_output()
    assert line.batches == [0, 1, 0, 1, 0, 0, 0, 0, 1]


# -- those who leave ---------------------------------------------------------------------------------------------------


def test_what_was_not_written_never_is(line: Line) -> None:
    """Its caller has left before: nothing of it goes out, and it has not run."""
    first, left, last = line.queue("a"), line.queue("b"), line.queue("c")
    assert line.core.abandon(left) is False
    assert line.core.take_output() == b"a;c;"
    assert not left.sent
    assert line.hear(b"+1\r\n+3\r\n") == [first, last]
    assert last.replies == b"3"
    assert line.core.in_flight == 0


@pytest.mark.parametrize("size", [1, 3])
def test_what_was_written_has_its_replies_dropped(line: Line, size: int) -> None:
    """It may have run; the others' replies are theirs."""
    first = line.queue("a")
    left = line.queue_group(*["b"] * size)
    last = line.queue("c")
    line.core.take_output()
    assert line.core.abandon(left) is True
    line.hear(b"+1\r\n" + b"+2\r\n" * size + b"+3\r\n")
    assert (first.replies, last.replies) == (b"1", b"3")
    assert line.core.abandoned == 1
    assert line.core.in_flight == 0


def test_who_leaves_with_his_reply_there_has_abandoned_nothing(line: Line) -> None:
    """It came just before: nothing is dropped."""
    entry = line.queue("a")
    line.core.take_output()
    line.hear(b"+1\r\n")
    line.core.abandon(entry)
    assert line.core.abandoned == 0


# -- what comes in -----------------------------------------------------------------------------------------------------

STREAM = (
    b"+OK\r\n>2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n*2\r\n:1\r\n*1\r\n$2\r\n\r\n\r\n"
    b"%1\r\n+a\r\n,1.5\r\n>1\r\n+x\r\n_\r\n#t\r\n"
)
VALUES: list[Any] = ["OK", [1, ["\r\n"]], {"a": 1.5}, None, True]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_replies_in_pieces(step: int) -> None:
    """However the bytes are cut, each reply is its caller's, and push messages stand apart, before and after."""
    line = Line(encoding="utf-8")
    entries = [line.queue(name) for name in "abcde"]
    line.core.take_output()
    answered = []
    for place in range(0, len(STREAM), step):
        answered += line.hear(STREAM[place : place + step])
    assert answered == entries
    assert [entry.replies for entry in entries] == VALUES
    assert line.hear(b">1\r\n+moving\r\n") == []
    assert line.pushed == [["invalidate", ["k"]], ["x"], ["moving"]]
    assert line.core.in_flight == 0


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize(
    "bad", [b"$1\r\n\xff\r\n", b"*2\r\n$1\r\n\xff\r\n:1\r\n", b"%1\r\n$1\r\n\xff\r\n*1\r\n$1\r\n\xfe\r\n"]
)
def test_text_that_cannot_be_decoded_is_one_callers_error(bad: bytes, step: int) -> None:
    """The others' replies are as they should be, be it in the midst of one that it stands."""
    line = Line(encoding="utf-8")
    entries = [line.queue(name) for name in "abc"]
    line.core.take_output()
    data = b"+1\r\n" + bad + b"+3\r\n"
    for place in range(0, len(data), step):
        line.hear(data[place : place + step])
    assert [entries[0].replies, entries[2].replies] == ["1", "3"]
    assert isinstance(entries[1].replies, UnicodeDecodeError)
    assert all(entry.done and entry.error is None for entry in entries)


@pytest.mark.parametrize("step", [1, 1000])
def test_who_wants_bytes_gets_bytes(step: int) -> None:
    """Each entry says for itself whether its reply is decoded, whatever its neighbours want."""
    line = Line(encoding="utf-8")
    entries = [line.queue("a"), line.queue("b", decode=False), line.queue("c")]
    line.core.take_output()
    data = b"*1\r\n$1\r\na\r\n" + b"*1\r\n$1\r\n\xff\r\n" + b"*1\r\n$1\r\nc\r\n"
    for place in range(0, len(data), step):
        line.hear(data[place : place + step])
    assert [entry.replies for entry in entries] == [["a"], [b"\xff"], ["c"]]


def test_a_reply_that_nobody_awaits_is_no_ones(line: Line) -> None:
    """Then replies and callers don't match any more: it is an error, and an `OSError`, which ends a connection."""
    with pytest.raises(OSError, match="nobody awaits"):
        line.hear(b"+stray\r\n")


def test_what_is_no_reply_at_all_is_an_error(line: Line) -> None:
    """It is hiredis's."""
    line.queue("a")
    line.core.take_output()
    with pytest.raises(hiredis.ProtocolError):
        line.hear(b"rubbish\r\n")


def test_a_large_reply_is_known_by_its_bytes(line: Line) -> None:
    """Only its own entry's, in however many pieces it comes."""
    small, large, after = line.queue("a"), line.queue("b"), line.queue("c")
    line.core.take_output()
    body = b"x" * (mux.LARGE_REPLY + 1)
    line.hear(b"+1\r\n")
    for piece in (b"$%d\r\n" % len(body), body[:1000], body[1000:], b"\r\n"):
        line.hear(piece)
    line.hear(b"+3\r\n")
    assert [small.large, large.large, after.large] == [False, True, False]


# -- how much is in flight ---------------------------------------------------------------------------------------------


def test_the_rest_waits_for_room() -> None:
    """No more commands than the bound are in flight; those behind are written as replies come, in order."""
    line = Line(max_in_flight=2)
    for name in "abcd":
        line.queue(name)
    assert line.core.take_output() == b"a;b;"
    assert line.core.full
    assert line.core.take_output() == b""
    line.hear(b"+1\r\n")
    assert line.core.take_output() == b"c;"
    line.hear(b"+2\r\n+3\r\n")
    assert line.core.take_output() == b"d;"
    assert not line.core.full


def test_a_group_larger_than_the_bound_goes_alone() -> None:
    """It waits until nothing else is in flight, and nothing joins it; who came later doesn't pass it."""
    line = Line(max_in_flight=2)
    line.queue("a")
    line.core.take_output()
    line.queue_group("b", "c", "d")
    line.queue("e")
    assert line.core.take_output() == b""
    line.hear(b"+1\r\n")
    assert line.core.take_output() == b"b,c,d;"
    line.hear(b"+2\r\n")
    assert line.core.take_output() == b""
    line.hear(b"+3\r\n+4\r\n")
    assert line.core.take_output() == b"e;"


def test_those_who_left_take_no_room() -> None:
    """A backlog of which everybody has left is no backlog."""
    line = Line(max_in_flight=1)
    line.queue("a")
    line.core.take_output()
    left = [line.queue("b") for _ in range(3)]
    last = line.queue("c")
    for entry in left:
        line.core.abandon(entry)
    line.hear(b"+1\r\n")
    assert line.core.take_output() == b"c;"
    assert last.sent


# -- the end -----------------------------------------------------------------------------------------------------------


def test_at_the_end_each_knows_whether_it_was_sent(line: Line) -> None:
    """Who was sent may have run, who was queued has not; all have the error, who was answered has his reply."""
    answered, half, flying = line.queue("a"), line.queue_group("b", "c"), line.queue("d")
    line.core.take_output()
    waiting = line.queue("e")
    line.hear(b"+1\r\n+2\r\n")
    error = ConnectionError()
    assert line.core.lost(error) == [half, flying, waiting]
    assert [each.sent for each in (half, flying, waiting)] == [True, True, False]
    assert all(each.error is error and each.done for each in (half, flying, waiting))
    assert answered.error is None
    assert (line.core.in_flight, line.core.load) == (0, 0)
    assert line.core.lost(error) == []


def test_who_was_not_sent_begins_anew_elsewhere(line: Line) -> None:
    """Renewed, it goes over another connection as if nothing had been."""
    entry = line.queue("a")
    line.core.lost(ConnectionError())
    entry.renew()
    other = Line()
    other.core.queued.append(entry)
    assert other.core.take_output() == b"a;"
    assert other.hear(b"+1\r\n") == [entry]
    assert (entry.error, entry.replies) == (None, b"1")


@pytest.mark.parametrize("end", [b"+stray\r\n", b"rubbish\r\n"])
def test_who_is_answered_just_before_the_end_is_told(line: Line, end: bytes) -> None:
    """His reply came in one piece with what ended the connection: it is his all the same."""
    entry = line.queue("a")
    line.core.take_output()
    with pytest.raises((OSError, hiredis.ProtocolError)):
        line.hear(b"+1\r\n" + end)
    assert line.core.lost(ConnectionError()) == [entry]
    assert (entry.done, entry.error, entry.replies) == (True, None, b"1")


class LosingReader:
    """In its midst the connection is found broken, by whoever writes in another thread."""

    def __init__(self, then: Callable[[], object], *replies: Any) -> None:
        self._then, self._replies = then, list(replies)

    def feed(self, *args: Any) -> None:
        """Nothing to be parsed."""

    def gets(self, decode: bool = True) -> Any:
        """The next reply, just as everything is lost."""
        self._then()
        return self._replies.pop(0) if self._replies else NOT_ENOUGH


@pytest.mark.parametrize("later", [False, True], ids=["nothing more is written", "something more is written"])
def test_a_loss_while_a_reply_is_read(later: bool) -> None:
    """Whoever reads just then stops: nobody gets another one's reply, the counters are right, no one vanishes."""
    late: list[Entry] = []

    def lose() -> None:
        line.core.lost(error)
        if later and not late:
            late.append(line.queue("late"))
            line.core.take_output()

    error = ConnectionError()
    line = Line(reader=LosingReader(lose, b"1", b"2"))
    entries = [line.queue("a"), line.queue("b")]
    line.core.take_output()
    assert line.hear(b"anything") == []
    assert all(entry.error is error for entry in entries)
    line.core.lost(error)
    assert all(entry.error is error for entry in late)
    assert line.core.in_flight == 0


class Losing(Entry):
    """As a word of it is read, the connection is found broken, by whoever reads in another thread."""

    then: Callable[[], object]
    word = ""

    def __getattribute__(self, name: str) -> Any:
        if name == object.__getattribute__(self, "word"):
            self.word = ""
            self.then()
        return object.__getattribute__(self, name)


@pytest.mark.parametrize("word", ["expects", "gone", "data"])
def test_a_loss_while_output_is_taken(line: Line, word: str) -> None:
    """Nobody is forgotten between the queue and what is pending, at whatever step it comes."""
    error = ConnectionError()
    first = Losing(("a",), b"a;")
    first.then = lambda: line.core.lost(error)
    line.core.queued.append(first)
    second = line.queue("b")
    first.word = word
    line.core.take_output()
    line.core.lost(error)
    assert first.word == ""
    assert first.error is second.error is error
    assert line.core.in_flight == 0


# -- as a property -----------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_counters_return_to_zero(data: st.DataObject) -> None:
    """Whatever was queued, written, answered and abandoned: once it is lost, nothing is in flight, and all know."""
    line = Line(max_in_flight=data.draw(st.integers(1, 6)))
    sizes = data.draw(st.lists(st.integers(0, 8), min_size=1, max_size=12))
    entries = [line.queue_group(*["x"] * size) if size else line.queue("x") for size in sizes]
    for _ in range(data.draw(st.integers(0, 5))):
        line.core.take_output()
        count = data.draw(st.integers(0, line.core.in_flight))
        line.hear(b"+1\r\n" * count)
    for entry in entries[:: data.draw(st.integers(1, 4))]:
        line.core.abandon(entry)
    line.core.lost(ConnectionError())
    assert (line.core.in_flight, line.core.load, line.core.full) == (0, 0, False)
    assert all(entry.done or (entry.gone and not entry.sent) for entry in entries)
