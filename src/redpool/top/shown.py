"""How figures and names are written in a terminal. Pure.

Names come from outside. `as_text` makes them harmless, whatever they contain; everything that a process or a server
said goes through it on its way to the screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TypeAlias

from redpool.command_line import printable
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
    return printable(cut)


def seconds(value: float | None) -> str:
    """Return a duration with its unit, at most 7 characters: `0.4 ms`, `250 ms`, `4.2 s`, `3.1 min`, `12 h`."""
    if value is None:
        return UNKNOWN
    if value <= 0:
        return "0 s"
    for unit, size, below in (("ms", 0.001, 0.9995), ("s", 1, 99.5), ("min", 60, 5970), ("h", 3600, 356_400)):
        if value < below:
            return f"{value / size:.1f} {unit}" if value < 9.95 * size else f"{value / size:.0f} {unit}"
    return f"{min(value / 86_400, 99_999):.0f} d"


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
    for unit, size, below in (("", 1, 99_999.5), ("k", 1e3, 99_999_500), ("M", 1e6, 99_999_500_000)):
        if value < below:
            return f"{value / size:.1f}" if value < 9.95 else f"{value / size:.0f}{unit}"
    return ">100G"


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
