"""Which multiplexed connection a request had better take, and what is to be done about one.

What holds others up, long pipelines and what was large the last time, goes over a connection apart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from enum import Enum

from .commands import Args, Sent, may_answer_at_length, read_only
from .pipeline import Activity, Pipeline, Request

MOST_ENDING = 4
"""So many connections may still be ending when another one is taken to be stalled: the server may be at fault."""

LARGEST_BATCH = 4096
"""The most commands in a write that are counted apart."""

LONG_PIPELINE = 500
"""Commands; a longer pipeline holds others up."""

LARGE_REQUEST = 128 * 1024
"""Bytes; the same of what is sent."""

MOST_MOVES = 3
"""How often a call that was not sent moves on to another connection, if they break one after another."""

PROBE = ("PING",)
"""What is sent over a connection over which nothing has come for long."""

STALLED_AFTER = 1.0
"""Seconds after which a connection that owes a reply is taken to be stalled, so that others go elsewhere."""

_MOST_LARGE = 1024
_WORDS = (str, bytes, int)
_Key = tuple[object, ...] | None

# A server that is busy is silent, too: only after so many times the patience of a caller is a path taken to be dead.
_TIMES_SILENT = 3


class LargeReplies:
    """The commands whose last reply was large, or because of which a server has hung up, by name and key."""

    def __init__(self) -> None:
        self.known: dict[_Key, bool] = {}  # whether the server has hung up

    def knows(self, request: Request) -> bool:
        """Return whether its reply was large the last time, or never came since the server has hung up."""
        return bool(self.known) and self._key(request) in self.known

    def stands_apart(self, request: Request) -> bool:
        """Return whether it must not go over a connection that others share, if there can be another one."""
        return bool(self.known) and self.known.get(self._key(request), False)

    def note(self, request: Request) -> None:
        """Remember a request whose reply was large; forget one whose reply no longer is."""
        key = self._key(request)
        if key is None:
            return
        if request.large:
            self._remember(key, hung_up=False)
        else:
            self.known.pop(key, None)

    def note_hang_up(self, pending: Iterable[Request]) -> None:
        """Remember for which request the server may have hung up, as it does beyond its output buffer limit.

        That stood at the head, but for those whose replies are short: they may have been lost with it. A reply that
        comes next time, and is small, clears it.
        """
        for request in pending:
            if request.done:
                continue
            key = self._key(request)
            if key is None or request.commands is PROBE:
                return
            if may_answer_at_length(request.commands):
                self._remember(key, hung_up=True)
                return

    def forget_hang_ups(self) -> None:
        """Clear all: the server can't be reached, so that it has hung up on everybody."""
        for key in [key for key, hung_up in self.known.copy().items() if hung_up]:
            self.known.pop(key, None)

    def _remember(self, key: _Key, hung_up: bool) -> None:
        self.known[key] = hung_up
        if len(self.known) > _MOST_LARGE:
            with contextlib.suppress(StopIteration, RuntimeError):  # other threads are at it
                self.known.pop(next(iter(self.known)), None)

    @staticmethod
    def _key(request: Request) -> _Key:
        if type(request.commands) is not tuple:
            return None
        key = request.commands[:2]
        return key if isinstance(key[0], _WORDS) and isinstance(key[-1], _WORDS) else None


class HealthAction(Enum):
    """What is to be done about a multiplexed connection, as far as observing it can tell."""

    PROBE = "nothing has come for long, so that the server is asked for a word"
    SUSPECT = "nothing has flowed for a while, though a reply is awaited: new requests had better go elsewhere"
    RETIRE = "no caller needs it"
    LOSE = "nothing has flowed for so long that it is dead"


def health_action(
    pipeline: Pipeline, seen: Activity, patience: float, answer_within: float, retire_after: float, probe_after: float
) -> HealthAction | None:
    """Return what is due, by what was seen of a connection, all in seconds.

    Callers have `patience`, a server that is probed answers within so many, a connection is retired after so many in
    which no caller has used it, and probed after so many in which nothing has come.
    """
    head = pipeline.head
    probed = head is not None and head.commands is PROBE and pipeline.in_flight == 1
    if seen.silent >= (min(patience, answer_within) if probed else _TIMES_SILENT * patience):
        return HealthAction.LOSE
    if head is not None and seen.silent >= min(patience, STALLED_AFTER):
        return HealthAction.SUSPECT
    if seen.unused >= retire_after:
        return HealthAction.RETIRE
    if seen.unheard >= probe_after and head is None:
        return HealthAction.PROBE
    return None


def may_go_elsewhere(pipeline: Pipeline, request: Request) -> bool:
    """Return whether a request had better go over another connection than the one that is stalled.

    It may where it only reads, and waits behind one that doesn't: a write while the server pauses writes, for one.
    """
    head = pipeline.head
    return head is not None and head is not request and may_move(request) and not _only_reads(head.commands)


def may_move(request: Request) -> bool:
    """Return whether a request can be sent over another connection, too, without making any difference."""
    return request.moves < MOST_MOVES and _only_reads(request.commands)


def _only_reads(sent: Sent) -> bool:
    several: Sequence[Args] = [sent] if type(sent) is tuple else sent
    return all(read_only(args) for args in several)
