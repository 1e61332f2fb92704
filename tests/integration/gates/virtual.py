"""A pool's core with callers, a network and a clock that are all pretended: thousands of runs in a second."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from functools import partial
from random import Random

from redpool.core.config import PoolConfig
from redpool.core.pool import PoolCore
from redpool.core.slot import Reason, Slot, State
from redpool.core.waiters import Ticket, TicketState
from redpool.testing.virtual import VirtualShell

SLOW = 0.05  # seconds
CONNECT_BUDGET = 1.0  # what ends a connect that would take for ever
SOCKET_TIMEOUT = 0.5  # what ends a check, a send and a reply
PATIENCE = 0.03  # seconds after which a caller is cancelled
COLLECTED_AFTER = 2.0  # seconds until a connection that was dropped is collected

Walk = Generator[float | Ticket, None, None]
ALL_WELL: Mapping[str, str] = {}


class Wire:
    """What was sent over a connection and not yet answered, oldest first."""

    def __init__(self) -> None:
        self.unanswered: list[object] = []


class Caller:
    """A caller that asks once, and what it got: its answer, an error, or a cancellation."""

    def __init__(self) -> None:
        self.raised: object = None
        self.raised_at = math.inf


class World(VirtualShell):
    """A pool of one size. What befalls the first connect is in `connect_gates`; the later ones are well."""

    def __init__(self, size: int, connect_gates: Mapping[str, str]) -> None:
        config = PoolConfig(max_connections=size, timeout=10.0, validate_after_idle=0.0, ping_after_idle=None)
        super().__init__(PoolCore(config, 0.0, Random(0), CONNECT_BUDGET))
        self._connect_gates = connect_gates
        self._parked: dict[Ticket, Walk] = {}

    @property
    def now(self) -> float:
        """The time."""
        return self.clock.now

    def comes(self, at: float, gates: Mapping[str, str] = ALL_WELL) -> Caller:
        """A caller comes at that time, and goes through the gates."""
        caller = Caller()
        self.after(at - self.now, lambda: self._step(self._walk(caller, gates)))
        return caller

    # -- callers -----------------------------------------------------------------------------------------------------

    def _step(self, walk: Walk) -> None:
        waits_for = next(walk, None)
        if isinstance(waits_for, Ticket):
            self._parked[waits_for] = walk
        elif waits_for is not None:
            self.after(waits_for, lambda: self._step(walk))

    def _tell(self, caller: Caller, what: object) -> None:
        assert caller.raised is None
        caller.raised, caller.raised_at = what, self.now

    def _walk(self, caller: Caller, gates: Mapping[str, str]) -> Walk:
        while True:
            got = self.core.acquire(self.now)
            if isinstance(got, Ticket):
                if "cancelled" in (gates.get("connect"), gates.get("handshake")):
                    self.after(PATIENCE, partial(self._cancel, caller, got))
                yield got
                if got.slot is None or got.state is not TicketState.GRANTED:
                    if caller.raised is None:
                        self._tell(caller, "error")
                    return
                slot = got.slot
                break
            slot, slot.needs_validation = got, None
            yield _duration(gates.get("check"))
            if gates.get("check") not in ("error", "never"):
                break
            self.core.reject_at_checkout(slot, self.now)
            gates = {**gates, "check": "ok"}
        if gates.get("check") == "cancelled" and isinstance(got, Slot):
            self._tell(caller, "cancelled")
            self.core.release(slot, self.now, Reason.ERROR)
            return
        yield from self._use(caller, slot, gates)

    def _cancel(self, caller: Caller, ticket: Ticket) -> None:
        if ticket.state is TicketState.WAITING:
            self.core.give_up(ticket, self.now)
            self._tell(caller, "cancelled")

    def _use(self, caller: Caller, slot: Slot, gates: Mapping[str, str]) -> Walk:
        wire, raised, fault = slot.connection, "", None
        assert not wire.unanswered, "handed out with a reply on its way"
        wire.unanswered.append(caller)
        for gate in ("send", "reply"):
            yield _duration(gates.get(gate))
            if gates.get(gate) in ("error", "never", "cancelled"):
                raised, fault = "cancelled" if gates[gate] == "cancelled" else "error", Reason.ERROR
                break
        self._tell(caller, raised or wire.unanswered.pop(0))
        yield from self._release_now(slot, gates.get("release"), fault)

    def _release_now(self, slot: Slot, how: str | None, fault: Reason | None) -> Walk:
        if how == "never":
            yield COLLECTED_AFTER
            self.core.leaked(slot, self.now)
            return
        yield _duration(how) if how == "slow" else 0.0
        self.core.release(slot, self.now, Reason.ERROR if how in ("error", "cancelled") else fault)

    # -- actions -----------------------------------------------------------------------------------------------------

    def woken(self, ticket: Ticket) -> None:
        """The caller goes on, if it still waits."""
        if ticket in self._parked:
            self._step(self._parked.pop(ticket))

    def connect_begins(self, slot: Slot) -> None:
        """It goes through its gates."""
        gates, self._connect_gates = self._connect_gates, ALL_WELL
        how = [gates.get("connect"), gates.get("handshake")]
        if "never" not in how:
            # Its caller is cancelled: the connect goes on.
            seconds = 2 * PATIENCE if "cancelled" in how else sum(map(_duration, how))
            error = ConnectionError("refused") if "error" in how else None
            self.after(seconds, partial(self.end_connect, slot, slot.attempt, Wire(), error))

    # -- what is true at last ----------------------------------------------------------------------------------------

    def check_at_rest(self) -> None:
        """Every slot is free, and as many callers as there are places get one each at the same time."""
        core = self.core
        stats = core.stats(self.now)
        assert (stats.open, stats.in_use, stats.waiting, stats.connecting) == (stats.idle, 0, 0, 0)
        assert {slot.state for slot in core.slots} <= {State.IDLE, State.EMPTY}
        assert len(core.idle) + len(core.empty) == len(core.slots) == core.max_connections
        callers = [self.comes(self.now, {"reply": "slow"}) for _ in core.slots]
        self.run_until(self.now + 5.0)
        assert [caller.raised for caller in callers] == callers
        assert core.in_use == 0


def _duration(how: str | None) -> float:
    return {"slow": SLOW, "never": SOCKET_TIMEOUT, "cancelled": PATIENCE}.get(how or "ok", 0.0)
