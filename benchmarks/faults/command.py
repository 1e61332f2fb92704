"""The command line: which rows, which side, and how they are shown."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .report import as_json, as_markdown, as_text, summary, write
from .rows import Row, all_rows
from .runner import Result, run
from .sides import OF_OURS, SIDES


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows and show them. The exit status is 1 where redpool doesn't hold one."""
    options = _parser().parse_args(arguments)
    sides = [options.side] if options.side else SIDES
    rows = _chosen(options.row)
    if not rows:
        write("no such row\n")
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
        prog="faults", description="the same faults against redis-py's pools, redpool's, and our client"
    )
    parser.add_argument("--row", metavar="4,7", help="only these, by number or name")
    parser.add_argument("--side", choices=SIDES, help="only one of the sides")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON document")
    form.add_argument("--markdown", action="store_true", help="the table of docs/reliability.md")
    return parser


def _chosen(names: str | None) -> list[Row]:
    if names is None:
        return all_rows()
    wanted = names.split(",")
    return [row for row in all_rows() if str(row.number) in wanted or row.name in wanted]
