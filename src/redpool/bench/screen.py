"""Reports for people and for programs; the one file of the bench that needs rich."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from redpool.command_line import console

from .cases import Case
from .load import Figures
from .report import FloorReport, Report, Result, Verdict

_HEADINGS = {
    "us": "us",
    "per_s": "commands /s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "worst_ms": "worst ms",
    "fewest": "fewest turns",
    "most": "most turns",
    "most_to_fewest": "most/ fewest",
    "connections": "opened",
    "done_ms": "all done ms",
    "bytes_each": "bytes each",
    "bytes_by_hand": "bytes by hand",
    "bytes_beyond": "bytes beyond",
}


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar on standard error for `runner.run`; silent where that is no terminal."""
    on_stderr = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=on_stderr, transient=True, disable=not on_stderr.is_terminal) as bar:
        task = bar.add_task("")

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield tell


def figure_table(rows: Mapping[str, Figures]) -> Table:
    """Return a table with a row of figures for each name, without the figures that have no heading."""
    columns = [name for name in next(iter(rows.values())) if name in _HEADINGS]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", overflow="fold")
    for name in columns:
        # Headings break between words, figures never.
        table.add_column(_HEADINGS[name].replace(" ", "\n"), justify="right", no_wrap=True)
    for row, figures in rows.items():
        table.add_row(row, *(number(figures[name]) for name in columns))
    return table


def number(value: float) -> str:
    """Return `value` with about three digits, and a space between thousands."""
    if abs(value) >= 100 or value == int(value):  # without end, where the other side did nothing in its time
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def show(report: Report) -> None:
    """Print the report as tables."""
    out = console()
    out.print(", ".join(f"{name} {value}" for name, value in report.environment.items()), style="dim")
    out.print(f"{report.server}; medians of {report.rounds} rounds of {report.seconds:g} s", style="dim")
    for result in report.results:
        out.print()
        out.print(f"{result.case} ({result.mode}): {result.about}", style="bold")
        out.print(figure_table(result.sides))
        _show_verdicts(out, result)
    for note in report.notes:
        out.print(f"note: {note}", style="yellow")


def _show_verdicts(out: Console, result: Result) -> None:
    if result.ratio is not None:
        out.print(f"  ratio {result.ratio:.2f}", style="bold")
    for verdict in result.verdicts:
        show_verdict(out, verdict)


def show_verdict(out: Console, verdict: Verdict) -> None:
    """Print a target, the measured value, and whether it is met."""
    met = "met" if verdict.met else "MISSED"
    style = "green" if verdict.met else "bold red"
    out.print(f"  target {verdict.target}: {number(verdict.value)}, {met}", style=style)


def show_floor(report: FloorReport) -> None:
    """Print the comparison with the floor as one table."""
    out = console()
    out.print(", ".join(f"{name} {value}" for name, value in report.environment.items()), style="dim")
    out.print(f"{report.server}; medians of {report.rounds} rounds of {report.seconds:g} s", style="dim")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("CPU us of a GET", overflow="fold")
    for heading in ("floor", "redpool", "share", "bare", "redis-py's", "ours", "server's"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in report.rows:
        parts = (*row.parts.values(), row.server_us)
        table.add_row(row.about, number(row.floor_us), number(row.ours_us), f"{row.share:.2f}", *map(number, parts))
    out.print(table)
    out.print("share: floor / redpool. bare + redis-py's + ours = redpool; the server's own CPU comes on top.")
    for note in report.notes:
        out.print(f"note: {note}", style="yellow")


def show_list(cases: Sequence[Mapping[str, str]]) -> None:
    """Print the cases, what each measures, and its targets."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("case", "what", "targets"):
        table.add_column(heading)
    for case in cases:
        table.add_row(*case.values())
    console().print(table)


def list_as_dicts(cases: Iterable[Case]) -> list[dict[str, str]]:
    """Return the cases, what each measures, and its targets as plain values, ready for JSON."""
    return [{"case": case.name, "about": case.about, "targets": _targets(case)} for case in cases]


def _targets(case: Case) -> str:
    return ", ".join(f"{target} ({target.mode})" if target.mode else str(target) for target in case.targets)
