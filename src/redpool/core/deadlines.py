"""Deadlines of tickets: a heap with lazy deletion."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from itertools import count

from .ticket import Ticket, TicketState

# Below this many entries a sweep isn't worth its name.
_SLACK = 64


class Deadlines:
    """Tickets by the time at which they end.

    A ticket that ended otherwise stays in the heap until it comes up or a sweep takes it, so leaving costs nothing;
    the sweep keeps the heap within twice the number of those who wait.
    """

    __slots__ = ("_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Ticket]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, ticket: Ticket, waiting: int) -> None:
        """Watch `ticket`; `waiting` is how many tickets wait in all."""
        if ticket.deadline == math.inf:
            return
        if len(self._heap) > 2 * waiting + _SLACK:
            self._heap = [entry for entry in self._heap if entry[2].state is TicketState.WAITING]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (ticket.deadline, next(self._order), ticket))

    def next_deadline(self) -> float:
        """When the next waiting ticket ends; infinity where none does."""
        heap = self._heap
        while heap and heap[0][2].state is not TicketState.WAITING:
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def expire(self, now: float) -> Iterator[Ticket]:
        """Take out the waiting tickets whose time has come, oldest deadline first."""
        while self.next_deadline() <= now:
            yield heapq.heappop(self._heap)[2]
