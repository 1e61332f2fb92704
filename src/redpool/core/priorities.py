"""Classes of callers, each with a guaranteed number of connections and a share of the rest: the option `reserved`.

A class is admitted to so many connections as are reserved for it, whatever the others do. Beyond that it is admitted to
the rest, which all classes share: where callers of several classes wait for it, they are admitted in turn, one of each
class. So a class waits for at most one use of every other one, and none starves; within a class it is first come, first
served. What is reserved and not used is not lent: who comes back for it would have to wait for another class's use.

Callers that are not admitted yet are *held*, class by class, in front of the wait queue. Only those that are admitted
stand in the queue itself, and there are never more of them than connections. So all that the core relies on stays true:
an idle slot means an empty wait queue. Which callers are admitted is told by the slots' states and the queue, and kept
nowhere else: an interruption has nothing to leave half-done but a held caller, which `rebuild` drops if it has left.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Container, Iterator, Mapping
from itertools import chain, takewhile
from random import Random

from ..errors import PoolFull
from .config import PoolConfig
from .pool import PoolCore
from .shedding import Shedding
from .slot import Reason, Slot, State
from .stats import CallerClass
from .waiters import Ticket, TicketState, WaitQueue

_MOST_NAMES = 64
"""So many classes beside those that `reserved` names are counted: a program may make names up as it goes."""


class Held(OrderedDict[Ticket, None]):
    """The callers of one class that are held, in the order in which they came."""

    shedding: Shedding | None = None
    """where callers are shed: how long one class waits says nothing of another"""


class ClassedQueue(WaitQueue):
    """The wait queue, and the callers that are held in front of it."""

    __slots__ = ("held", "joining")

    def __init__(self) -> None:
        super().__init__()
        self.joining = ""
        """the class of the caller that joins next"""
        self.held: OrderedDict[str, Held] = OrderedDict()
        """by class, as far as any are held; the class that was admitted last stands last"""

    def __len__(self) -> int:
        return len(self.tickets) + sum(map(len, list(self.held.values())))  # also for a thread that has no lock

    def __iter__(self) -> Iterator[Ticket]:
        return chain(self.tickets, *list(self.held.values()))

    def join(self, ticket: Ticket, now: float) -> None:
        """Take the last position of the queue."""
        ticket.priority = ticket.priority or self.joining
        super().join(ticket, now)

    def hold(self, ticket: Ticket) -> Held:
        """Take the last position of its class; return those that are held of it."""
        held = self.held.setdefault(ticket.priority, Held())
        held[ticket] = None
        return held

    def admit(self, name: str, now: float) -> None:
        """Have the first caller of a class join the queue; the other classes come before it next time."""
        held = self.held[name]
        ticket = next(iter(held))
        self.join(ticket, now)  # first: where it stands in both, `rebuild` has it stay there
        self._remove(ticket)
        if held:
            self.held.move_to_end(name)

    def _remove(self, ticket: Ticket) -> None:
        held = self.held.get(ticket.priority)
        if held is not None:
            held.pop(ticket, None)
            if not held:  # else each name that was ever used would stay
                del self.held[ticket.priority]

    def leave(self, ticket: Ticket, state: TicketState, error: BaseException | None = None) -> None:
        """End a ticket, wherever it stands."""
        self._remove(ticket)
        super().leave(ticket, state, error)

    def oldest_wait(self, now: float) -> float:
        """Return for how long the caller has waited that has waited longest; 0 where none waits."""
        firsts = [next(iter(held)).since for held in self.held.values() if held]
        return max([super().oldest_wait(now), *(now - since for since in firsts)])

    def next_deadline(self) -> float:
        """Return when a ticket's time is up; infinity where none's is."""
        return min([super().next_deadline(), *(next(iter(held)).deadline for held in self.held.values() if held)])

    def expired(self, now: float) -> list[Ticket]:
        """Return the tickets whose time is up."""
        due = [takewhile(lambda ticket: ticket.deadline <= now, held) for held in self.held.values()]
        return super().expired(now) + list(chain(*due))

    def rebuild(self, connecting: Container[Ticket], now: float) -> list[Ticket]:
        """Complete what an interruption has left half-done; return the tickets that are still to be woken."""
        for ticket in list(chain(*self.held.values())):
            if ticket in self.tickets or _has_left(ticket):
                self._remove(ticket)
        return super().rebuild(connecting, now)


def _has_left(ticket: Ticket) -> bool:
    if ticket.waker is None:
        ticket.state = TicketState.GIVEN_UP  # its caller never learned of it
    return ticket.state is not TicketState.WAITING


class PrioritizedCore(PoolCore):
    """A pool with classes of callers. `priority` returns the caller's class."""

    __slots__ = ("_came", "_guaranteed", "_priority", "_reserved")

    def __init__(
        self, config: PoolConfig, now: float, random: Random, connect_budget: float, priority: Callable[[], str]
    ) -> None:
        super().__init__(config, now, random, connect_budget)
        self._reserved: Mapping[str, int] = config.reserved or {}
        self._guaranteed = sum(self._reserved.values())
        self._came: OrderedDict[str, int] = OrderedDict()  # how many callers of each class, the last to come last
        self._priority = priority
        self.queue: ClassedQueue = ClassedQueue()
        self._tickets = self.queue.tickets

    # -- who is admitted ---------------------------------------------------------------------------------------------

    def admitted(self) -> Counter[str]:
        """Return how many callers of each class have a connection, or wait in the queue for one."""
        leased = [slot.priority for slot in self.slots if slot.state is State.LEASED]
        return Counter(leased + [ticket.priority for ticket in self._tickets])

    def _admits(self, name: str, admitted: Counter[str]) -> bool:
        reserved = self._reserved
        if admitted[name] < reserved.get(name, 0):
            return True
        of_the_rest = sum(max(0, count - reserved.get(each, 0)) for each, count in admitted.items())
        return of_the_rest < max(1, self.max_connections - self._guaranteed)

    def acquire(self, now: float) -> Slot | Ticket:
        """Return a leased slot or a ticket, as any core does; a caller that isn't admitted yet is held."""
        name = self._priority()
        self._count(name)
        if self.queue.held.get(name) or not self._admits(name, self.admitted()):
            return self._hold(name, now)
        self.queue.joining = name
        got = super().acquire(now)
        got.priority = name
        return got

    def _count(self, name: str) -> None:
        came, most = self._came, _MOST_NAMES + len(self._reserved)
        came[name] = came.get(name, 0) + 1
        came.move_to_end(name)
        if len(came) > most:
            del came[next(each for each in came if each not in self._reserved)]

    def caller_classes(self) -> tuple[CallerClass, ...]:
        """Return the classes of callers: a name that is misspelled is among them, and one that never comes."""
        in_use = Counter(slot.priority for slot in self.slots if slot.state is State.LEASED)
        waiting = Counter(ticket.priority for ticket in self.queue)
        names = dict.fromkeys([*self._reserved, *self._came])
        return tuple(
            CallerClass(name, self._reserved.get(name, 0), self._came.get(name, 0), in_use[name], waiting[name])
            for name in names
        )

    def _hold(self, name: str, now: float) -> Ticket:
        timeout, most = self.config.timeout, self.config.max_waiting
        ticket = Ticket(now, float("inf") if timeout is None else now + timeout, self.connector.retries)
        ticket.priority = name
        self._note_arrival(now)
        if self._reject_at_once(ticket, now):
            pass
        elif most is not None and self._held_beside(name) >= most:
            self._reject(ticket, PoolFull(f"{self.config.name}: the queue is full: {self.counts(now)}"))
        elif timeout == 0:
            self._time_out(ticket, now)
        else:
            if self.resting:
                self._serve_again(now)
            held = self.queue.hold(ticket)
            if self.shedding is not None and held.shedding is None:
                held.shedding = Shedding(self._recent, now)
            self._wake_for(ticket)
            self._grow(now)
        return ticket

    def _held_beside(self, name: str) -> int:
        """Return how many callers are held that share the bound of a class: each that `reserved` names has its own.

        All other classes share one, since a program may make their names up. A caller that is admitted isn't among
        them: it waits for its own connect at most.
        """
        reserved, held = self._reserved, self.queue.held
        if name in reserved:
            return len(held.get(name, ()))
        return sum(len(callers) for each, callers in held.items() if each not in reserved)

    def bound(self, ticket: Ticket, end: float, now: float) -> None:
        """Take note that a caller that has just joined must be done by `end`; turn it away where it can't be."""
        super().bound(ticket, end, now)
        held = self.queue.held.get(ticket.priority)
        if held is not None and held.shedding is not None and ticket in held:
            self._turn_away(held.shedding, ticket, len(held) - 1, now)

    def _shed_first(self, now: float) -> None:
        """Turn none away that was admitted: those that are held are turned away before."""

    def _admit_held(self, now: float) -> None:
        """Admit those for which there is room now, the classes in turn."""
        queue = self.queue
        while any(queue.held.values()):
            admitted = self.admitted()
            name = next((each for each, held in queue.held.items() if held and self._admits(each, admitted)), None)
            if name is None:
                return
            held = queue.held[name]
            if held.shedding is not None:
                self._shed(held.shedding, held, now)
            queue.admit(name, now)
            if self.idle.slots:
                self._grant(self.idle.take(), now)

    # -- what lets others in -----------------------------------------------------------------------------------------

    def release(self, slot: Slot, now: float, fault: Reason | None = None) -> None:
        """End the lease. With a `fault` the connection must not be used again."""
        super().release(slot, now, fault)
        self._grow(now)

    def give_up(self, ticket: Ticket, now: float, timed_out: bool = False) -> Slot | None:
        """Have the caller wait no more. Where a grant was faster, return its slot, which is the caller's to release."""
        slot = super().give_up(ticket, now, timed_out)
        self._grow(now)
        return slot

    def _grow(self, now: float) -> None:
        if not self.closed:
            self._admit_held(now)
        super()._grow(now)

    # What holds of callers that wait holds of those that are held.

    @property
    def crowded(self) -> bool:
        """Whether callers wait that only a release can serve."""
        return super().crowded or bool(self.queue.held)

    @property
    def _lacks_slots(self) -> bool:
        return super()._lacks_slots or bool(self.queue.held)

    @property
    def _kept(self) -> int:
        return self._guaranteed

    def _use_empty(self, now: float) -> None:
        self._admit_held(now)
        super()._use_empty(now)

    def _grant(self, slot: Slot, now: float) -> None:
        super()._grant(slot, now)
        slot.priority = slot.borrower.priority
