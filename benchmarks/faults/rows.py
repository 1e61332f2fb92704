"""Rows of the fault table: a fault, the code that brings it about on every side, and the finding."""

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
    """The result of a row on a side: whether the side held, and a few words with the figure."""

    held: bool | None
    """`None` where the fault can't be: the figure says why"""
    figure: str


Check = Callable[[Side], Finding] | Callable[[Side], Coroutine[Any, Any, Finding]]


@dataclass(frozen=True)
class Row:
    """A fault: its field note, what happens, and the code that brings it about; `limit` is in seconds.

    Where it is `timed`, fractions of a second decide, so the load of the machine may change the finding.
    """

    number: int
    text: str
    check: Check
    limit: float
    server: Sequence[str]
    timed: bool
    unshared: str
    """why it can't befall shared connections; empty where it can"""

    @property
    def name(self) -> str:
        """The row's name in commands and tests; several rows may have the same number."""
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
) -> Callable[[Check], Check]:
    """Make a row of a function from `Side` to `Finding`, or of a coroutine function, which runs on a loop of its own.

    The row counts as hung after `limit` seconds. It gets a server of its own, with the options `server`.
    """

    def register(check: Check) -> Check:
        _rows.append(Row(number, text, check, limit, server, timed, unshared))
        return check

    return register


def all_rows() -> list[Row]:
    """Return all rows, in the order of their numbers."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name.startswith("rows_"):
            importlib.import_module(f"{__package__}.{module.name}")
    return sorted(_rows, key=lambda each: each.number)
