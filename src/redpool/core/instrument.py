"""Hooks into a pool: optional, and never in its way."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Hook = Callable[..., None]

HOOKS = ("connected", "connect_failed", "closed", "acquired", "released", "timed_out", "leaked")


class Instrument:
    """Base for objects that watch a pool; any object with some of these methods will do.

    `pool` is the pool's name, times are in seconds. Hooks run outside the pool's lock, in the thread or task in which
    the event happened, and should be quick. The pool drops a hook that raises, and logs the error.
    """

    def connected(self, pool: str, seconds: float) -> None:
        """Note that the pool has opened a connection, which took `seconds`."""

    def connect_failed(self, pool: str, error: BaseException) -> None:
        """Note that a connect has failed with `error`."""

    def closed(self, pool: str, reason: str, age: float) -> None:
        """Note that a connection was closed, for `reason`, `age` seconds after it was opened."""

    def acquired(self, pool: str, wait: float) -> None:
        """Note that a caller got a connection after `wait` seconds."""

    def released(self, pool: str, use: float) -> None:
        """Note that a connection was released after `use` seconds."""

    def timed_out(self, pool: str, wait: float) -> None:
        """Note that a caller has waited `wait` seconds in vain."""

    def leaked(self, pool: str, age: float, borrower: str, stack: str) -> None:
        """Note that `borrower` has had a connection for `age` seconds, longer than `leak_after`; `stack` took it."""


class Hooks:
    """The hooks of several instruments, by name; only those that were overridden are here."""

    __slots__ = (*HOOKS, "_on_fault")

    connected: tuple[Hook, ...]
    connect_failed: tuple[Hook, ...]
    closed: tuple[Hook, ...]
    acquired: tuple[Hook, ...]
    released: tuple[Hook, ...]
    timed_out: tuple[Hook, ...]
    leaked: tuple[Hook, ...]

    def __init__(self, instruments: Iterable[object], on_fault: Callable[[object, BaseException], None]) -> None:
        self._on_fault = on_fault
        for name in HOOKS:
            setattr(self, name, ())
        for each in instruments:
            self.add(each)

    def add(self, instrument: object) -> None:
        """Call the hooks of another instrument, too; without effect for one that is called already."""
        for name in HOOKS:
            hook = _overridden(instrument, name)
            if hook is not None and hook not in getattr(self, name):
                setattr(self, name, (*getattr(self, name), hook))

    def remove(self, instrument: object) -> None:
        """Call the hooks of an instrument no more."""
        for name in HOOKS:
            kept = (hook for hook in getattr(self, name) if getattr(hook, "__self__", None) is not instrument)
            setattr(self, name, tuple(kept))

    def fire(self, name: str, *args: object) -> None:
        """Call each hook called `name`; drop the ones that raise."""
        for hook in getattr(self, name):
            try:
                hook(*args)
            except Exception as error:
                setattr(self, name, tuple(kept for kept in getattr(self, name) if kept is not hook))
                self._on_fault(hook, error)


def _overridden(instrument: object, name: str) -> Callable[..., None] | None:
    hook = getattr(instrument, name, None)
    if hook is None or getattr(hook, "__func__", hook) is getattr(Instrument, name):
        return None
    if not callable(hook):
        raise TypeError(f"instruments: {name} of {instrument!r} is not a method")
    return hook  # type: ignore[no-any-return]  # an attribute of any object
