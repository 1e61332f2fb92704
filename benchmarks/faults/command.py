"""The command line: which rows, which side, and how they are shown."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .report import as_json, as_markdown, as_text, summary, write
from .rows import Row, all_rows
from .runner import Result, run
from .sides import OF_OURS, SIDES


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows, show them, and return the exit status: 1 where redpool doesn't hold one, 2 for bad usage."""
    options = _parser().parse_args(arguments)
    sides = [options.side] if options.side else SIDES
    rows = _chosen(options.row)
    if not rows:
        write(f"faults: no row {options.row}\n")
        return 2
    plain = not (options.json or options.markdown)
    results: list[list[Result]] = []
    for row in rows:
        results.append([run(row, side) for side in sides])
        if plain:
            write(as_text(results[-1]))
    write(summary(results) if plain else as_json(results) if options.json else as_markdown(results))
    return int(any(each.side in OF_OURS and each.finding.held is False for line in results for each in line))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="faults",
        description="Bring the same faults about on redis-py's pools, on redpool's, and on redpool's client.",
    )
    parser.add_argument("--row", metavar="4,7", help="run only these rows, by number or name")
    parser.add_argument("--side", choices=SIDES, help="run only this side")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    form.add_argument("--markdown", action="store_true", help="print the table of docs/reliability.md")
    return parser


def _chosen(names: str | None) -> list[Row]:
    if names is None:
        return all_rows()
    wanted = names.split(",")
    return [row for row in all_rows() if str(row.number) in wanted or row.name in wanted]
