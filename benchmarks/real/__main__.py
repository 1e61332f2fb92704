"""Measure on a real server, behind a proxy that delays it, what is simulated elsewhere.

::

    python -m benchmarks.real [CASE ...] [--seconds S] [--seed N] [--json]

A case's name, or what it begins with: `auto` is all of "auto-...". Each takes less than a minute. Callers come when
they are due, whatever became of those before. Where they came late, the row says more of the machine than of the pool,
and is marked. The cases' modules say what the columns are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from redpool.bench.report import environment
from redpool.command_line import positive

from . import advisor, auto, budget, overload, priorities
from .ground import LATE, MOST_LATE, Ground, Row, ground


class Case(NamedTuple):
    """What is measured, and the seconds that each of its measurements takes."""

    rows: Callable[[Ground, float, int], Iterator[Row]]
    seconds: float


CASES = {
    "advisor": Case(advisor.rows, 12.0),
    **{f"auto-{name}": Case(partial(auto.rows, name), scenario.seconds) for name, scenario in auto.SCENARIOS.items()},
    "budget": Case(budget.rows, 50.0),
    **{f"overload-{name}": Case(partial(overload.rows, name), 8.0) for name in overload.SCENARIOS},
    "priorities": Case(priorities.rows, 10.0),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is asked for, and print tables or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}, or what it begins with")
    parser.add_argument("--seconds", type=positive, help="length of one measurement (default: as each case needs)")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (default: 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args(argv)
    asked = list(dict.fromkeys(name for each in arguments.cases or ("",) for name in CASES if name.startswith(each)))
    if unknown := [each for each in arguments.cases if not any(name.startswith(each) for name in CASES)]:
        parser.error(f"unknown case: {', '.join(unknown)}; choose from {', '.join(CASES)}")
    report: dict[str, list[Row]] = {name: [] for name in asked}
    shown: list[str] = []
    with ground() as place:
        for name, found in report.items():
            case = CASES[name]
            for row in case.rows(place, arguments.seconds or case.seconds, arguments.seed):
                found.append(row)
                if not arguments.json:
                    _show(row, with_headings=shown != list(row))
                    shown = list(row)
        server = f"{place.server.binary} {place.server.version}"
    if arguments.json:
        _say(json.dumps({"environment": environment(), "server": server, "cases": report}, indent=2))
    return 0


def _show(row: Row, *, with_headings: bool) -> None:
    if with_headings:
        _say("")
        _say("  ".join(_cells(row, list(row))))
    _say("  ".join(_cells(row, row.values())) + ("  LATE" if row[LATE] > MOST_LATE else ""))


def _cells(row: Row, texts: Iterable[object]) -> Iterator[str]:
    """Return each as wide as its column: numbers on the right, text on the left."""
    for place, (text, (heading, value)) in enumerate(zip(texts, row.items(), strict=True)):
        if isinstance(value, str) and value:
            yield str(text).ljust(max(len(heading), 12 if place else 34))
        else:
            yield str(text).rjust(len(heading))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
