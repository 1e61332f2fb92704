"""A benchmark whose sides take turns in one process, on a server of its own: its command line, its rounds, its report.

It is for what costs so little that two runs would differ by more than the sides do.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from redpool import embedded
from redpool.bench.load import Figures
from redpool.bench.place import APART, FREE, placed, why_not_apart
from redpool.bench.report import environment
from redpool.bench.setting import prepared
from redpool.command_line import positive

Measure = Callable[[str, float], Figures]
"""Measures one side on the server at a URL, for so many seconds."""

Rounds = Mapping[str, Sequence[Figures]]
"""What was measured of each side, round by round."""


@dataclass(frozen=True)
class Case:
    """What is measured of each of the sides."""

    about: str
    sides: Mapping[str, Measure]


def measured(case: Case, url: str, rounds: int, seconds: float) -> Rounds:
    """Measure the sides of a case in turn, and return all their figures."""
    seen: dict[str, list[Figures]] = {side: [] for side in case.sides}
    for _ in range(rounds):
        for side, measure in case.sides.items():
            gc.collect()
            seen[side].append(measure(url, seconds))
    return seen


def medians(seen: Rounds) -> dict[str, Figures]:
    """Return each side's medians."""
    return {side: {name: median(each[name] for each in all_) for name in all_[0]} for side, all_ in seen.items()}


def run(
    argv: Sequence[str] | None,
    about: str,
    cases: Mapping[str, Case],
    seconds: float,
    summarized: Callable[[Rounds], dict[str, Any]],
    shown: Callable[[Mapping[str, Any]], Sequence[str]],
) -> int:
    """Measure, print JSON or a table, and return the exit status. A measurement takes `seconds` where none are given.

    `summarized` returns what the report has of a case beside `about`; `shown` returns the lines of that in the table.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(cases)} (default: all)")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=positive, default=seconds)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.cases if name not in cases]
    if unknown:
        parser.error(f"unknown case: {', '.join(unknown)}; choose from: {', '.join(cases)}")
    report: dict[str, Any] = {"environment": environment(), "cases": {}}
    with embedded.start() as server, prepared(server.url, arguments.seconds) as setting:
        report["server"] = setting.probe.server()
        with placed(FREE if why_not_apart(server.pid) else APART, server.pid):
            for name in arguments.cases or cases:
                seen = measured(cases[name], server.url, arguments.rounds, arguments.seconds)
                report["cases"][name] = {"about": cases[name].about, **summarized(seen)}
    lines = [json.dumps(report, indent=2)] if arguments.json else _table(report, shown)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _table(report: Mapping[str, Any], shown: Callable[[Mapping[str, Any]], Sequence[str]]) -> list[str]:
    lines = [", ".join(f"{name} {value}" for name, value in report["environment"].items()), report["server"]]
    for case in report["cases"].values():
        lines += ["", *shown(case)]
    return lines
