"""The requests of a multiplexed connection of one event loop: a `Pipeline` without the care that threads need.

An ordinary call, one command whose reply is decoded and for which no deadline of its own holds, needs no `Request`: it
stands in the queue as a tuple, `Call`, and its reply travels in the waker. Where more is to be known about calls than
their replies (the connection is retired or lost, one is late, a reply came in pieces) a `Request` takes the place of
each: see `promote`. Its caller's waker is then set to that request.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import hiredis

from .commands import Args
from .pipeline import WRITE_SIZE, Pipeline, Received, Reply, Request, Waker

Call: TypeAlias = tuple[Waker, bytes, Args, float]
"""A future, the command's bytes, the command, and when it was queued."""

Entry: TypeAlias = Any
"""A `Call` or a `Request`, told apart where it matters by what is quickest."""

_Push: type[list[Reply]] = hiredis.PushNotification
_LINE_FEED = b"\n"[0]


class LoopPipeline(Pipeline):
    """The requests of one multiplexed connection of one event loop."""

    queued: deque[Entry]
    pending: deque[Entry]

    mixed = False
    """not all that is queued are calls whose callers wait"""
    room_patience = math.inf
    """seconds for which a call waits for room"""

    # -- writing -----------------------------------------------------------------------------------------------------

    def take(self) -> bytes:
        """Return what is to be written next, in one piece; nothing where all is written, or enough is in flight."""
        if self.mixed:
            return self._take_one_by_one()
        queued, count = self.queued, self._max_in_flight - self.written + self.answered
        if count >= len(queued):
            count, calls = len(queued), list(queued)
            queued.clear()
        elif count <= 0:  # a group that is larger than the bound is in flight, for one
            return b""
        else:
            calls = [queued.popleft() for _ in range(count)]
        data: bytes = calls[0][1] if count == 1 else b"".join([call[1] for call in calls])
        if len(data) > WRITE_SIZE:
            queued.extendleft(reversed(calls))
            return self._take_one_by_one()
        self.pending.extend(calls)
        self.written += count
        if count:
            self._batches[count if count < self._largest_batch else self._largest_batch] += 1
        return data

    def _take_one_by_one(self) -> bytes:
        queued, pieces, size, commands = self.queued, list[bytes](), 0, 0
        while queued and size < WRITE_SIZE:
            entry = queued[0]
            is_call, gone = type(entry) is tuple, _has_left(entry)
            count = 1 if is_call else entry.expects or 1
            flying = self.written - self.answered
            if flying and flying + count > self._max_in_flight and not gone:
                break
            queued.popleft()
            if gone:
                continue
            if not is_call:
                entry.sent = True
            self.pending.append(entry)
            self.written += count
            commands += count
            data = entry[1] if is_call else entry.data
            pieces.append(data)
            size += len(data)
        self.mixed = bool(queued)
        if commands:
            self._batches[commands if commands < self._largest_batch else self._largest_batch] += 1
        return b"".join(pieces)

    # -- reading -----------------------------------------------------------------------------------------------------

    def answer(self, data: Received, push: Callable[[Reply], object], answered: list[Request]) -> int:
        """Take in what has come: answer calls, and add the requests that are done now to `answered`.

        Return how many commands were answered. Push frames go to `push`. Raises what `receive` raises.
        """
        size, watch, before = len(data), self._watch, self.answered
        if watch is not None and data.find(b"|") >= 0:
            watch.check(data, size)
        self._feed(data)
        self.heard += 1
        if self._arrived:
            self._promote_head()  # its reply came in pieces: it may be large
        while not self._answer_calls(data, size, before, push):
            if not self._understand(data, size, push, answered):
                if self._arrived == size and self.answered != before:  # only the rest of the chunk is the next reply's
                    self._arrived = 1
                break
        if watch is not None and (data[size - 1] != _LINE_FEED or not watch.at_start or self._has_data()):
            watch.fed(data, size)
        return self.answered - before

    def _answer_calls(self, data: Received, size: int, before: int, push: Callable[[Reply], object]) -> bool:
        """Answer calls as long as one is at the head. Return whether nothing else is to be understood.

        So many bytes have come, and so many commands were answered `before` them.
        """
        gets, pending, not_enough = self._gets, self.pending, self._not_enough
        popleft = pending.popleft
        while pending:
            call = pending[0]
            if type(call) is not tuple:
                return False
            try:
                reply = gets()
            except UnicodeError as error:
                reply = error
            if reply is not_enough:
                if self.answered == before:
                    self._arrived += size
                elif data[size - 1] != _LINE_FEED or self._has_data():
                    self._arrived += 1
                return True
            if type(reply) is _Push:
                push(reply)
                continue
            # It is woken before it is forgotten: what interrupts this has those woken that are still known.
            waker = call[0]
            if not waker.done():
                waker.set_result(reply)
            self.answered += 1
            popleft()
        return not self._has_data()

    # -- calls as requests -------------------------------------------------------------------------------------------

    def promote(self) -> None:
        """Have a `Request` take the place of each call."""
        for line, sent in ((self.pending, True), (self.queued, False)):
            requests = [_request(entry, sent) if type(entry) is tuple else entry for entry in line]
            line.clear()
            line.extend(requests)
        self.mixed = bool(self.queued)
        ahead = self.written - self.answered
        for request in self.queued:
            ahead += request.expects or 1
            if ahead > self._max_in_flight and request.room_until == math.inf:
                request.room_until = request.since + self.room_patience

    def _promote_head(self) -> None:
        if self.pending and type(self.pending[0]) is tuple:
            self.pending[0] = _request(self.pending[0], True)

    @property
    def head(self) -> Request | None:
        """The request that is answered next."""
        if not self.pending:
            return None
        self._promote_head()
        head: Request = self.pending[0]
        return head

    def awaited(self) -> list[Request]:
        """Return the requests that were sent and not answered."""
        self.promote()
        return list(self.pending)

    def unfinished(self) -> list[Request]:
        """Return the requests that may still be waited for."""
        self.promote()
        return [*self.pending, *self.queued]

    def _queued_since(self) -> list[float]:
        # It may be another thread that asks: nothing changes here.
        staying = [entry for entry in self.queued.copy() if not _has_left(entry)]
        return [entry[3] if type(entry) is tuple else entry.since for entry in staying]


def _has_left(entry: Entry) -> bool:
    """Return whether the caller has left, or is woken already."""
    if type(entry) is tuple:
        return bool(entry[0].done())
    return bool(entry.gone or (entry.waker is not None and entry.waker.done()))


def _request(call: Call, sent: bool) -> Request:
    waker, data, args, queued_at = call
    request = Request(args, data)
    request.waker, request.sent, request.gone = waker, sent, waker.done()
    request.since = request.flowed_at = queued_at
    return request
