"""Replies that are overdue although the kernel was to end the wait: signals have prolonged it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core.slot import Slot
from ..redispy.lifecycle import awaiting


class ProlongedWaits:
    """Ends a wait for a reply that goes on beyond its time: after each signal the kernel begins to wait anew.

    The maintenance thread looks each second; no other thread does meanwhile.
    """

    def __init__(self) -> None:
        # What was last seen on each lease: its number, what was sent, how much of it was unanswered, since when.
        self._seen: dict[Slot, tuple[int, Any, int, float]] = {}

    def look(self, leases: Iterable[tuple[Slot, Any]], now: float) -> None:
        """Hurry those that have waited for too long for the same reply."""
        before, self._seen = self._seen, {}
        for slot, leased in leases:
            connection = awaiting(leased)
            if connection is None:
                continue
            lease, sent, unanswered, since = slot.lease, connection.sent, connection.unanswered, now
            known = before.get(slot)
            if known is not None and known[0] == lease and known[1] is sent and known[2] == unanswered:
                since = known[3]
            self._seen[slot] = lease, sent, unanswered, since
            if now - since >= connection.socket_timeout:
                connection.hurry(sent, unanswered)
