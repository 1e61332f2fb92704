"""Which connections must prove that they are good, and when: at a checkout, and in the background."""

from __future__ import annotations

import math
from collections.abc import Iterable

from . import policy
from .config import PoolConfig
from .slot import Slot


class Validation:
    """The times after which idle connections are validated, and what is known of connections found dead.

    After `validate_after` seconds a checkout looks at the socket (`PoolCore.acquire` does that inline); after
    `ping_after` it sends a PING, unless that was done in the background before.
    """

    __slots__ = ("_at_once", "others_asked_at", "ping_after", "ping_every", "validate_after")

    def __init__(self, config: PoolConfig) -> None:
        self.ping_after = math.inf if config.ping_after_idle is None else config.ping_after_idle
        self.ping_every = max(self.ping_after, policy.LEAST_IDLE_TIME)
        self.validate_after = min(config.validate_after_idle, self.ping_after)
        self.others_asked_at = -math.inf
        """when a PING that went unanswered last had the other idle ones asked"""
        self._at_once = config.max_connecting

    def suspect(self, idle: Iterable[Slot], now: float) -> None:
        """Have all looked at before they are handed out: another connection was found dead."""
        for slot in idle:
            slot.verified_at = min(slot.verified_at, now - self.validate_after)

    def due(self, idle: Iterable[Slot], validating: int, now: float) -> list[Slot]:
        """Return those that are to be asked now: idle for `ping_after_idle`, a few at a time."""
        room = self._at_once - validating
        if room <= 0:
            return []
        return [slot for slot in idle if now >= slot.verified_at + self.ping_every][:room]

    def due_at(self, idle: Iterable[Slot], validating: int) -> float:
        """Return when the next one is to be asked; where as many as may are being asked, their end brings it about."""
        if validating >= self._at_once:
            return math.inf
        return min((slot.verified_at + self.ping_every for slot in idle), default=math.inf)

    def others(self, idle: Iterable[Slot], asked_at: float, now: float) -> list[Slot]:
        """Return those that were not heard from since a PING was sent that went unanswered: they are asked now.

        No look at a socket shows that its path is dead. All are asked together, however many: callers wait for it.
        """
        # A connection that was silent in the last such round was asked together with the others: that is no news of
        # them.
        if self.ping_every == math.inf or asked_at <= self.others_asked_at:
            return []
        self.others_asked_at = now
        return [slot for slot in idle if slot.verified_at < asked_at]
