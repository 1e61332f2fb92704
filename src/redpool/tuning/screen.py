"""What the advisor and the simulator say, for people: tables and pictures of characters. It needs rich."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from redpool.command_line import console

from .advice import Advice, milliseconds
from .picture import Chart

_BAR = 24
_LEAST_BAR, _LEAST_SCALE = 9, 18
"""characters: a bar that is narrower isn't drawn; the scale's name takes two lines above one that is narrower"""
_BESIDE_THE_BAR = 25
"""of the advice's table: the columns of sizes and of those that had to wait, and what is between all of them"""
_WIDEST = 1000
_BLOCKS = " ▁▂▃▄▅▆▇█"
_LINE = 60


@contextmanager
def progress(total: float | None = None) -> Iterator[Callable[[str, float], None]]:
    """Show on standard error what is being done, and how far it is of `total`; silent where that is no terminal."""
    on_stderr = Console(stderr=True)
    columns: list[Any] = [SpinnerColumn(), TextColumn("{task.description}", markup=False)]
    columns += [BarColumn()] if total is not None else []
    with Progress(*columns, console=on_stderr, transient=True, disable=not on_stderr.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda what, done: bar.update(task, description=what, completed=done)


def show_advice(advice: Advice, processes: int) -> None:
    """Print one pool's advice, and the curve that it comes from."""
    out = console()
    out.print(str(advice).splitlines()[0], style="bold")
    if processes > 1:
        out.print(f"  of {processes} processes, the one with the most callers")
    for note in advice.notes:
        out.print(Padding(note, (0, 0, 0, 2), expand=False), style="yellow" if advice.guessed else None)
    finite = [each.wait_p99 for each in advice.curve if math.isfinite(each.wait_p99)]
    longest = max([*finite, advice.target])
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    idle = f"idle connection-seconds in {advice.load.seconds:.0f} s"
    for heading in ("size", "p99 wait", "had to wait", idle):
        table.add_column(heading, justify="right", no_wrap=True)
    waits = max(len("p99 wait"), *(len(milliseconds(each.wait_p99)) for each in advice.curve))
    width = min(_BAR, out.width - len(idle) - waits - _BESIDE_THE_BAR)
    scale = "p99 wait, ┃ target" if width >= _LEAST_SCALE else "p99 wait,\n┃ target"
    if width >= _LEAST_BAR:
        table.add_column(scale)
    for each in advice.curve:
        bar = [_bar(each.wait_p99, longest, advice.target, width)] if width >= _LEAST_BAR else []
        table.add_row(
            str(each.size), milliseconds(each.wait_p99), f"{each.waited:.1%}", f"{each.idle_seconds:.0f}", *bar,
            style="bold green" if each.size == advice.size else None,
        )  # fmt: skip
    _print_whole(out, table)


def _print_whole(out: Console, table: Table) -> None:
    """Print a table as wide as it needs: no figure is cut off, and a narrow terminal breaks the lines."""
    out.width = max(out.width, out.measure(table, options=out.options.update(max_width=_WIDEST)).maximum)
    out.print(table)


def _bar(value: float, longest: float, target: float, width: int) -> str:
    """Return a bar on a scale of square roots, with a mark at the target: small waits are to be seen, too."""
    filled = width if math.isinf(value) else round(width * math.sqrt(value / longest)) if longest else 0
    mark = min(width - 1, round(width * math.sqrt(target / longest))) if longest else 0
    cells = ["█" if place < filled else " " for place in range(width)]
    cells[mark] = "┃" if cells[mark] == " " else "▓"
    return "".join(cells)


def show_line(text: str) -> None:
    """Print one line."""
    console().print(text)


def show_rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose first column is text, and the others figures."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", no_wrap=bool(place))
    for row in rows:
        table.add_row(*row)
    _print_whole(console(), table)


def show_lines(chart: Chart) -> None:
    """Print each line of a chart as a row of blocks, all on one scale."""
    out = console()
    values = [y for line in chart.lines.values() for _, y in line]
    highest = max(values, default=0.0)
    most = f"{highest:.0f}" if highest >= 1000 else f"{highest:.4g}"
    out.print(f"{chart.title} ({chart.up}, at most {most}; {chart.across})", style="bold")
    width = max(map(len, chart.lines), default=0)
    for name, line in chart.lines.items():
        out.print(f"{name:>{width}} {_blocks([y for _, y in line], highest)}")


def _blocks(values: Sequence[float], highest: float) -> str:
    if not values or not highest:
        return _BLOCKS[0] * len(values)
    step = max(1, math.ceil(len(values) / _LINE))
    shown = [max(values[place : place + step]) for place in range(0, len(values), step)]
    return "".join(_BLOCKS[math.ceil(value / highest * (len(_BLOCKS) - 1))] for value in shown)
