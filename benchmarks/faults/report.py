"""Findings for people, for programs, and for the page in the docs."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
import textwrap
from collections.abc import Iterator, Sequence

from redpool import embedded

from .runner import Result
from .sides import OF_OURS, TITLES

_WIDTH = 110
_VERDICTS = {True: "holds", False: "FAILS", None: "can't be"}


def write(text: str) -> None:
    """Write the text at once, however long the next row takes."""
    sys.stdout.write(text)
    sys.stdout.flush()


def as_text(line: Sequence[Result]) -> str:
    """Return a row as text: the fault, each side, and the standard error of redpool's sides that didn't hold."""
    row = line[0].row
    head = textwrap.wrap(row.text, _WIDTH, initial_indent=f"{row.number:>3}  ", subsequent_indent=" " * 5)
    sides = [
        textwrap.fill(
            each.finding.figure,
            _WIDTH,
            initial_indent=f"       {TITLES[each.side]:<15}{_VERDICTS[each.finding.held]}  ",
            subsequent_indent=" " * 29,
        )
        for each in line
    ]
    logs = [each.log for each in line if each.side in OF_OURS and each.finding.held is False and each.log]
    return "\n".join([*head, *sides, *logs, ""])


def summary(results: Sequence[Sequence[Result]]) -> str:
    """Return a line that says how many rows each side holds."""
    sides = (
        f"{TITLES[each.side]} holds {_count(results, at, True)} of {len(results) - _count(results, at, None)}"
        for at, each in enumerate(results[0])
    )
    return f"\n{', '.join(sides)}\n"


def _count(results: Sequence[Sequence[Result]], at: int, held: bool | None) -> int:
    return sum(line[at].finding.held is held for line in results)


def as_json(results: Sequence[Sequence[Result]]) -> str:
    """Return one JSON document: a list of rows with the findings of all sides."""
    rows = [
        {
            "number": line[0].row.number,
            "name": line[0].row.name,
            "text": line[0].row.text,
            **{each.side: dataclasses.asdict(each.finding) for each in line},
        }
        for line in results
    ]
    return json.dumps(rows, indent=2) + "\n"


def as_markdown(results: Sequence[Sequence[Result]]) -> str:
    """Return the text that goes between the marks in docs/reliability.md."""
    return "\n".join([_place(), "", *_table(results), summary(results)])


def _place() -> str:
    with embedded.start() as server:
        redis = server.version
    hiredis = importlib.metadata.version("hiredis")
    return f"hiredis {hiredis}, CPython {platform.python_version()}, Redis {redis} on loopback, {os.cpu_count()} CPUs."


def _table(results: Sequence[Sequence[Result]]) -> Iterator[str]:
    yield "| | fault | " + " | ".join(TITLES[each.side] for each in results[0]) + " |"
    yield "|---:|---|" + "---|" * len(results[0])
    for line in results:
        cells = [f"{_VERDICTS[each.finding.held]}: {each.finding.figure}" for each in line]
        cells = [cell.replace("FAILS", "**fails**", 1) for cell in cells]
        row = line[0].row
        yield f"| {row.number} | {row.text} | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
