"""What the demo shows: a picture that grows on a terminal, plain lines elsewhere, or one JSON document."""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Literal, Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from redpool.bench.screen import number
from redpool.command_line import console, write_json
from redpool.demo.crowd import Crowd
from redpool.demo.drive import HANG, Seen
from redpool.demo.lines import Lines
from redpool.demo.ways import LIMIT, RETRIES, Way

_BESIDE_BARS = 73
_LONGEST_BAR = 40

_COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("", "left"),
    ("calls\n/s", "right"),
    ("", "left"),
    ("connec-\ntions", "right"),
    ("calls\nfailed", "right"),
    ("callers\nstarved", "right"),
    ("ran\ntwice,\nhidden", "right"),
    ("maybe\nran,\nraised", "right"),
)

_STORY = f"Same callers, same {RETRIES} retries. Pools in which callers wait have {LIMIT} connections."
_FAULTS = f"All goes well at first. Then the server hangs for {HANG:g} s, crashes, and is back."
_LEGEND = (
    ("ran twice, hidden", "the INCR was sent again although it had run; no error"),
    ("maybe ran, raised", "the reply was lost; not sent again, its caller gets ReplyLost"),
    ("starved", "got less than a tenth of an even share"),
)


class Board:
    """Shows how a crowd is served, one way after another. This one shows nothing, and keeps the results."""

    def __init__(self, crowd: type[Crowd]) -> None:
        self.crowd = crowd
        self.results: dict[Way, Seen] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        pass

    def begin(self, way: Way) -> None:
        """Take note of the way that comes next."""

    def now(self, what: str, per_s: float) -> None:
        """Show what the server does now, and the calls per second of the present way."""

    def done(self, way: Way, seen: Seen) -> None:
        """Show how the callers were served."""
        self.results[way] = seen


class Screen:
    """Shows the demo to people, on a terminal or as plain lines."""

    def __init__(self) -> None:
        self._out = console()
        self._boards: list[Board] = []

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

    def story(self, faults: bool) -> None:
        """Say what comes, and whether the server will fail."""
        self._out.print(_STORY)
        if faults:
            self._out.print(_FAULTS)
        if _busy():
            self._out.print(
                "Other programs keep this machine busy: rates vary, the counts beside them hold.", style="yellow"
            )
        self._out.print()

    def board(self, crowd: type[Crowd], ways: Sequence[Way]) -> Board:
        """Return a board: it grows on a terminal, and is printed at its end elsewhere."""
        board = (_LiveBoard if self._out.is_terminal else _PlainBoard)(crowd, ways, self._out)
        self._boards.append(board)
        return board

    def end(self) -> None:
        """Say what it comes to, and what the headings mean."""
        results = [result for board in self._boards for result in board.results.items()]
        for package in dict.fromkeys(way.package for way, _ in results):
            seen = [seen for way, seen in results if way.package == package]
            self._out.print(Text.assemble((f"{package:10}", "bold"), _sum(seen)))
        self._out.print()
        for heading, meaning in _LEGEND:
            self._out.print(f"{heading}: {meaning}", style="dim")


class JsonScreen:
    """Shows the demo to programs: nothing until the end, then one JSON document."""

    def __init__(self) -> None:
        self._lines: Lines | None = None
        self._boards: list[Board] = []

    def lines(self, lines: Lines) -> None:
        """Keep the four lines and their result."""
        self._lines = lines

    def story(self, faults: bool) -> None:
        """Show nothing."""

    def board(self, crowd: type[Crowd], _ways: Sequence[Way]) -> Board:
        """Return a board that shows nothing."""
        self._boards.append(Board(crowd))
        return self._boards[-1]

    def end(self) -> None:
        """Write the document."""
        crowds = {
            board.crowd.name: {
                "callers": board.crowd.size,
                "ways": [
                    {"package": way.package, "name": way.name, **asdict(seen)} for way, seen in board.results.items()
                ],
            }
            for board in self._boards
        }
        write_json({"lines": self._lines and asdict(self._lines), "crowds": crowds})


class _PlainBoard(Board):
    """Says which way comes next, and prints the table at the end."""

    def __init__(self, crowd: type[Crowd], ways: Sequence[Way], out: Console) -> None:
        super().__init__(crowd)
        self._ways = ways
        self._out = out

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._out.print(self._picture(self.results, ""))

    def begin(self, way: Way) -> None:
        self._out.print(f"{self.crowd.size} {self.crowd.name}: {way.package} {way.name} ...", style="dim")

    def _picture(self, rows: Mapping[Way, Seen | float], note: str) -> Group:
        title = Text(f"{self.crowd.size} {self.crowd.name}, GET and INCR in turn", style="bold")
        return Group(title, _table(self._ways, rows, self._out), *_errors(self.results), Text(note, style="cyan"))


class _LiveBoard(_PlainBoard):
    """The same table from the first moment on, with bars that grow."""

    def __init__(self, crowd: type[Crowd], ways: Sequence[Way], out: Console) -> None:
        super().__init__(crowd, ways, out)
        self._live = Live(console=out, auto_refresh=False)
        self._present = ways[0]

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._live.update(self._picture(self.results, ""), refresh=True)
        self._live.stop()

    def begin(self, way: Way) -> None:
        self._present = way
        self.now("all is well", 0.0)

    def now(self, what: str, per_s: float) -> None:
        note = f"{self._present.package} {self._present.name}: {what}"
        self._live.update(self._picture({**self.results, self._present: per_s}, note), refresh=True)


def _table(ways: Sequence[Way], rows: Mapping[Way, Seen | float], out: Console) -> Table:
    """Return a row for each way: its results, or only the calls per second of one that is on its way."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for heading, justify in _COLUMNS:
        table.add_column(heading, justify=justify, no_wrap=True)
    rates = {way: row.per_s if isinstance(row, Seen) else row for way, row in rows.items()}
    fastest = max((1.0, *rates.values()))
    width = max(1, min(_LONGEST_BAR, out.width - _BESIDE_BARS))
    package = ""
    for way in ways:
        if way.package != package:
            package = way.package
            table.add_row(Text(package, style="bold"))
        cells: list[str | Text] = [f" {way.name}"]
        if way in rates:
            bar = _bar(width, rates[way] / fastest, out.options.ascii_only)
            cells += [number(round(rates[way])), Text(bar, style="green" if way.ours else "blue")]
        row = rows.get(way)
        table.add_row(*cells, *(_counts(row) if isinstance(row, Seen) else ()))
    return table


def _bar(width: int, share: float, ascii_only: bool) -> str:
    """Return a bar of a share of `width`; one of anything above 0 can be seen."""
    if ascii_only:
        return "#" * math.ceil(share * width)
    whole, eighths = divmod(math.ceil(share * width * 8), 8)
    return "█" * whole + " ▏▎▍▌▋▊▉"[eighths].strip()


def _counts(seen: Seen) -> list[Text]:
    lost = sum(seen.lost.values())
    bad = [
        Text(number(count), style="bold red" if count else "green")
        for count in (sum(seen.failed.values()), seen.starved, seen.twice)
    ]
    return [Text(number(seen.connections)), *bad, Text(number(lost), style="yellow" if lost else "")]


def _sum(seen: Sequence[Seen]) -> Text:
    """Return what a package's ways come to, in words."""
    bad = Text(", ").join(
        Text(f"{number(count)} {what}", style="bold red" if count else "green")
        for count, what in (
            (sum(sum(each.failed.values()) for each in seen), "calls failed"),
            (sum(each.starved for each in seen), "callers starved"),
            (sum(each.twice for each in seen), "ran twice"),
        )
    )
    return Text.assemble(bad, f", {number(sum(sum(each.lost.values()) for each in seen))} maybe ran")


def _busy() -> bool:
    """Return whether other programs want more than this machine has; false where that can't be known."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > (os.cpu_count() or 1)


def _errors(results: Mapping[Way, Seen]) -> list[Text]:
    """Return a line for each way that had errors, with their kinds."""
    return [
        Text(f"{way.package} {way.name}: {_kinds(Counter(seen.failed) + Counter(seen.lost))}", style="dim")
        for way, seen in results.items()
        if seen.failed or seen.lost
    ]


def _kinds(errors: Counter[str]) -> str:
    return ", ".join(f"{number(count)} {kind}" for kind, count in errors.most_common())
