"""The collector at work in the midst of something, and what a finalizer or another thread does meanwhile."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable

# CPython keeps up to 2000 tuples of each length below 20 for reuse: to make one of those calls no collector.
_KEPT, _LENGTHS = 2001, range(1, 20)


def while_collecting(change: Callable[[], object], *steps: Callable[[], object]) -> None:
    """Take each step again and again, with the collector in another place of it each time, and `change` something then.

    Up to CPython 3.11 it comes where an object is made, from 3.12 on between two bytecodes.
    """
    gc.disable()
    kept = [[tuple([number] * length) for number in range(_KEPT)] for length in _LENGTHS]
    try:
        for step, after, ahead in itertools.product(steps, (1, 2, 3, 5), (0, 1)):
            # A tuple that goes is kept for reuse. So none does.
            kept.append([_while_collecting(change, step, after, ahead)])  # type: ignore[list-item]  # whatever it is
    finally:
        kept.clear()
        gc.enable()


def _while_collecting(change: Callable[[], object], step: Callable[[], object], after: int, ahead: int) -> object:
    """Take a step with a collection after so many new objects each, so many of which were made before."""

    def came(phase: str, _info: object) -> None:
        if phase == "start":
            change()

    before = gc.get_threshold()
    gc.collect(0)
    made = {number: set() for number in range(ahead)}  # type: ignore[var-annotated]  # of nothing
    gc.callbacks.append(came)
    try:
        gc.set_threshold(after)
        gc.enable()
        return step(), made
    finally:
        gc.disable()
        gc.set_threshold(*before)
        gc.callbacks.remove(came)
