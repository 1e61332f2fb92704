"""The line of one shared connection against a model: a server that answers in order, each with the caller's token."""

from __future__ import annotations

from collections import deque
from typing import Any

import hiredis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from redpool.wire.mux import Entry, MuxCore

NOT_ENOUGH = object()


class Shared(RuleBasedStateMachine):
    """Callers come, leave and are answered; the connection breaks and another one takes its place."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = 0
        self.expected: dict[int, list[str]] = {}  # by the entry's identity
        self.begin(3)

    def begin(self, bound: int) -> None:
        """Another connection."""
        self.bound = bound
        reader = hiredis.Reader(encoding="utf-8", notEnoughData=NOT_ENOUGH)
        self.core = MuxCore(reader, NOT_ENOUGH, bound, [0] * 9)
        self.waiting: list[Entry] = []
        self.order: deque[Entry] = deque()  # as they were queued, of those not written
        self.asked: deque[str] = deque()  # what the server has been sent
        self.unheard = b""  # what it has answered
        self.pushed: list[Any] = []
        self.pushes = 0

    @rule(size=st.integers(0, 5))
    def call(self, size: int) -> None:
        """Somebody queues a command, or a group of them."""
        tokens = [f"t{self.tokens + place}" for place in range(max(1, size))]
        self.tokens += len(tokens)
        data = "".join(f"{token} " for token in tokens).encode()
        commands: Any = [("ECHO", token) for token in tokens]
        entry = Entry(commands if size else commands[0], data, size)
        self.expected[id(entry)] = tokens
        self.core.queued.append(entry)
        self.waiting.append(entry)
        self.order.append(entry)

    @rule()
    def write(self) -> None:
        """What may be written is: first come first served, in whole groups, those who left not at all."""
        before = self.core.in_flight
        words = self.core.take_output().decode().split()
        flying, expected = before, []
        while self.order:
            entry = self.order[0]
            size = len(self.expected[id(entry)])
            if not entry.gone:
                if flying and flying + size > self.bound:
                    break
                flying += size
                expected += self.expected[id(entry)]
            elif flying and flying + size > self.bound:
                break
            self.order.popleft()
            if entry.gone:
                self.waiting.remove(entry)
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
        """Some bytes come in: each who is answered has his own tokens."""
        data, self.unheard = self.unheard[:count], self.unheard[count:]
        for entry in self.core.receive(data, len(data), self.pushed.append):
            replies = entry.replies if isinstance(entry.replies, list) else [entry.replies]
            assert replies == self.expected[id(entry)]
            assert entry.sent
            assert entry.error is None
            self.waiting.remove(entry)

    @precondition(lambda self: self.waiting)
    @rule(place=st.integers(0, 100))
    def leave(self, place: int) -> None:
        """Somebody doesn't wait any longer; he is told whether it may have run. Where there is no room, he is gone."""
        entry = self.waiting[place % len(self.waiting)]
        full = self.core.full
        assert self.core.abandon(entry) is (entry not in self.order)
        if full and entry in self.order:
            self.order.remove(entry)
            self.waiting.remove(entry)

    @rule(bound=st.integers(1, 6))
    def lose(self, bound: int) -> None:
        """The connection breaks: all who wait are told, and who was not sent goes on over the next one."""
        unsent = [entry for entry in self.order if not entry.gone]
        error = ConnectionError()
        lost = self.core.lost(error)
        assert [entry for entry in lost if not entry.gone] == [entry for entry in self.waiting if not entry.gone]
        assert all(entry.error is error for entry in lost)
        assert [entry for entry in lost if not entry.sent and not entry.gone] == unsent
        assert self.core.in_flight == 0
        self.begin(bound)
        for entry in unsent:
            entry.renew()
            self.core.queued.append(entry)
            self.waiting.append(entry)
            self.order.append(entry)

    @invariant()
    def within_bounds(self) -> None:
        """What is in flight is what the server owes, no more than the bound but for a group that goes alone."""
        flying = self.core.in_flight
        awaited = [entry for entry in self.waiting if entry not in self.order]
        assert flying == sum(entry.expects or 1 for entry in awaited)
        assert flying <= self.bound or len(awaited) == 1
        assert self.pushes >= len(self.pushed)


Shared.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestShared = Shared.TestCase
