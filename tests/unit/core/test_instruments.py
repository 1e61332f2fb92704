"""Hooks: only those that were overridden, and never in the pool's way."""

from __future__ import annotations

from typing import Any

import pytest

from redpool.core.instrument import HOOKS, Hooks, Instrument


class Watcher(Instrument):
    """Overrides two hooks."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def connected(self, pool: str, seconds: float) -> None:
        self.seen.append(("connected", pool, seconds))

    def closed(self, pool: str, reason: str, age: float) -> None:
        self.seen.append(("closed", pool, reason, age))


class Broken:
    """No subclass, and no good."""

    def connected(self, pool: str, seconds: float) -> None:
        raise ValueError(pool)

    def closed(self, pool: str, reason: str, age: float) -> None:
        raise KeyboardInterrupt


def no_fault(hook: object, error: BaseException) -> None:
    raise AssertionError(hook) from error


def test_only_overridden_hooks_are_registered() -> None:
    """The others cost nothing, not even a call."""
    hooks = Hooks([Watcher(), Instrument()], no_fault)
    assert [name for name in HOOKS if getattr(hooks, name)] == ["connected", "closed"]


def test_any_object_with_some_of_the_methods_will_do() -> None:
    """No base class is asked for."""
    hooks = Hooks([Broken(), object()], no_fault)
    assert [name for name in HOOKS if getattr(hooks, name)] == ["connected", "closed"]


def test_the_base_class_has_every_hook() -> None:
    """What is fired can be overridden."""
    assert {name for name in vars(Instrument) if not name.startswith("_")} == set(HOOKS)


def test_hooks_are_called_in_the_order_of_their_instruments() -> None:
    """With what they were fired with."""
    first, second = Watcher(), Watcher()
    second.seen = first.seen
    Hooks([first, second], no_fault).fire("connected", "cache", 0.5)
    assert first.seen == [("connected", "cache", 0.5)] * 2


def test_one_that_raises_is_dropped_and_reported_and_the_others_go_on() -> None:
    """Once; its other hooks stay."""
    faults: list[tuple[object, BaseException]] = []
    broken, watcher = Broken(), Watcher()
    hooks = Hooks([broken, watcher], lambda hook, error: faults.append((hook, error)))
    hooks.fire("connected", "cache", 0.5)
    hooks.fire("connected", "cache", 0.6)
    assert [(hook, type(error)) for hook, error in faults] == [(broken.connected, ValueError)]
    assert len(watcher.seen) == 2
    assert broken.closed in hooks.closed


def test_an_interrupt_is_no_fault_of_the_hook() -> None:
    """It reaches the code that runs the program."""
    hooks = Hooks([Broken()], no_fault)
    with pytest.raises(KeyboardInterrupt):
        hooks.fire("closed", "cache", "idle", 1.0)


def test_a_hook_that_is_no_method_is_refused() -> None:
    """With the hook's name and the instrument."""

    class Wrong:
        leaked = "no method"

    with pytest.raises(TypeError, match=r"instruments: leaked of .*Wrong.* is not a method"):
        Hooks([Wrong()], no_fault)
