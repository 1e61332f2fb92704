"""How figures and names are written in a terminal. Pure.

Names come from outside. `as_text` makes them harmless, whatever they contain; everything that a process or a server
said goes through it on its way to the screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TypeAlias

from redpool.core.histogram import BOUNDS

UNKNOWN = "·"
"""stands for a figure that isn't known yet"""

_LONGEST = 300
_BLOCKS = "▁▂▃▄▅▆▇█"


class Tone(Enum):
    """What a piece of text wants to say, before it is a color."""

    PLAIN = "plain"
    QUIET = "quiet"
    """nothing happens there; a label"""
    STRONG = "strong"
    """a heading"""
    WARN = "warn"
    """worth a look"""
    BAD = "bad"
    """callers suffer"""


Line: TypeAlias = tuple[tuple[str, Tone], ...]
"""pieces of text from left to right, each with its tone"""


def as_text(outside: str) -> str:
    r"""Return a text from outside with all that isn't printable as an escape: a terminal sees `\x1b`, not what it is.

    That includes controls of the direction of writing. What is longer than 300 characters is cut.
    """
    cut = outside if len(outside) <= _LONGEST else outside[: _LONGEST - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in cut)


def seconds(value: float | None) -> str:
    """Return a duration with its unit, at most 7 characters: `0.4 ms`, `250 ms`, `4.2 s`, `3 min`, `12 h`."""
    if value is None:
        return UNKNOWN
    for limit, factor, unit in ((0.00995, 1000, "ms"), (0.9995, 1000, "ms"), (99.95, 1, "s"), (5970, 1 / 60, "min")):
        if value < limit:
            shown = value * factor
            return f"{shown:.1f} {unit}" if shown < 9.95 or unit == "s" else f"{shown:.0f} {unit}"
    return f"{value / 3600:.0f} h" if value < 356400 else f"{value / 86400:.0f} d"


def quantile(value: float | None) -> str:
    """Return a quantile of a distribution: below its first bound it isn't known any better, nor above its last."""
    if value is None:
        return UNKNOWN
    if value <= BOUNDS[0]:
        return f"<{seconds(BOUNDS[0])}"
    return f">{BOUNDS[-1]:.0f} s" if value >= BOUNDS[-1] else seconds(value)


def rate(value: float | None) -> str:
    """Return how often a second, at most 6 characters."""
    if value is None:
        return UNKNOWN
    if value < 0.05:
        return "0" if value == 0 else "<0.1"
    if value < 9.95:
        return f"{value:.1f}"
    return (
        f"{value:.0f}" if value < 99_999.5 else f"{value / 1000:.0f}k" if value < 99_999_500 else f"{value / 1e6:.0f}M"
    )


def count(value: int | None) -> str:
    """Return a number, at most 6 characters."""
    return UNKNOWN if value is None else str(value) if value < 1_000_000 else rate(value)


def sparkline(shares: Sequence[float | None]) -> str:
    """Return a row of bars, one for each share (0 to 1) and a space for each `None`; only 0 is as low as it gets."""
    return "".join(" " if share is None else _BLOCKS[_height(share)] for share in shares)


def _height(share: float) -> int:
    if share <= 0:
        return 0
    return min(len(_BLOCKS) - 1, max(1, round(share * (len(_BLOCKS) - 1))))


def plural(number: int, one: str, many: str | None = None) -> str:
    """Return `1 pool`, `2 pools`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
