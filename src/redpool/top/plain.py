"""A view as plain tables, for `redpool top --once` and where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal

from rich import box
from rich.table import Table
from rich.text import Text

from redpool.command_line import console

from .detail import detail
from .headline import Look, instead_of_rows, server_line, status, title
from .past import Past
from .rows import COLUMNS, DEFAULT_SORT, Column, Grouping, Row, fitting, rows, sorted_by
from .shown import Line, Tone

_WITHOUT_TERMINAL = "last minute"  # a trend is for the eye

STYLES = {Tone.PLAIN: "", Tone.QUIET: "dim", Tone.STRONG: "bold", Tone.WARN: "yellow", Tone.BAD: "red"}


def text_of(line: Line, styles: Mapping[Tone, str] = STYLES) -> Text:
    """Return a line with its colors."""
    return Text.assemble(*((piece, styles[tone]) for piece, tone in line))


def print_view(where: str, look: Look, past: Past, interval: float) -> None:
    """Print the pools, the worst on top, and the details of those in which callers wait."""
    if look.view is None:
        raise ValueError("nothing was read")
    out = console()
    state = status(look, time.monotonic(), interval, paused=False)
    lines = [title(where, look, state), server_line(look.view)]
    for line in filter(None, lines):
        out.print(text_of(line), soft_wrap=True)
    found = sorted_by(rows(look.view, past, Grouping.POOL), COLUMNS, DEFAULT_SORT, backwards=False)
    if not found:
        for line in instead_of_rows(where, look, interval, "", of_clients=False, keys=False):
            out.print(text_of(line), soft_wrap=True)
        return
    out.print(_table(found, out.width))
    for row in found:
        if row.tone is not Tone.PLAIN:
            out.print()
            for line in detail(row, out.width):
                out.print(text_of(line), no_wrap=True, overflow="ellipsis")


def _table(found: list[Row], width: int) -> Table:
    columns: list[Column[Row]] = [c for c in fitting(COLUMNS, width - 20, 1) if c.heading != _WITHOUT_TERMINAL]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    # A long name leaves the figures their room.
    left = max(20, width - sum(max(column.width, len(column.heading)) + 2 for column in columns[1:]) - 2)
    for column in columns:
        justify: Literal["left", "right"] = "left" if column.is_name else "right"
        most = left if column.is_name else None
        table.add_column(column.heading, justify=justify, no_wrap=True, overflow="ellipsis", max_width=most)
    for row in found:
        name = text_of(((row.name, row.tone), (f"  {row.place}", Tone.QUIET)))
        table.add_row(name, *(text_of(((column.text(row), column.tone(row)),)) for column in columns[1:]))
    return table
