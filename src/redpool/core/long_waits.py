"""Which waits for a connection have lasted so long that they are reported, each once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

from .stats import Lease, Plain
from .waiters import Ticket

APART = 1.0
"""Seconds between two reports of a pool: what has become long meanwhile is counted in the second."""

MOST_HOLDERS = 10
"""So many leases, the oldest ones, are shown in a report."""


class LongWaits:
    """Which tickets were reported, by when they began to wait: all that began before the last one that was."""

    __slots__ = ("_again_at", "_reported", "warn_wait")

    def __init__(self, warn_wait: float) -> None:
        self.warn_wait = warn_wait
        """seconds from which on a wait is long"""
        self._reported = -math.inf  # since when the last one waited that was reported
        self._again_at = -math.inf

    def due_at(self, queue: Iterable[Ticket]) -> float:
        """Return when the next report is due; infinity where none will be."""
        first = min((ticket.since for ticket in queue if ticket.since > self._reported), default=math.inf)
        return max(first + self.warn_wait, self._again_at)

    def take(self, queue: Iterable[Ticket], now: float) -> list[Ticket]:
        """Return the tickets to be reported now, the longest-waiting first: they count as reported from now on."""
        if now < self._again_at:
            return []
        due = (ticket for ticket in queue if ticket.since + self.warn_wait <= now and ticket.since > self._reported)
        found = sorted(due, key=lambda ticket: ticket.since)  # classes of callers wait apart from each other
        if found:
            self._reported, self._again_at = found[-1].since, now + APART
        return found


def wait_line(waited: float, caller: str | None, more: int, counts: Plain, held_by: Sequence[Lease]) -> str:
    """Return what the log says of a wait, as `key=value` pairs; text and lists are as in JSON."""
    holders = [
        {"age": round(each.age, 3), "borrower": each.borrower, "at": each.taken_at, "command": each.last_command}
        for each in held_by
    ]
    pairs = {"waited": round(waited, 3), "caller": caller, "more": more, **counts, "held_by": holders}
    return " ".join(f"{name}={json.dumps(value)}" for name, value in pairs.items())
