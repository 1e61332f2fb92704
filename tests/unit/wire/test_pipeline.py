"""The requests of one multiplexed connection: what is written, which reply is whose, what is left at the end."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpool.wire import pipeline
from redpool.wire.attributes import AttributeReceived, AttributeWatch
from redpool.wire.pipeline import Pipeline, Request, UnexpectedReply

NOT_ENOUGH = object()


class Line:
    """A core, and what it has said."""

    def __init__(self, max_in_flight: int = 100, reader: Any = None, **options: Any) -> None:
        self.reader = reader or hiredis.Reader(notEnoughData=NOT_ENOUGH, **options)
        self.batches = [0] * 9
        self.pipeline = Pipeline(self.reader, NOT_ENOUGH, None, max_in_flight, self.batches)
        self.pushed: list[Any] = []

    def queue(self, *words: str, decode: bool = True) -> Request:
        """One command in the queue."""
        request = Request(words, " ".join(words).encode() + b";", 0, decode)
        self.pipeline.queued.append(request)
        return request

    def queue_group(self, *names: str) -> Request:
        """Several, which belong together."""
        request = Request([(name,) for name in names], ",".join(names).encode() + b";", len(names))
        self.pipeline.queued.append(request)
        return request

    def hear(self, data: bytes) -> list[Request]:
        """What is answered by these bytes."""
        answered: list[Request] = []
        self.pipeline.receive(bytearray(data) + b"what was here before", len(data), self.pushed.append, answered)
        return answered


@pytest.fixture
def line() -> Line:
    return Line()


# -- order -------------------------------------------------------------------------------------------------------------


def test_what_is_queued_goes_out_in_one_piece_and_in_order(line: Line) -> None:
    """One write takes all that waits; the replies belong to the requests in the same order."""
    requests = [line.queue(name) for name in "abc"]
    assert line.pipeline.take() == b"a;b;c;"
    assert line.pipeline.take() == b""
    assert line.hear(b"+1\r\n+2\r\n") == requests[:2]
    assert line.hear(b"+3\r\n") == requests[2:]
    assert [request.replies for request in requests] == [b"1", b"2", b"3"]
    assert all(request.done for request in requests)


def test_a_group_is_done_with_its_last_reply(line: Line) -> None:
    """Its replies are a list, errors among them, and no other caller's stand between."""
    group, single = line.queue_group("a", "b", "c"), line.queue("d")
    assert line.pipeline.take() == b"a,b,c;d;"
    assert line.hear(b"+1\r\n-ERR two\r\n") == []
    assert not group.done
    assert line.hear(b":3\r\n$1\r\n4\r\n") == [group, single]
    assert [str(each) for each in group.replies] == ["b'1'", "ERR two", "3"]
    assert single.replies == b"4"


def test_a_refusal_is_a_reply(line: Line) -> None:
    """An error of the server's is its own caller's, and the in-flight queue goes on."""
    refused, fine = line.queue("a"), line.queue("b")
    line.pipeline.take()
    line.hear(b"-WRONGTYPE no\r\n+OK\r\n")
    assert (type(refused.replies), refused.done, fine.replies) == (hiredis.ReplyError, True, b"OK")


def test_an_request_is_sent_before_its_first_byte_can_leave(line: Line) -> None:
    """Not while it is queued; from the moment on at which its bytes are handed out."""
    request = line.queue("a")
    assert (request.sent, line.pipeline.take(), request.sent) == (False, b"a;", True)


def test_a_write_takes_no_further_request_beyond_its_size(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is written next, still in order."""
    monkeypatch.setattr(pipeline, "WRITE_SIZE", 3)
    for name in ("aaa", "b", "c", "d"):
        line.queue(name)
    assert [line.pipeline.take() for _ in range(4)] == [b"aaa;", b"b;c;", b"d;", b""]


def test_batches_are_counted_by_their_commands(line: Line) -> None:
    """A group counts as many as it has, and the last place counts all larger ones."""
    line.queue("a")
    line.pipeline.take()
    line.queue("a")
    line.queue_group("b", "c")
    line.pipeline.take()
    line.queue_group(*"abcdefghijkl")
    line.pipeline.take()
    assert line.batches == [0, 1, 0, 1, 0, 0, 0, 0, 1]


# -- those who leave ---------------------------------------------------------------------------------------------------


def test_what_was_not_written_never_is(line: Line) -> None:
    """Its caller has left before: nothing of it goes out, and it has not run."""
    first, left, last = line.queue("a"), line.queue("b"), line.queue("c")
    assert line.pipeline.abandon(left) is False
    assert line.pipeline.take() == b"a;c;"
    assert not left.sent
    assert line.hear(b"+1\r\n+3\r\n") == [first, last]
    assert last.replies == b"3"
    assert line.pipeline.in_flight == 0


@pytest.mark.parametrize("size", [1, 3])
def test_what_was_written_has_its_replies_dropped(line: Line, size: int) -> None:
    """It may have run; the others' replies are theirs."""
    first = line.queue("a")
    left = line.queue_group(*["b"] * size)
    last = line.queue("c")
    line.pipeline.take()
    assert line.pipeline.abandon(left) is True
    line.hear(b"+1\r\n" + b"+2\r\n" * size + b"+3\r\n")
    assert (first.replies, last.replies) == (b"1", b"3")
    assert line.pipeline.cancelled == 1
    assert line.pipeline.in_flight == 0


def test_who_leaves_with_its_reply_there_has_abandoned_nothing(line: Line) -> None:
    """It came just before: nothing is dropped."""
    request = line.queue("a")
    line.pipeline.take()
    line.hear(b"+1\r\n")
    line.pipeline.abandon(request)
    assert line.pipeline.cancelled == 0


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
    requests = [line.queue(name) for name in "abcde"]
    line.pipeline.take()
    answered = []
    for place in range(0, len(STREAM), step):
        answered += line.hear(STREAM[place : place + step])
    assert answered == requests
    assert [request.replies for request in requests] == VALUES
    assert line.hear(b">1\r\n+moving\r\n") == []
    assert line.pushed == [["invalidate", ["k"]], ["x"], ["moving"]]
    assert line.pipeline.in_flight == 0


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize(
    "bad", [b"$1\r\n\xff\r\n", b"*2\r\n$1\r\n\xff\r\n:1\r\n", b"%1\r\n$1\r\n\xff\r\n*1\r\n$1\r\n\xfe\r\n"]
)
def test_text_that_cannot_be_decoded_is_one_callers_error(bad: bytes, step: int) -> None:
    """The others' replies are as they should be, be it in the midst of one that it stands."""
    line = Line(encoding="utf-8")
    requests = [line.queue(name) for name in "abc"]
    line.pipeline.take()
    data = b"+1\r\n" + bad + b"+3\r\n"
    for place in range(0, len(data), step):
        line.hear(data[place : place + step])
    assert [requests[0].replies, requests[2].replies] == ["1", "3"]
    assert isinstance(requests[1].replies, UnicodeDecodeError)
    assert all(request.done for request in requests)


@pytest.mark.parametrize("step", [1, 1000])
def test_who_wants_bytes_gets_bytes(step: int) -> None:
    """Each request says for itself whether its reply is decoded, whatever its neighbours want."""
    line = Line(encoding="utf-8")
    requests = [line.queue("a"), line.queue("b", decode=False), line.queue("c")]
    line.pipeline.take()
    data = b"*1\r\n$1\r\na\r\n" + b"*1\r\n$1\r\n\xff\r\n" + b"*1\r\n$1\r\nc\r\n"
    for place in range(0, len(data), step):
        line.hear(data[place : place + step])
    assert [request.replies for request in requests] == [["a"], [b"\xff"], ["c"]]


def test_a_reply_to_no_request_is_an_error(line: Line) -> None:
    """Replies and requests don't match any more then."""
    with pytest.raises(UnexpectedReply, match="no command pending"):
        line.hear(b"+stray\r\n")


def test_what_is_no_reply_at_all_is_an_error(line: Line) -> None:
    """It is hiredis's."""
    line.queue("a")
    line.pipeline.take()
    with pytest.raises(hiredis.ProtocolError):
        line.hear(b"rubbish\r\n")


def test_a_large_reply_is_known_by_its_bytes(line: Line) -> None:
    """Only its own request's, in however many pieces it comes."""
    small, large, after = line.queue("a"), line.queue("b"), line.queue("c")
    line.pipeline.take()
    body = b"x" * (pipeline.LARGE_REPLY + 1)
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
    assert line.pipeline.take() == b"a;b;"
    assert line.pipeline.full
    assert line.pipeline.take() == b""
    line.hear(b"+1\r\n")
    assert line.pipeline.take() == b"c;"
    line.hear(b"+2\r\n+3\r\n")
    assert line.pipeline.take() == b"d;"
    assert not line.pipeline.full


def test_who_waits_for_room() -> None:
    """Those that don't fit behind what is in flight, and what stands before them; one that has left takes no room."""
    line = Line(max_in_flight=2)
    first, second, third = (line.queue(name) for name in "abc")
    assert [line.pipeline.waits_for_room(each) for each in (first, second, third)] == [False, False, True]
    line.pipeline.abandon(second)
    assert not line.pipeline.waits_for_room(third)
    assert line.pipeline.take() == b"a;c;"
    fourth = line.queue("d")
    assert line.pipeline.waits_for_room(fourth)
    line.hear(b"+1\r\n")
    assert not line.pipeline.waits_for_room(fourth)


def test_a_request_larger_than_the_bound_waits_only_for_others() -> None:
    """It goes alone, and does not wait for room that there will never be."""
    line = Line(max_in_flight=2)
    large = line.queue_group("a", "b", "c")
    assert not line.pipeline.waits_for_room(large)
    line.pipeline.abandon(large)
    line.queue("a")
    assert line.pipeline.waits_for_room(line.queue_group("d", "e", "f"))


@pytest.mark.parametrize("first", [100, 1000, 150_000, 299_000])
@pytest.mark.parametrize("before", [b"", b"+before\r\n"])
def test_a_large_reply_is_known_wherever_it_is_cut(line: Line, first: int, before: bytes) -> None:
    """The last piece counts, too, and so does the first one where it comes right behind another reply."""
    requests = [line.queue("a") for _ in range(1 + bool(before))]
    line.pipeline.take()
    reply = b"$300000\r\n" + b"x" * 300_000 + b"\r\n"
    assert line.hear(before + reply[:first]) == requests[:-1]
    assert line.hear(reply[first:]) == requests[-1:]
    assert [request.large for request in requests] == [*[False] * (len(requests) - 1), True]


def test_a_group_larger_than_the_bound_goes_alone() -> None:
    """It waits until nothing else is in flight, and nothing joins it; who came later doesn't pass it."""
    line = Line(max_in_flight=2)
    line.queue("a")
    line.pipeline.take()
    line.queue_group("b", "c", "d")
    line.queue("e")
    assert line.pipeline.take() == b""
    line.hear(b"+1\r\n")
    assert line.pipeline.take() == b"b,c,d;"
    line.hear(b"+2\r\n")
    assert line.pipeline.take() == b""
    line.hear(b"+3\r\n+4\r\n")
    assert line.pipeline.take() == b"e;"


def test_those_who_left_take_no_room() -> None:
    """Requests whose callers have all left are not waited for, and don't count as waiting."""
    line = Line(max_in_flight=1)
    line.queue("a")
    line.pipeline.take()
    left = [line.queue("b") for _ in range(3)]
    last = line.queue("c")
    assert line.pipeline.waiting == 4
    for request in left:
        line.pipeline.abandon(request)
    assert line.pipeline.waiting == 1
    assert line.pipeline.take() == b""  # there is no room, but those without a caller are swept out
    assert list(line.pipeline.queued) == [last]
    line.hear(b"+1\r\n")
    assert line.pipeline.take() == b"c;"
    assert last.sent


def test_the_oldest_wait_is_that_of_the_first_request_without_room() -> None:
    """Those that are only to be written don't wait for room, and those whose callers have left don't wait at all."""
    line = Line(max_in_flight=2)
    requests = [line.queue(token) for token in "abcde"]
    for number, request in enumerate(requests):
        request.since = 1.0 + number
    assert line.pipeline.oldest_wait(10.0) == 7.0
    line.pipeline.take()
    assert line.pipeline.oldest_wait(10.0) == 7.0
    line.pipeline.abandon(requests[2])
    assert line.pipeline.oldest_wait(10.0) == 6.0
    requests[3].since = 0.0  # its caller is about to begin to wait
    assert line.pipeline.oldest_wait(10.0) == 0.0
    line.hear(b"+1\r\n+2\r\n")
    assert line.pipeline.oldest_wait(10.0) == 0.0


# -- the end -----------------------------------------------------------------------------------------------------------


def test_at_the_end_each_request_says_what_became_of_it(line: Line) -> None:
    """One that is done has its replies; else it may have run where it was sent, and hasn't where it was not."""
    answered, half, flying = line.queue("a"), line.queue_group("b", "c"), line.queue("d")
    line.pipeline.take()
    waiting = line.queue("e")
    line.hear(b"+1\r\n+2\r\n")
    assert line.pipeline.unfinished() == [half, flying, waiting]
    assert [(each.done, each.sent) for each in (answered, half, flying, waiting)] == [
        (True, True),
        (False, True),
        (False, True),
        (False, False),
    ]


def test_what_was_not_sent_begins_anew_elsewhere(line: Line) -> None:
    """It goes over another connection as a request of its own, whatever the first connection still does to the old."""
    request = line.queue("a")
    other, again = Line(), request.again()
    other.pipeline.queued.append(again)
    line.pipeline.take()
    assert (request.sent, again.sent, again.moves) == (True, False, 1)
    assert other.pipeline.take() == b"a;"
    assert other.hear(b"+1\r\n") == [again]


@pytest.mark.parametrize("end", [b"+stray\r\n", b"rubbish\r\n"])
def test_a_reply_just_before_the_end_is_its_callers(line: Line, end: bytes) -> None:
    """It came in one piece with what ended the connection: its request is done all the same, and known to be."""
    request = line.queue("a")
    line.pipeline.take()
    answered: list[Request] = []
    data = b"+1\r\n" + end
    with pytest.raises((UnexpectedReply, hiredis.ProtocolError)):
        line.pipeline.receive(data, len(data), line.pushed.append, answered)
    assert answered == [request]
    assert (request.done, request.replies) == (True, b"1")


class Interrupted(BaseException):
    """As a signal handler raises it."""


class Interrupting(Request):
    """Interrupts the thread that looks at it or changes it for the n-th time."""

    steps = 0

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "steps":
            self._step()
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "steps":
            self._step()
        object.__setattr__(self, name, value)

    def _step(self) -> None:
        if self.steps:
            object.__setattr__(self, "steps", self.steps - 1)
            if not self.steps:
                raise Interrupted


def interrupting() -> Interrupting:
    """Return one that interrupts nothing yet."""
    return Interrupting(("a",), b"a;")


@pytest.mark.parametrize("step", range(1, 9))
def test_a_writer_that_is_interrupted_forgets_no_request(step: int) -> None:
    """Wherever it comes: a request is still queued, or in flight, and says that it was sent before it is in flight."""
    line = Line()
    request = interrupting()
    line.pipeline.queued.append(request)
    behind = line.queue("b")
    request.steps = step
    try:
        line.pipeline.take()
    except Interrupted:
        request.steps = 0
        assert line.pipeline.unfinished().count(request) >= 1
        assert line.pipeline.unfinished().count(behind) == 1
        assert request.sent or request not in line.pipeline.pending


@pytest.mark.parametrize("step", range(1, 9))
def test_a_reader_that_is_interrupted_forgets_no_request(step: int) -> None:
    """Wherever it comes: a request is done, with its reply, or still in flight."""
    line = Line()
    request = interrupting()
    line.pipeline.queued.append(request)
    behind = line.queue("b")
    line.pipeline.take()
    request.steps = step
    try:
        line.hear(b"+1\r\n")
    except Interrupted:
        request.steps = 0
        assert request in line.pipeline.pending or (request.done and request.replies == b"1")
        assert behind in line.pipeline.pending


def test_silence_is_counted_from_when_a_request_came_to_the_head(line: Line) -> None:
    """A request that was sent between two looks has not been waited for since the first of them."""
    line.pipeline.observe(0.0, 0)
    line.queue("a")
    line.pipeline.take()
    assert line.pipeline.observe(10.0, 0).silent == 0.0
    assert line.pipeline.observe(12.0, 0).silent == 2.0
    line.hear(b"+1\r\n")
    line.queue("b")
    line.pipeline.take()
    assert line.pipeline.observe(20.0, 1).silent == 0.0


# -- as a property -----------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_counters_return_to_zero(data: st.DataObject) -> None:
    """Whatever was queued, written, answered and abandoned: once all is answered, nothing is in flight or queued."""
    line = Line(max_in_flight=data.draw(st.integers(1, 6)))
    sizes = data.draw(st.lists(st.integers(0, 8), min_size=1, max_size=12))
    requests = [line.queue_group(*["x"] * size) if size else line.queue("x") for size in sizes]
    for _ in range(data.draw(st.integers(0, 5))):
        line.pipeline.take()
        count = data.draw(st.integers(0, line.pipeline.in_flight))
        line.hear(b"+1\r\n" * count)
    for request in requests[:: data.draw(st.integers(1, 4))]:
        line.pipeline.abandon(request)
    while line.pipeline.load:
        line.pipeline.take()
        line.hear(b"+1\r\n" * line.pipeline.in_flight)
    assert (line.pipeline.in_flight, line.pipeline.unfinished(), line.pipeline.full) == (0, [], False)
    assert all(request.done or (request.gone and not request.sent) for request in requests)


# -- what comes unasked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stray", [b"$6\r\nsec", b"+OK", b"*2\r\n+a\r\n", b"$"])
@pytest.mark.parametrize("behind", [False, True], ids=["alone", "behind a reply"])
def test_half_a_reply_that_comes_unasked_is_no_beginning_of_the_next(line: Line, stray: bytes, behind: bool) -> None:
    """Its rest would be taken for the reply to the next request."""
    asked = b""
    if behind:
        line.queue("a")
        line.pipeline.take()
        asked = b"+1\r\n"
    with pytest.raises(UnexpectedReply):
        line.hear(asked + stray)


@pytest.mark.parametrize("cut", range(1, 30, 4))
@pytest.mark.parametrize("before", [b"", b">1\r\n+whole\r\n"])
def test_half_a_push_may_have_its_rest_come_later(line: Line, cut: int, before: bytes) -> None:
    """No caller asks for one, and it may come in pieces."""
    push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nkey\r\n"
    line.hear(before + push[:cut])
    line.hear(push[cut:])
    assert line.pushed[-1] == [b"invalidate", [b"key"]]
    with pytest.raises(UnexpectedReply):
        line.hear(b"+half")


# -- attributes --------------------------------------------------------------------------------------------------------

ATTRIBUTE = b"|1\r\n+key\r\n+value\r\n"


@pytest.mark.parametrize(
    "chunks",
    [
        [ATTRIBUTE + b"$1\r\na\r\n"],
        [b"$1\r\na\r\n" + ATTRIBUTE + b"$1\r\nb\r\n"],
        [b"*2\r\n$1\r\na\r\n" + ATTRIBUTE + b"$1\r\nb\r\n"],
        [b"$2\r\na", b"b\r\n" + ATTRIBUTE + b"$1\r\nb\r\n"],
    ],
)
def test_an_attribute_is_found_wherever_it_begins(chunks: list[bytes]) -> None:
    """Also where the chunk begins with a frame that can hold none."""
    line = Line()
    line.pipeline._watch = AttributeWatch(line.reader)
    line.queue("a")
    line.queue("b")
    line.pipeline.take()
    *before, last = chunks
    for chunk in before:
        line.hear(chunk)
    with pytest.raises(AttributeReceived):
        line.hear(last)


def test_a_push_that_came_in_two_halves_is_no_reply(line: Line) -> None:
    """Its second half may begin as a reply does."""
    assert line.hear(b">2\r\n") == []
    request = line.queue("a")
    line.pipeline.take()
    assert line.hear(b"$1\r\nx\r\n$1\r\ny\r\n") == []
    assert line.hear(b"+1\r\n") == [request]
    assert (line.pushed, request.replies) == ([[b"x", b"y"]], b"1")
