"""One multiplexed connection's requests: sent in order, and matched in that order to the replies.

Rules:

- Requests are written in the order in which they are queued, and their replies come in that order; a request's commands
  are written in one piece, so that no other request comes in between those of a pipeline or of a MULTI … EXEC.
- A request whose caller has left stays in flight and its replies are dropped; one that wasn't written yet never is.
- A request is marked as sent before its first byte can leave.
- At most `max_in_flight` commands await a reply; others stay queued, first come, first served. A request that is larger
  than that goes alone.

Nothing here waits, locks or does I/O. It holds where callers queue requests from many threads while one thread writes
and one reads. The writer alone takes requests out of `queued` and counts `written`; the reader alone takes them out of
`pending` and counts `answered`. The writer puts a request into `pending` before it takes it out of `queued`, and the
reader says that a request is done before it takes it out of `pending`: so at each step a request that isn't done is in
one of the two, wherever an interruption comes. A connection that is lost leaves both as they are: what has become of a
request is then said by the request itself, `done` or not, `sent` or not.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

import hiredis

from .attributes import AttributeWatch
from .commands import Sent

Reply: TypeAlias = Any
"""What a server has answered, as the reader returns it."""

Received: TypeAlias = Any
"""What has come in: bytes, in a buffer or not; hiredis takes both, and its annotations know one."""

Waker: TypeAlias = Any
"""What wakes a caller; the shell's affair."""

Connection: TypeAlias = Any
"""A multiplexed connection; the shell's affair."""

Line: TypeAlias = deque[Any]
"""The requests in flight; on an event loop ordinary calls among them."""

_Push: type[list[Reply]] = hiredis.PushNotification
_LINE_FEED, _PUSH = b"\n>"
# How a frame begins that is neither a push nor an attribute, and holds no other one.
_SINGLE = b"$+:_-,#(="

WRITE_SIZE = 256 * 1024
"""A write takes no further request beyond so many bytes: what a socket takes at once, more or less."""

LARGE_REPLY = 128 * 1024
"""Replies beyond so many bytes hold those behind them up."""


class State(Enum):
    """What a multiplexed connection takes: open -> draining -> lost or detached."""

    OPEN = "takes requests"
    DRAINING = "takes no new requests, and answers those that it has"
    LOST = "broken: what it was sent may have run, what it was not sent has not"
    DETACHED = "the pool's again, to be lent to others: nothing is written to it from here"


class ServerClosed(Exception):
    """The server has hung up."""


class UnexpectedReply(Exception):
    """A reply came in while no request was in flight."""


class Request:
    """What one caller sends over a multiplexed connection, and what has come back.

    `commands` is one command, a tuple, or a list of them; `replies` the reply to the one, or the list of them.
    """

    # What a request seldom has stands here, so that making one sets little.
    sent = done = gone = large = False
    waker: Waker = None
    """what wakes its caller"""
    moves_on = False
    """it had better go over another connection"""
    interrupts = False
    """it is a signal handler's, which has interrupted another call of the same thread"""
    bulk = False
    """its last reply was large"""
    outdated = False
    """it was answered over a connection that took no new requests any more"""
    moves = 0
    """how many connections ended before it was sent"""
    since = 0.0
    """when its caller began to wait"""
    flowed_at = 0.0
    """when anything has flowed last, or was to, as far as its caller has seen"""
    flow = -1
    """how much had flowed when its caller last looked"""
    room_until = math.inf
    """until when its caller waits for room"""
    limit = math.inf
    """its caller's deadline"""
    connection: Connection = None
    """the one that has woken its caller, on an event loop"""

    def __init__(self, commands: Sent, data: bytes, expects: int = 0, decode: bool = True) -> None:
        self.commands = commands
        self.data = data
        self.expects = expects  # replies still to come in a list; 0 for a single command
        self.decode = decode
        self.replies: Reply = [] if expects else None

    def again(self) -> Request:
        """Return the same for another connection; this one was not sent."""
        request = Request(self.commands, self.data, self.expects, self.decode)
        request.moves = self.moves + 1
        return request


class Activity(NamedTuple):
    """What has gone on over a connection, in seconds, as exact as it is observed often."""

    unused: float
    """since anything was sent for a caller"""
    unheard: float
    """since anything has come"""
    silent: float
    """since a reply was awaited and nothing has flowed"""


class Pipeline:
    """The requests of one multiplexed connection."""

    def __init__(
        self,
        reader: hiredis.Reader,
        not_enough: object,
        watch: AttributeWatch | None,
        max_in_flight: int,
        batches: list[int],
    ) -> None:
        """Take replies from `reader`, which returns `not_enough` where it has no whole one; RESP3 needs a `watch`."""
        self.queued: deque[Request] = deque()
        self.pending: deque[Request] = deque()
        self.written = self.answered = 0  # commands
        self.heard = 0  # times that anything came in
        self.cancelled = 0
        self.left = 0  # commands whose callers have left once they were sent
        self.probes = 0  # of the commands those that the pool has sent
        self._max_in_flight = max_in_flight
        self._feed, self._gets, self._has_data = reader.feed, reader.gets, reader.has_data
        self._not_enough = not_enough
        self._watch = watch
        self._batches = batches  # how many writes had so many commands; the last counts all larger ones
        self._largest_batch = len(batches) - 1
        self._half_push = False  # what the reader has kept is half a push
        self._arrived = 0  # bytes that came in before those with the end of a reply; 1 for some, behind another reply
        self._seen_used = self._seen_heard = self._seen_flow = -1
        self._seen_head: Request | None = None
        self._used_at = self._heard_at = self._flowed_at = 0.0

    def shape(self, make: Callable[[Line, Callable[..., Reply], object], Callable[..., Reply]]) -> None:
        """Take replies by what `make` returns, given the requests in flight, what takes them now, and `not_enough`."""
        self._gets = make(self.pending, self._gets, self._not_enough)

    @property
    def in_flight(self) -> int:
        """Commands that await a reply."""
        return self.written - self.answered

    @property
    def full(self) -> bool:
        """Whether new requests have to wait for room."""
        return self.written - self.answered + len(self.queued) >= self._max_in_flight

    @property
    def waiting(self) -> int:
        """How many requests wait for room, those aside whose callers have left."""
        if not self.full:
            return 0
        return max(0, self.written - self.answered + len(self._queued_since()) - self._max_in_flight)

    def oldest_wait(self, now: float) -> float:
        """Return for how long the first request that waits for room has waited; 0 where none does."""
        if not self.full:
            return 0.0
        since = self._queued_since()[max(0, self._max_in_flight - self.in_flight) :]
        return now - since[0] if since and since[0] else 0.0  # its caller may be about to begin to wait

    def _queued_since(self) -> list[float]:
        """Return since when each queued request waits whose caller has not left; whichever thread asks."""
        return [request.since for request in self.queued.copy() if not request.gone]

    @property
    def load(self) -> int:
        """How much is ahead of a new request."""
        return self.written - self.answered + len(self.queued)

    @property
    def ready(self) -> bool:
        """Whether there is something to be taken out of the queue, and room for it."""
        try:
            request = self.queued[0]
        except IndexError:  # a writer may take it out just now
            return False
        flying = self.written - self.answered
        return request.gone or not flying or flying + (request.expects or 1) <= self._max_in_flight

    def waits_for_room(self, request: Request) -> bool:
        """Return whether a queued request can't be written before something is answered; it itself takes no room."""
        ahead, needs = self.written - self.answered, request.expects or 1
        if ahead + len(self.queued) - 1 + needs <= self._max_in_flight:
            return False
        for each in self.queued.copy():
            if each is request:
                break
            ahead += 0 if each.gone else each.expects or 1
        return bool(ahead) and ahead + needs > self._max_in_flight

    # -- the writer's ------------------------------------------------------------------------------------------------

    def begin(self, request: Request) -> bytes:
        """Have a request in flight without queueing it, as nothing else is under way. Return what is to be written."""
        request.sent = True
        self.pending.append(request)
        if not request.expects:
            self.written += 1
            self._batches[1] += 1
        else:
            self.written += request.expects
            self._batches[min(request.expects, self._largest_batch)] += 1
        return request.data

    def take(self) -> bytes:
        """Return what is to be written next, in one piece; nothing where all is written, or enough is in flight."""
        queued, pending = self.queued, self.pending
        pieces: list[bytes] = []
        size = commands = 0
        while queued and size < WRITE_SIZE:
            request = queued[0]
            count = request.expects or 1
            flying = self.written - self.answered
            if flying and flying + count > self._max_in_flight and not request.gone:
                break
            # A caller that leaves says so first, and asks then whether it was sent.
            request.sent = True
            if request.gone:
                request.sent = False
            else:
                pending.append(request)
                self.written += count
                commands += count
                pieces.append(request.data)
                size += len(request.data)
            queued.popleft()
        if commands:
            self._batches[commands if commands < self._largest_batch else self._largest_batch] += 1
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    # -- the reader's ------------------------------------------------------------------------------------------------

    def receive(self, data: Received, size: int, push: Callable[[Reply], object], answered: list[Request]) -> None:
        """Take in the first `size` bytes of `data`: add the requests that are done now to `answered`.

        Push frames go to `push`. Raises `UnexpectedReply`, `AttributeReceived`, and what hiredis raises of bytes that
        are no replies.
        """
        # Called by way of locals: CPython 3.11 looks for a method of such a name first.
        feed, gets, has_data = self._feed, self._gets, self._has_data
        pending, watch = self.pending, self._watch
        request = pending[0] if pending else None
        single = (
            request is not None
            and data[0] in _SINGLE
            and not request.expects
            and request.decode
            and not self._arrived
            and (watch is None or watch.at_start)
        )
        if watch is not None and not single:
            watch.check(data, size)
        feed(data, 0, size)
        self.heard += 1
        if single and request is not None:
            # By far the most frequent case: `_understand` in short, for the reply to one command.
            try:
                reply = gets()
            except UnicodeError as error:
                reply = error
            if reply is not self._not_enough:
                self.answered += 1
                request.replies = reply
                request.done = True
                answered.append(request)
                pending.popleft()
                if not has_data():
                    return
            if watch is not None:
                watch.check(data, size)
        self._understand(data, size, push, answered)
        if watch is not None and (data[size - 1] != _LINE_FEED or not watch.at_start or has_data()):
            watch.fed(data, size)

    def _understand(  # noqa: PLR0912  each reply of a pipeline comes this way: a call for each costs more
        self, data: Received, size: int, push: Callable[[Reply], object], answered: list[Request]
    ) -> bool:
        """Take out of the reader what it has whole, up to the reply to what is no request. Return whether that is next.

        Only on an event loop there is something that is none.
        """
        gets, not_enough, has_data = self._gets, self._not_enough, self._has_data
        pending: Line = self.pending
        while True:
            request = pending[0] if pending else None
            if request is None and not has_data():  # exact here, where a frame is to begin
                return False
            if type(request) is tuple:
                return True
            try:
                reply = gets() if request is None or request.decode else gets(False)
            except UnicodeError as error:
                reply = error  # its caller's alone: the reader has gone on behind it
            if reply is not_enough:
                if request is None and not self._begins_push(data, size):
                    # The rest would be taken for the reply to the next request.
                    raise UnexpectedReply("part of an unexpected reply, no command pending")
                self._arrived += 1 if answered else size
                return False
            if type(reply) is _Push:
                self._half_push = False
                push(reply)
                continue
            if request is None:
                raise UnexpectedReply(f"unexpected reply, no command pending: {reply!r:.60}")
            self.answered += 1
            if self._arrived:  # it came in several pieces; what the last one has of it, a list doesn't tell
                if self._arrived > LARGE_REPLY or (isinstance(reply, bytes | str) and len(reply) > LARGE_REPLY):
                    request.large = True
                self._arrived = 0
            if request.expects:
                request.replies.append(reply)
                request.expects -= 1
                if request.expects:
                    continue
            else:
                request.replies = reply
            request.done = True
            answered.append(request)
            pending.popleft()

    def _begins_push(self, data: Received, size: int) -> bool:
        """Return whether the half frame that is left may be a push; only its first bytes can tell."""
        self._half_push = self._half_push or data[0] == _PUSH or data.find(b"\n>", 0, size) >= 0
        return self._half_push

    # -- a caller's --------------------------------------------------------------------------------------------------

    def abandon(self, request: Request) -> bool:
        """Note that the caller leaves. Return whether its commands may have run."""
        request.gone = True
        if not request.done:
            self.cancelled += 1
            if request.sent:
                self.left += request.expects or 1
        return request.sent

    @property
    def in_time(self) -> int:
        """Commands that were answered while their callers waited; fewer, as long as replies are still to be dropped."""
        return self.answered - self.left

    def unfinished(self) -> list[Request]:
        """Return the requests that may still be waited for; whichever thread asks."""
        return [*self.pending.copy(), *self.queued.copy()]

    def awaited(self) -> list[Request]:
        """Return the requests that were sent and not answered; whichever thread asks."""
        return list(self.pending.copy())

    @property
    def head(self) -> Request | None:
        """The request that is answered next."""
        try:
            return self.pending[0]
        except IndexError:
            return None

    # -- what can be seen --------------------------------------------------------------------------------------------

    def observe(self, now: float, flow: int) -> Activity:
        """Return what has gone on since; `flow` changes whenever bytes have come or have got on their way."""
        if (used := self.written - self.probes) != self._seen_used:
            self._seen_used, self._used_at = used, now
        if self.heard != self._seen_heard:
            self._seen_heard, self._heard_at = self.heard, now
        head = self.head
        # One that has come to the head since hasn't waited for longer than since then.
        if flow != self._seen_flow or head is None or head is not self._seen_head:
            self._seen_flow, self._seen_head, self._flowed_at = flow, head, now
        return Activity(now - self._used_at, now - self._heard_at, now - self._flowed_at)
