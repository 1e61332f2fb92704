"""What is true of a pool after every step, whatever happened before."""

from __future__ import annotations

import math

from redpool.core import policy
from redpool.core.priorities import PrioritizedCore
from redpool.core.slot import TRANSITIONS, Slot, State
from redpool.core.waiters import TicketState

from .driver import Driver


def check_step(driver: Driver, now: float) -> None:
    """Everything that holds after any call."""
    check_cheaply(driver, now)
    check_counts(driver, now)


def check_cheaply(driver: Driver, now: float) -> None:
    """The same without the counts, which take the longest."""
    check_slots(driver)
    check_actions(driver)
    check_queue(driver, now)
    check_wake_up(driver, now)
    assert driver.transitions <= TRANSITIONS.keys(), driver.transitions - TRANSITIONS.keys()


def check_slots(driver: Driver) -> None:
    """Each slot is in one state and in the one list for it; the states add up to the number of slots."""
    core = driver.core
    by_state: dict[State, list[Slot]] = {state: [] for state in State}
    for slot in core.slots:
        by_state[slot.state].append(slot)
    places: dict[State, list[Slot]] = {
        State.EMPTY: core.empty,
        State.IDLE: list(core.idle),
        State.VALIDATING: list(core.idle.validating),
        State.CONNECTING: list(core.connector.slots),
        State.CLOSING: [action.slot for action in driver.closes],
    }
    for state, listed in places.items():
        assert len(listed) == len(by_state[state]), state
        assert set(listed) == set(by_state[state]), state
    assert core.in_use == len(by_state[State.LEASED])
    assert len(core.idle.since) == len(core.idle) + len(core.idle.validating)
    assert all(slot.state in {State.IDLE, State.LEASED, State.VALIDATING} for slot in core.expired)
    if len(core.slots) > core.max_connections:
        assert not core.empty
        if len(core.slots) - len(driver.closes) > core.max_connections:
            assert not core.idle, "a surplus connection is kept"


def check_actions(driver: Driver) -> None:
    """Each action stands for a slot that waits for its answer, and each such slot has exactly one."""
    core = driver.core
    assert set(driver.ordered) | set(driver.begun) == set(core.connector.slots)
    assert set(driver.validations) == core.idle.validating
    assert core.connector.under_way <= core.config.max_connecting
    # Those that are asked all together because a PING went unanswered come on top, and those that were not idle before.
    on_top = {slot for slot in core.idle.validating if slot.since == core.validation.others_asked_at} | driver.to_clear
    idle_since = core.idle.validating - on_top
    assert len(idle_since) <= core.config.max_connecting


def check_queue(driver: Driver, now: float) -> None:
    """No connection is idle while a caller waits; the waiters are those that asked and got no answer, in order."""
    core = driver.core
    waiting = list(core.waiting())
    assert sorted(waiting, key=driver.waiting.index) == driver.waiting
    assert waiting == sorted(waiting, key=lambda ticket: ticket.since)
    assert all(ticket.state is TicketState.WAITING for ticket in (*waiting, *core.queue.warming))
    assert not (core.idle and core.queue.tickets), "a connection is idle while a caller waits"
    if isinstance(core, PrioritizedCore):
        check_classes(core, driver.resized)
    assert core.min_idle == (0 if core.resting else core.config.min_idle)
    assert not (core.resting and waiting), "a pool rests while a caller waits"
    if core.closed:
        assert not waiting
        assert not core.queue.warming
        assert not core.idle
    elif waiting and not (core.in_use or driver.closes or core.connector or core.idle.validating):
        longest = policy.FULL_PAUSE * (1 + policy.PAUSE_JITTER) + policy.MOST_PATIENCE
        assert core.wake_at <= now + longest, "a caller waits, and nothing will come of it"


def check_classes(core: PrioritizedCore, resized: bool) -> None:
    """No class has more than what is reserved for it and all of the rest; a caller is held only where it must be."""
    admitted, reserved = core.admitted(), core.config.reserved or {}
    rest = max(1, core.max_connections - sum(reserved.values()))
    of_the_rest = sum(max(0, count - reserved.get(name, 0)) for name, count in admitted.items())
    if not resized:  # those that are admitted stay so
        assert of_the_rest <= rest, "a class has connections that are reserved for another one"
    for name, held in core.queue.held.items():
        may_go_on = admitted[name] < reserved.get(name, 0) or of_the_rest < rest
        assert not (held and may_go_on and not core.closed), "a caller is held without need"


def next_due(driver: Driver) -> float:
    """When something is due that may not come late, by the options' own words."""
    core = driver.core
    due = [ticket.deadline for ticket in (*core.queue, *core.queue.warming)]
    due += [slot.connect_deadline for slot in driver.begun]
    due += [] if core.long_waits is None else [core.long_waits.due_at(core.queue)]
    due += [slot.since + core.leak_after for slot in core.leased() if driver.reported.get(slot) != slot.lease]
    due += [slot.expires_at for slot in core.idle if slot not in core.expired]
    return min(due, default=math.inf)


def next_too_long_a_rest(driver: Driver) -> float:
    """When a connection has been idle for too long; those being checked meanwhile can't be closed."""
    core = driver.core
    due = [slot.verified_at + core.validation.ping_after for slot in core.idle]
    if core.idle and len(core.idle.since) > core.config.min_idle:
        due.append(core.idle.since[0] + core.idle.max_idle_time)
    return min(due, default=math.inf)


def check_wake_up(driver: Driver, now: float) -> None:
    """Nothing is due before the core asks for a tick; what only rests is seen to within one more rest."""
    core = driver.core
    assert core.wake_at <= max(now, next_due(driver)), "the tick comes too late"
    assert core.wake_at <= max(now, next_too_long_a_rest(driver)) + core.longest_idle_time, (
        "no caller looks after the idle"
    )


def check_after_tick(driver: Driver, now: float) -> None:
    """No caller waits beyond its deadline, and the shell may sleep: the next tick is due later."""
    core = driver.core
    assert all(ticket.deadline > now for ticket in (*core.queue, *core.queue.warming))
    assert core.wake_at > now, "the shell would tick again and again"


def check_counts(driver: Driver, now: float) -> None:
    """The counts agree with each other and with what the driver did."""
    stats = driver.stats(now)
    assert stats.open == stats.idle + stats.in_use
    assert stats.acquired == stats.released + stats.in_use
    assert stats.waiting == len(driver.waiting)
    assert stats.connecting == len(driver.ordered) + len(driver.begun)
    assert stats.connected == driver.connected
    assert sum(stats.closed.values()) == len(driver.closed) + len(driver.closes)
    assert stats.connected == stats.open + sum(stats.closed.values())
    assert stats.wait.count == stats.acquired
    assert stats.waited <= stats.acquired
    assert stats.leaks == len(driver.leaks)


def check_emptied(driver: Driver) -> None:
    """After a shutdown, with every action done, every slot is empty."""
    core = driver.core
    assert core.closed
    assert core.is_empty
    assert all(slot.state is State.EMPTY and slot.connection is None for slot in core.slots)
    assert len(core.slots) == core.max_connections
