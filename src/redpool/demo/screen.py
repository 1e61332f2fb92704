"""What the demo shows: live on a terminal, plain lines elsewhere, or one JSON document."""

from collections import Counter
from dataclasses import asdict
from typing import Any, Self

from rich import box
from rich.console import Console
from rich.live import Live
from rich.syntax import Syntax
from rich.table import Table

from redpool.bench.load import Figures
from redpool.bench.screen import console, figure_table, number, write_json
from redpool.demo.compare import CALLERS, CONNECTIONS
from redpool.demo.drive import Moment, Outcome, Watcher
from redpool.demo.lines import Lines

_LINE_EVERY = 1.0


class Screen:
    """Shows the demo to people, on a terminal or as plain lines."""

    def __init__(self) -> None:
        self._out = console()

    def lines(self, lines: Lines) -> None:
        """Show the four lines and their result."""
        for line in lines.source:
            if self._out.is_terminal:
                self._out.print(">>> ", end="")
                self._out.print(Syntax(line, "python", background_color="default"), end="")
            else:
                self._out.print(f">>> {line}", markup=False)
        self._out.print(lines.result)
        self._out.print()

    def watcher(self, seconds: float) -> Watcher:
        """Return a watcher: a live table on a terminal, elsewhere a line a second."""
        return _LiveWatcher(self._out, seconds) if self._out.is_terminal else _LineWatcher(self._out)

    def outcome(self, outcome: Outcome) -> None:
        """Show how the load ended."""
        if not self._out.is_terminal:
            note = "" if outcome.restarted_at is None else f"server restarted at {outcome.restarted_at:.1f} s"
            self._out.print(_state_table(f"after {outcome.seconds:.1f} s", note, outcome.moments, {}))

    def comparing(self, what: str) -> None:
        """Show what is measured next."""
        self._out.print(f"measuring: {what}", style="dim")

    def comparison(self, rows: dict[str, Figures]) -> None:
        """Show the three ways side by side."""
        self._out.print()
        title = f"GET from {CALLERS} threads, pools of {CONNECTIONS} connections"
        self._out.print(title, style="bold")
        self._out.print(figure_table(rows))


class JsonScreen:
    """Shows the demo to programs: nothing until the end, then one JSON document."""

    def __init__(self) -> None:
        self._document: dict[str, Any] = {}

    def lines(self, lines: Lines) -> None:
        """Keep the four lines and their result."""
        self._document["lines"] = asdict(lines)

    def watcher(self, _seconds: float) -> Watcher:
        """Return a watcher that shows nothing."""
        return _NoWatcher()

    def outcome(self, outcome: Outcome) -> None:
        """Keep how the load ended."""
        self._document["load"] = {
            "seconds": outcome.seconds,
            "restarted_at": outcome.restarted_at,
            "served": outcome.served,
            "pools": {
                name: {
                    "figures": outcome.figures[name],
                    "errors": dict(moment.errors),
                    "stats": moment.stats.to_dict(),
                }
                for name, moment in outcome.moments.items()
            },
        }

    def comparing(self, what: str) -> None:
        """Show nothing."""

    def comparison(self, rows: dict[str, Figures]) -> None:
        """Write the document, with the three ways in it."""
        write_json({**self._document, "comparison": rows})


class _NoWatcher:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def now(self, elapsed: float, note: str, moments: dict[str, Moment]) -> None:
        pass


class _Rates:
    """The commands per second of each pool since the last call."""

    def __init__(self) -> None:
        self._last: tuple[float, dict[str, int]] = (0.0, {})

    def __call__(self, elapsed: float, moments: dict[str, Moment]) -> dict[str, float]:
        (before, turns), now = self._last, {name: moment.turns for name, moment in moments.items()}
        self._last = elapsed, now
        return {name: (count - turns.get(name, 0)) / max(elapsed - before, 1e-3) for name, count in now.items()}


class _LiveWatcher(_NoWatcher):
    def __init__(self, out: Console, seconds: float) -> None:
        self._live = Live(console=out, auto_refresh=False)
        self._seconds = seconds
        self._rates = _Rates()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def now(self, elapsed: float, note: str, moments: dict[str, Moment]) -> None:
        title = f"{elapsed:.1f} of {self._seconds:g} s"
        self._live.update(_state_table(title, note, moments, self._rates(elapsed, moments)), refresh=True)


class _LineWatcher(_NoWatcher):
    def __init__(self, out: Console) -> None:
        self._out = out
        self._rates = _Rates()
        self._next = _LINE_EVERY

    def now(self, elapsed: float, note: str, moments: dict[str, Moment]) -> None:
        if elapsed < self._next:
            return
        self._next += _LINE_EVERY
        rates = self._rates(elapsed, moments)
        for name, moment in moments.items():
            stats = moment.stats
            self._out.print(
                f"{elapsed:5.1f} s  {name}: {stats.idle} idle, {stats.in_use} in use, "
                f"{stats.waiting} waiting, {number(round(rates[name]))} commands/s, "
                f"{moment.errors.total()} errors  {note}".rstrip(),
                soft_wrap=True,
            )


def _state_table(title: str, note: str, moments: dict[str, Moment], rates: dict[str, float]) -> Table:
    table = Table(title=f"{title}  {note}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for name in moments:
        table.add_column(name, justify="right", min_width=30)
    if rates:
        table.add_row("commands/s", *(number(round(rate)) for rate in rates.values()))
    cells = [_cells(moment) for moment in moments.values()]
    for label in cells[0]:
        table.add_row(label, *(column[label] for column in cells))
    return table


def _cells(moment: Moment) -> dict[str, str]:
    stats = moment.stats
    wait = stats.wait
    return {
        "idle / in use / waiting": f"{stats.idle} / {stats.in_use} / {stats.waiting}",
        "wait p50 / p99 / max ms": " / ".join(number(1e3 * seconds) for seconds in (wait.p50, wait.p99, wait.max)),
        "commands": number(moment.turns),
        "errors": _counts(moment.errors),
        "connections opened": str(stats.connected),
        "failed connects": str(stats.connect_failures),
        "closed": _counts(Counter(stats.closed)),
    }


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common() if count) or "none"
