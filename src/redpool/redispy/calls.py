"""What can be seen of the calls over shared connections, from what is there anyway: it costs them nothing.

An ordinary call of a task is no more than a tuple in the queue. A thread that is parked is known by what wakes it;
where it is in its own code, no other thread may look.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, NamedTuple

from ..core.stats import Call
from ..wire.commands import Sent, command_name
from ..wire.pipeline import Line
from .multiplexed import Multiplexed

_monotonic = time.monotonic

MOST = 100
"""So many calls are described, the oldest ones: to find out where a task waits takes a while."""

Caller = Callable[[Any, Any], tuple[str | None, str | None]]
"""Returns the name of the caller that a waker of a connection wakes, and where it waits, as far as either is known."""


class _Seen(NamedTuple):
    since: float
    connection: Any
    waker: Any
    command: str
    sent: bool


def under_way(connections: Iterable[Multiplexed], caller: Caller) -> tuple[tuple[Call, ...], int]:
    """Return the oldest calls under way over these connections, and how many more there are."""
    now = _monotonic()
    seen = [found for connection in connections for found in _seen(connection, now)]
    seen.sort(key=lambda found: found.since)
    return tuple(_described(found, caller, now) for found in islice(seen, MOST)), max(0, len(seen) - MOST)


def _seen(connection: Multiplexed, now: float) -> list[_Seen]:
    """Return what is queued or in flight, those aside whose callers have left."""
    pipeline, seen = connection.pipeline, []
    lines: tuple[tuple[Line, bool], ...] = (pipeline.pending.copy(), True), (pipeline.queued.copy(), False)
    for line, sent in lines:
        for entry in line:
            if type(entry) is tuple:  # a `Call` of `loop_pipeline`
                waker, _, commands, since = entry
                left = waker.done()
            else:
                waker, commands, left = entry.waker, entry.commands, entry.gone or entry.done
                since = entry.since or entry.flowed_at
            if not left:
                seen.append(_Seen(since or now, connection, waker, _name(commands), sent))
    return seen


def _name(commands: Sent) -> str:
    if type(commands) is tuple:
        return command_name(commands)
    names = [command_name(each) for each in islice(commands, 2)]
    return names[-1] if names[0] == "MULTI" else names[0]


def _described(seen: _Seen, caller: Caller, now: float) -> Call:
    borrower, waits_at = caller(seen.connection, seen.waker)
    return Call(now - seen.since, borrower, waits_at, seen.command, seen.sent)
