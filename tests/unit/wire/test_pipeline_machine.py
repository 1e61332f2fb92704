"""One multiplexed connection's requests against a model: a server that answers in order, each with its token."""

from __future__ import annotations

from collections import deque
from typing import Any

import hiredis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from redpool.wire.pipeline import Pipeline, Request

NOT_ENOUGH = object()


class Shared(RuleBasedStateMachine):
    """Callers come, leave and are answered; the connection breaks and another one takes its place."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = 0
        self.expected: dict[int, list[str]] = {}  # by the request's identity
        self.kept: list[Request] = []  # so that no identity is used twice
        self.begin(3)

    def begin(self, bound: int) -> None:
        """Another connection."""
        self.bound = bound
        reader = hiredis.Reader(encoding="utf-8", notEnoughData=NOT_ENOUGH)
        self.pipeline = Pipeline(reader, NOT_ENOUGH, None, bound, [0] * 9)
        self.waiting: list[Request] = []
        self.order: deque[Request] = deque()  # as they were queued, of those not written
        self.asked: deque[str] = deque()  # what the server has been sent
        self.unheard = b""  # what it has answered
        self.pushed: list[Any] = []
        self.pushes = 0

    @rule(size=st.integers(0, 5))
    def call(self, size: int) -> None:
        """A caller queues a command, or a group of them."""
        tokens = [f"t{self.tokens + place}" for place in range(max(1, size))]
        self.tokens += len(tokens)
        data = "".join(f"{token} " for token in tokens).encode()
        commands: Any = [("ECHO", token) for token in tokens]
        request = Request(commands if size else commands[0], data, size)
        self.expected[id(request)] = tokens
        self.kept.append(request)
        self.pipeline.queued.append(request)
        self.waiting.append(request)
        self.order.append(request)

    @rule()
    def write(self) -> None:
        """What may be written is: first come first served, in whole groups, those that left not at all."""
        before = self.pipeline.in_flight
        words = self.pipeline.take().decode().split()
        flying, expected = before, []
        while self.order:
            request = self.order[0]
            size = len(self.expected[id(request)])
            if not request.gone:
                if flying and flying + size > self.bound:
                    break
                flying += size
                expected += self.expected[id(request)]
            self.order.popleft()
            if request.gone:
                self.waiting.remove(request)
        assert words == expected
        self.asked += words

    @rule(count=st.integers(1, 8), push=st.booleans())
    def answer(self, count: int, push: bool) -> None:
        """The server answers some of what it was asked, and may have something else to say."""
        for _ in range(min(count, len(self.asked))):
            self.unheard += f"${len(self.asked[0])}\r\n{self.asked.popleft()}\r\n".encode()
        if push:
            self.unheard += b">1\r\n+news\r\n"
            self.pushes += 1

    @precondition(lambda self: self.unheard)
    @rule(count=st.integers(1, 60))
    def hear(self, count: int) -> None:
        """Some bytes come in: each who is answered has its own tokens."""
        data, self.unheard = self.unheard[:count], self.unheard[count:]
        answered: list[Request] = []
        self.pipeline.receive(data, len(data), self.pushed.append, answered)
        for request in answered:
            replies = request.replies if isinstance(request.replies, list) else [request.replies]
            assert replies == self.expected[id(request)]
            assert request.sent
            assert request.done
            self.waiting.remove(request)

    @precondition(lambda self: self.waiting)
    @rule(place=st.integers(0, 100))
    def leave(self, place: int) -> None:
        """A caller doesn't wait any longer; it gets to know whether its command may have run."""
        request = self.waiting[place % len(self.waiting)]
        assert self.pipeline.abandon(request) is (request not in self.order)

    @rule(bound=st.integers(1, 6))
    def lose(self, bound: int) -> None:
        """The connection breaks: each request is known, and what was not sent goes on over the next connection."""
        assert self.pipeline.unfinished() == self.waiting
        assert [request for request in self.waiting if not request.sent] == list(self.order)
        unsent = [request for request in self.order if not request.gone]
        self.begin(bound)
        for request in unsent:
            again = request.again()
            self.expected[id(again)] = self.expected[id(request)]
            self.kept.append(again)
            self.pipeline.queued.append(again)
            self.waiting.append(again)
            self.order.append(again)

    @invariant()
    def within_bounds(self) -> None:
        """What is in flight is what the server owes, no more than the bound but for a group that goes alone."""
        flying = self.pipeline.in_flight
        awaited = [request for request in self.waiting if request not in self.order]
        assert flying == sum(request.expects or 1 for request in awaited)
        assert flying <= self.bound or len(awaited) == 1
        assert self.pushes >= len(self.pushed)


Shared.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestShared = Shared.TestCase
