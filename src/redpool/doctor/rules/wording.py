"""How findings say figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def seconds(value: float) -> str:
    """Return a duration: `5 s`, `2.5 ms`."""
    return f"{value:g} s" if value >= 1 or not value else f"{value * 1000:.3g} ms"


def share(value: float) -> str:
    """Return a share: `83 %`."""
    return f"{value:.0%}".replace("%", " %")


def size(value: float) -> str:
    """Return a number of bytes: `32 MB`."""
    for unit in ("bytes", "kB", "MB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GB"


def count(number: float, noun: str) -> str:
    """Return a number with its noun: `1 process`, `3 connections`."""
    plural = f"{noun}es" if noun.endswith(("s", "ch", "x")) else f"{noun}s"
    return f"{number:g} {noun if number == 1 else plural}"


def most_common(names: Iterable[str], most: int = 3) -> str:
    """Return which names come most often, and how often: `web 12, worker 3, and 2 others`."""
    counted = Counter(names)
    shown = [f"{name or '(unnamed)'} {number}" for name, number in counted.most_common(most)]
    others = len(counted) - len(shown)
    return ", ".join(shown) + (f", and {count(others, 'other')}" if others else "")
