"""Show a report, or a rule, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.markdown import Markdown
from rich.padding import Padding
from rich.text import Text

from ..command_line import printable
from .report import Found, Report
from .rule import Rule, Seconds, Severity
from .rules.wording import seconds

_COLORS = {Severity.SEVERE: "bold red", Severity.COSTLY: "yellow", Severity.NOTE: "cyan"}
_WIDEST = 100


def show(report: Report) -> None:
    """Print the findings, the worst first; then what was fine, and what could not be seen."""
    console = _console()
    for _, alike in groupby(report.found, key=lambda each: (each.severity, each.rule.id)):
        console.print(_findings(list(alike)))
    console.print(_counts(report))
    if report.unseen:
        console.print(Text("Not seen:", style="bold"))
        for unseen in report.unseen:
            console.print(Padding(Text(f"{printable(unseen.what)}: {printable(unseen.why)}"), (0, 0, 0, 2)))
    for name in report.silent:
        console.print(Text(f"Nothing is known of {printable(name)}: it told nothing.", style=_COLORS[Severity.SEVERE]))


def explain(rule: Rule) -> None:
    """Print all that a rule says of itself."""
    console = _console()
    console.print(
        Text.assemble((rule.id, "bold"), "  ", (rule.severity.value, _COLORS[rule.severity]), "  ", rule.title)
    )
    parts = {"Why": rule.why, "How it is seen": rule.seen, "Write instead": rule.write, "Source": rule.source}
    for title, text in parts.items():
        console.print()
        console.print(Text(title, style="bold"))
        console.print(Padding(Markdown(text), (0, 0, 0, 2)))
    console.print()
    console.print(Text(f"More: {rule.page}"))


def list_rules(rules: Mapping[str, Rule]) -> None:
    """Print a line for each rule."""
    console = _console()
    for rule in rules.values():
        severity = (f"{rule.severity.value:<8}", _COLORS[rule.severity])
        console.print(Text.assemble((f"{rule.id:<4}", "bold"), severity, rule.title), soft_wrap=True)


def _console() -> Console:
    console = Console(highlight=False, markup=False)
    console.width = min(console.width, _WIDEST) if console.is_terminal else _WIDEST
    return console


def _findings(alike: list[Found]) -> Group:
    """Return the findings of one rule, of one severity: what they have in common stands there once."""
    severity, rule = alike[0].severity, alike[0].rule
    head = Text.assemble((rule.id, "bold"), "  ", (severity.value, _COLORS[severity]), "  ", (rule.title, "bold"))
    parts: list[RenderableType] = [part for each in alike for part in _finding(each)]
    parts.append(Text(rule.why.replace("`", ""), style="dim"))
    if not all(each.finding.write for each in alike):
        parts += [Text("Write instead:"), Padding(Markdown(rule.write), (0, 0, 0, 2))]
    parts.append(Text(f"More: redpool doctor --explain {rule.id}, or {rule.page}", style="dim"))
    return Group(head, *(Padding(part, (0, 0, 0, 4)) for part in parts), Text())


def _finding(found: Found) -> Iterator[RenderableType]:
    """Yield the lines of one finding: where, what, by which figures, and what to write where it says that itself."""
    finding = found.finding
    if finding.where:
        yield Text(f"{printable(finding.where.path)}:{finding.where.line}", style="underline")
    yield Text(printable(finding.what))
    figures = ", ".join(f"{name} {_figure(value)}" for name, value in finding.figures.items())
    if figures:
        yield Text(f"Figures: {printable(figures)}")
    if finding.write:
        lines = "\n".join(printable(line) for line in finding.write.splitlines())
        yield Text("Write instead:")
        yield Padding(Text(lines, style="green"), (0, 0, 0, 2))


def _figure(value: float | str) -> str:
    if isinstance(value, Seconds):
        return seconds(value)
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def _counts(report: Report) -> Text:
    counts = {severity: sum(each.severity is severity for each in report.found) for severity in Severity}
    found = ", ".join(f"{number} {severity.value}" for severity, number in counts.items() if number) or "nothing found"
    left = f"; {len(report.unchecked)} more had nothing to look at (--json names them)" if report.unchecked else ""
    return Text(f"{found}. {len(report.checked)} rules checked on {', '.join(map(printable, report.looked_at))}{left}.")
