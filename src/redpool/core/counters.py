"""What a pool counts. Whatever can be derived is: a lease that ended is a duration of use."""

from __future__ import annotations

from collections import Counter

from .histogram import Histogram
from .record import Recorder
from .slot import Reason


class Counters:
    """Counters since the pool was created."""

    __slots__ = (
        "_capacity", "_capacity_since", "closed", "connect", "connect_failures", "leaks", "rejected", "timeouts", "use",
        "wait",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.wait, self.use, self.connect = Histogram(), Recorder(now), Histogram()
        self.timeouts = self.rejected = self.connect_failures = self.leaks = 0
        self.closed: Counter[Reason] = Counter()
        self._capacity = 0.0  # connection-seconds on offer, up to _capacity_since
        self._capacity_since = now

    def capacity(self, max_connections: int, now: float) -> float:
        """Return the connection-seconds that were on offer until now."""
        return self._capacity + max_connections * (now - self._capacity_since)

    def capacity_changes(self, max_connections: int, now: float) -> None:
        """Note that from now on another number of connections is on offer than this one."""
        self._capacity = self.capacity(max_connections, now)
        self._capacity_since = now
