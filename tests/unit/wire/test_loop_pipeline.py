"""The requests of an event loop's multiplexed connection: ordinary calls, which are tuples, among requests."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import hiredis
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from redpool.wire import loop_pipeline
from redpool.wire.attributes import AttributeReceived, AttributeWatch
from redpool.wire.loop_pipeline import LoopPipeline
from redpool.wire.pipeline import Request, UnexpectedReply

NOT_ENOUGH = object()
_NOTHING = object()


class Waker:
    """As much of a future as a pipeline asks of one."""

    def __init__(self) -> None:
        self.result: Any = _NOTHING

    def done(self) -> bool:
        """Whether it is set."""
        return self.result is not _NOTHING

    def set_result(self, value: Any) -> None:
        """Set it, once."""
        assert not self.done()
        self.result = value


class Line:
    """A pipeline, and what it has said."""

    def __init__(self, max_in_flight: int = 100, watch: bool = False, **options: Any) -> None:
        reader = hiredis.Reader(notEnoughData=NOT_ENOUGH, **options)
        watching = AttributeWatch(reader) if watch else None
        self.batches = [0] * 9
        self.pipeline = LoopPipeline(reader, NOT_ENOUGH, watching, max_in_flight, self.batches)
        self.pushed: list[Any] = []

    def call(self, word: str) -> Waker:
        """An ordinary call in the queue."""
        waker = Waker()
        self.pipeline.queued.append((waker, word.encode() + b";", ("ECHO", word), 5.0))
        return waker

    def group(self, *words: str) -> Request:
        """Several commands that belong together, as a client's pipeline queues them."""
        request = Request([("ECHO", word) for word in words], ",".join(words).encode() + b";", len(words))
        request.waker = Waker()
        self.pipeline.queued.append(request)
        self.pipeline.mixed = True
        return request

    def leave(self, waker: Waker) -> None:
        """Its caller is canceled."""
        waker.set_result("canceled")
        self.pipeline.mixed = True

    def hear(self, data: bytes) -> list[Request]:
        """Take in what has come; return the requests that are done, whose wakers are the connection's affair."""
        answered: list[Request] = []
        self.pipeline.answer(data, self.pushed.append, answered)
        for request in answered:
            if not request.waker.done():
                request.waker.set_result(request.replies)
        return answered


@pytest.fixture
def line() -> Line:
    return Line()


def test_calls_go_out_in_one_piece_and_are_answered_in_order(line: Line) -> None:
    """Each has its own reply in its waker, an error among them; one write is one batch."""
    wakers = [line.call(word) for word in "abc"]
    assert line.pipeline.take() == b"a;b;c;"
    assert line.pipeline.take() == b""
    assert line.batches[3] == 1
    assert line.hear(b"+1\r\n-ERR two\r\n") == []
    assert [wakers[0].result, str(wakers[1].result)] == [b"1", "ERR two"]
    assert not wakers[2].done()
    line.hear(b"$1\r\n3\r\n")
    assert wakers[2].result == b"3"
    assert line.pipeline.in_flight == 0


def test_what_was_not_written_never_is(line: Line) -> None:
    """A call whose caller has left is taken out of the queue; what was written has its reply dropped."""
    first, second, third = (line.call(word) for word in "abc")
    line.leave(second)
    assert line.pipeline.take() == b"a;c;"
    line.leave(first)
    line.hear(b"+1\r\n+3\r\n")
    assert (first.result, third.result) == ("canceled", b"3")


def test_calls_and_groups_keep_their_order(line: Line) -> None:
    """No other caller's command comes between those of a group, and each gets its own."""
    first, group, last = line.call("a"), line.group("b", "c"), line.call("d")
    assert line.pipeline.take() == b"a;b,c;d;"
    assert not line.pipeline.mixed
    assert line.hear(b"+1\r\n+2\r\n") == []
    assert group in line.hear(b"+3\r\n+4\r\n")
    assert (first.result, group.waker.result, last.result) == (b"1", [b"2", b"3"], b"4")


def test_the_rest_waits_for_room() -> None:
    """No more commands than the bound are in flight, whatever their kind."""
    line = Line(max_in_flight=2)
    for word in "abc":
        line.call(word)
    assert line.pipeline.take() == b"a;b;"
    assert line.pipeline.take() == b""
    assert (line.pipeline.waiting, line.pipeline.oldest_wait(7.0)) == (1, 2.0)
    line.hear(b"+1\r\n")
    assert line.pipeline.take() == b"c;"


def test_a_group_beyond_the_bound_goes_alone() -> None:
    """What waits behind it waits for all of its replies."""
    line = Line(max_in_flight=2)
    line.group("a", "b", "c")
    assert line.pipeline.take() == b"a,b,c;"
    waker = line.call("d")
    assert (line.pipeline.take(), line.pipeline.take(), line.pipeline.in_flight) == (b"", b"", 3)
    line.hear(b"+1\r\n+2\r\n+3\r\n")
    assert line.pipeline.take() == b"d;"
    line.hear(b"+4\r\n")
    assert waker.result == b"4"


def test_a_look_changes_nothing() -> None:
    """It may be another thread's; calls whose callers have left don't wait."""
    line = Line(max_in_flight=1)
    _, second, third = (line.call(word) for word in "abc")
    line.pipeline.take()
    queued = list(line.pipeline.queued)
    assert (line.pipeline.waiting, line.pipeline.oldest_wait(7.0)) == (2, 2.0)
    assert [one is another for one, another in zip(line.pipeline.queued, queued, strict=True)] == [True, True]
    line.pipeline.promote()
    line.leave(second)
    line.leave(third)
    assert (line.pipeline.waiting, line.pipeline.oldest_wait(7.0)) == (0, 0.0)


def test_replies_that_come_one_by_one_are_whole(line: Line) -> None:
    """Nothing is to be known about the calls behind them: these stay what they are."""
    for word in "abc":
        line.call(word)
    line.pipeline.take()
    line.hear(b"+1\r\n")
    line.hear(b"*1\r\n+2\r\n")
    assert [type(entry) for entry in line.pipeline.pending] == [tuple]


def test_an_interruption_while_a_caller_is_woken(line: Line) -> None:
    """The call is still known: its caller hears of the end as the others do."""

    class Interrupted(Waker):
        def set_result(self, value: Any) -> None:
            raise KeyboardInterrupt

    waker, behind = Interrupted(), Waker()
    line.pipeline.queued.extend((each, b"a;", ("ECHO", "a"), 5.0) for each in (waker, behind))
    line.pipeline.take()
    with pytest.raises(KeyboardInterrupt):
        line.hear(b"+1\r\n+2\r\n")
    assert [request.waker for request in line.pipeline.unfinished()] == [waker, behind]


def test_a_write_takes_no_further_call_beyond_its_size(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a socket takes at once, more or less."""
    monkeypatch.setattr(loop_pipeline, "WRITE_SIZE", 3)
    for word in "abc":
        line.call(word)
    assert [line.pipeline.take(), line.pipeline.take(), line.pipeline.take()] == [b"a;b;", b"c;", b""]


def test_more_is_to_be_known_about_a_call_than_its_reply(line: Line) -> None:
    """A request takes its place, which says what was sent of it, and whose waker it has; the reply goes there then."""
    sent = line.call("a")
    line.pipeline.take()
    queued = line.call("b")
    first, second = line.pipeline.unfinished()
    assert [(each.commands, each.waker, each.sent, each.gone) for each in (first, second)] == [
        (("ECHO", "a"), sent, True, False),
        (("ECHO", "b"), queued, False, False),
    ]
    assert (first.flowed_at, second.data) == (5.0, b"b;")
    assert line.pipeline.head is first
    assert line.pipeline.awaited() == [first]
    assert line.pipeline.take() == b"b;"
    assert line.hear(b"+1\r\n+2\r\n") == [first, second]
    assert (sent.result, queued.result) == (b"1", b"2")


@pytest.mark.parametrize("cut", [1, 1000, 150_000, 299_000])
def test_a_large_reply_is_known_wherever_it_is_cut(line: Line, cut: int) -> None:
    """Its caller learns of it by a request; small replies that come with a part of it don't count."""
    before, large, after = (line.call(word) for word in "abc")
    line.pipeline.take()
    reply = b"$300000\r\n" + b"x" * 300_000 + b"\r\n"
    assert line.hear(b"+1\r\n" + reply[:cut]) == []
    (request,) = line.hear(reply[cut:] + b"+3\r\n")[:1]
    assert before.result == b"1"
    assert (request.waker, request.large) == (large, True)
    assert after.result == b"3"


def test_what_comes_with_a_part_of_a_reply_makes_it_no_larger(line: Line) -> None:
    """Many small replies and the beginning of another one in a chunk are no large reply."""
    for _ in range(2):
        line.call("a")
    group = line.group("b")
    line.pipeline.take()
    line.hear((b"$100000\r\n" + b"x" * 100_000 + b"\r\n") * 2 + b"$3\r\nab")
    assert line.hear(b"c\r\n") == [group]
    assert not group.large


def test_a_reply_that_is_cut_makes_a_request_of_its_own_call_only(line: Line) -> None:
    """Those behind it stay what they are: chunks end anywhere."""
    wakers = [line.call(word) for word in "abcd"]
    line.pipeline.take()
    line.hear(b"+1\r\n+2")
    (request,) = line.hear(b"\r\n+3\r\n")
    assert request.waker is wakers[1]
    assert not request.large
    assert [waker.result for waker in wakers[:3]] == [b"1", b"2", b"3"]
    assert type(line.pipeline.pending[0]) is tuple


def test_calls_that_wait_for_room_know_for_how_long(line: Line) -> None:
    """Once they are requests: those beyond the bound, and no other."""
    line = Line(max_in_flight=2)
    line.pipeline.room_patience = 3.0
    for word in "abcd":
        line.call(word)
    line.pipeline.take()
    line.hear(b"+1\r\n")
    assert [request.room_until for request in line.pipeline.unfinished()] == [math.inf, math.inf, 8.0]


def test_pushes_stand_between_replies(line: Line) -> None:
    """They are no caller's reply, whether a call is awaited or none."""
    waker = line.call("a")
    line.pipeline.take()
    line.hear(b">1\r\n+news\r\n+1\r\n>1\r\n+more\r\n")
    assert waker.result == b"1"
    line.hear(b">1\r\n+la")
    line.hear(b"st\r\n")
    assert line.pushed == [[b"news"], [b"more"], [b"last"]]


@pytest.mark.parametrize("stray", [b"+stray\r\n", b"$6\r\nsec"])
def test_a_reply_to_no_call_is_an_error(line: Line, stray: bytes) -> None:
    """Those before it have theirs."""
    waker = line.call("a")
    line.pipeline.take()
    with pytest.raises(UnexpectedReply):
        line.hear(b"+1\r\n" + stray)
    assert waker.result == b"1"


def test_what_is_no_reply_at_all_loses_no_call(line: Line) -> None:
    """The call that would have had it is still known: its caller hears of the end."""
    waker = line.call("a")
    line.pipeline.take()
    with pytest.raises(hiredis.ProtocolError):
        line.hear(b"rubbish\r\n")
    assert [request.waker for request in line.pipeline.unfinished()] == [waker]


def test_text_that_cannot_be_decoded_is_one_callers_error() -> None:
    """The others have theirs."""
    line = Line(encoding="utf-8")
    first, second = line.call("a"), line.call("b")
    line.pipeline.take()
    line.hear(b"+\xff\r\n+2\r\n")
    assert isinstance(first.result, UnicodeError)
    assert second.result == "2"


def test_attributes_are_seen() -> None:
    """They would be taken for replies, wherever a chunk ends."""
    line = Line(watch=True)
    line.call("a")
    line.pipeline.take()
    line.hear(b"$2\r\n|")
    with pytest.raises(AttributeReceived):
        line.hear(b"1\r\n|1\r\n+key\r\n+value\r\n+2\r\n")


class Mixed(RuleBasedStateMachine):
    """Callers of both kinds come, leave and are answered by a server that answers in order, each with its token."""

    def __init__(self) -> None:
        super().__init__()
        self.bound = 4
        self.line = Line(self.bound, encoding="utf-8")
        self.tokens = 0
        self.callers: list[tuple[Any, Waker, list[str]]] = []  # (request or `None` for a call, waker, tokens)
        self.order: deque[tuple[Any, Waker, list[str]]] = deque()  # not written yet
        self.asked: deque[str] = deque()
        self.unheard = b""

    @rule(size=st.integers(0, 3))
    def come(self, size: int) -> None:
        """A caller queues a command, or a group of them."""
        tokens = [f"t{self.tokens + place}" for place in range(max(1, size))]
        self.tokens += len(tokens)
        request = self.line.group(*tokens) if size else None
        waker = request.waker if request is not None else self.line.call(tokens[0])
        self.callers.append((request, waker, tokens))
        self.order.append(self.callers[-1])

    @rule()
    def write(self) -> None:
        """What may be written is: first come, first served, in whole groups; those that left not at all."""
        flying, expected = self.line.pipeline.in_flight, list[str]()
        while self.order:
            _, waker, tokens = self.order[0]
            if not waker.done():
                if flying and flying + len(tokens) > self.bound:
                    break
                flying += len(tokens)
                expected += tokens
            self.order.popleft()
        written = self.line.pipeline.take().decode().replace(",", ";").split(";")
        assert written[:-1] == expected
        self.asked += expected

    @rule(count=st.integers(1, 8))
    def answer(self, count: int) -> None:
        """The server answers some of what it was asked."""
        for _ in range(min(count, len(self.asked))):
            self.unheard += f"${len(self.asked[0])}\r\n{self.asked.popleft()}\r\n".encode()

    @precondition(lambda self: self.unheard)
    @rule(count=st.integers(1, 60))
    def hear(self, count: int) -> None:
        """Some bytes come in."""
        data, self.unheard = self.unheard[:count], self.unheard[count:]
        self.line.hear(data)

    @rule()
    def look_closer(self) -> None:
        """More is to be known about those under way."""
        self.line.pipeline.promote()

    @precondition(lambda self: self.callers)
    @rule(place=st.integers(0, 100))
    def leave(self, place: int) -> None:
        """A caller doesn't wait any longer."""
        _, waker, _ = self.callers[place % len(self.callers)]
        if not waker.done():
            self.line.leave(waker)

    @invariant()
    def each_has_its_own(self) -> None:
        """Each caller that is answered has its own tokens."""
        for request, waker, tokens in self.callers:
            if waker.done() and waker.result != "canceled":
                assert waker.result == (tokens if request is not None else tokens[0])
        assert self.line.pipeline.in_flight <= self.bound


Mixed.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestMixed = Mixed.TestCase
