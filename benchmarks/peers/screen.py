"""Print the report for people; beside `bench.screen` the one file that needs rich."""

from collections import Counter

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from redpool.bench.screen import number, show_verdict
from redpool.command_line import console

from .cases import CASES, Case
from .report import Report, Result, Row

# Key, heading, what the value is multiplied by.
_COLUMNS = (
    ("per_s", "commands /s", 1),
    ("p50_ms", "p50 ms", 1),
    ("p99_ms", "p99 ms", 1),
    ("cpu_us", "CPU us /command", 1),
    ("connections", "connec- tions", 1),
)
_RELAY = ("relay", "relay busy %", 100)


def show(report: Report) -> None:
    """Print the report as tables, one for each case."""
    out = console()
    out.print(", ".join(f"{name} {value}" for name, value in report.environment.items()), style="dim")
    out.print(
        f"{report.server}; medians of {report.rounds} rounds of {report.seconds:g} s, the peers in turn; "
        "x redis-py: commands/s over those of the faster of its pools",
        style="dim",
    )
    for result in report.results:
        _show(out, result)
    for note in report.notes:
        out.print(f"note: {note}", style="yellow")
    met = Counter(verdict.met for result in report.results for verdict in result.verdicts)
    out.print(f"targets: {met[True]} met, {met[False]} missed")


def _show(out: Console, result: Result) -> None:
    out.print()
    out.print(f"{result.case} ({result.mode}): {result.about}", style="bold")
    columns = [*_COLUMNS, *([_RELAY] if any(row.figures.get("relay") for row in result.rows) else [])]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("x\nredis-py", justify="right", no_wrap=True)
    for _, heading, _ in columns:
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for row in result.rows:
        if not row.absent:
            cells = (number(times * row.figures[key]) for key, _, times in columns)
            table.add_row(row.peer, "" if row.ratio is None else number(row.ratio), *cells)
    out.print(table)
    for row in result.rows:
        if row.absent:
            out.print(_absent(row))
    for verdict in result.verdicts:
        show_verdict(out, verdict)


def _absent(row: Row) -> Text:
    return Text(f"  {row.peer}: {row.absent}", style="red" if row.failed else "dim")


def show_list() -> None:
    """Print the cases, what each measures, and its targets."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("group", "case", "what", "targets"):
        table.add_column(heading)
    for case in CASES.values():
        table.add_row(case.group, case.name, case.about, "\n".join(_targets(case)))
    console().print(table)


def list_as_dicts() -> list[dict[str, object]]:
    """Return the cases, what each measures, and its targets as plain values, ready for JSON."""
    return [
        {"group": case.group, "case": case.name, "about": case.about, "targets": _targets(case)}
        for case in CASES.values()
    ]


def _targets(case: Case) -> list[str]:
    return [f"{target} ({target.mode})" for target in case.targets]
