"""What a row is: a fault, the same code for both sides, and what was seen."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .sides import Side


@dataclass(frozen=True)
class Finding:
    """What was seen: whether the side held, and a few words with the figure."""

    held: bool | None
    """`None` where the fault can't be: the figure says why"""
    figure: str


Validate = Callable[[Side], Finding] | Callable[[Side], Coroutine[Any, Any, Finding]]


@dataclass(frozen=True)
class Row:
    """A fault: its field note, what happens, and the code that brings it about; `limit` is in seconds.

    Where it is `timed`, fractions of a second decide, and so a machine that is busy with other things may.
    """

    number: int
    text: str
    check: Validate
    limit: float
    server: Sequence[str]
    timed: bool
    unshared: str
    """why it can't befall connections that are shared, if so"""

    @property
    def name(self) -> str:
        """Names the row in commands and tests; many rows may have one number."""
        return self.check.__name__


_rows: list[Row] = []


def row(
    number: int,
    text: str,
    *,
    limit: float = 10.0,
    server: Sequence[str] = (),
    timed: bool = False,
    unshared: str = "",
) -> Callable[[Validate], Validate]:
    """Make a row of a function from `Side` to `Finding`, or of a coroutine function, which runs on a loop of its own.

    It is hung after `limit` seconds. `server` are options of the server that it is given, which is its own.
    """

    def register(check: Validate) -> Validate:
        _rows.append(Row(number, text, check, limit, server, timed, unshared))
        return check

    return register


def all_rows() -> list[Row]:
    """Every row, by its number."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name.startswith("rows_"):
            importlib.import_module(f"{__package__}.{module.name}")
    return sorted(_rows, key=lambda each: each.number)
