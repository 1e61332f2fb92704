"""Run the comparison with other clients on two trees in turn: the table for README, and what became slower.

::

    python benchmarks/trees.py BEFORE AFTER [CASE ...] [--rounds N] [--seconds S] [--json FILE]

BEFORE and AFTER are clones of the repository. Each round runs each tree's own `benchmarks.peers` once, over its own
`src`, in a process and on a server of its own; the tree that begins takes turns. Without cases it measures those of
README's table. What `benchmarks/peers/requirements.txt` names has to be importable; `PYTHONPATH` is passed on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROWS = {
    ("tasks-1", "one core"): "1 task, one core",
    ("tasks-100", "free"): "100 tasks",
    ("tasks-1000", "free"): "1000 tasks",
    ("threads-1", "one core"): "1 thread, one core",
    ("threads-16", "free"): "16 threads",
    ("threads-64", "free"): "64 threads",
    ("round-trip-threads-4ms", "free"): "64 threads, 4 ms round trip",
    ("round-trip-tasks-4ms", "free"): "100 tasks, 4 ms round trip",
    ("pipeline-threads-100", "free"): "pipelines of 100, one thread",
    ("pipeline-tasks-100", "free"): "pipelines of 100, one task",
    ("pipeline-threads-1000", "free"): "pipelines of 1000, one thread",
    ("pipeline-tasks-1000", "free"): "pipelines of 1000, one task",
}
"""The rows of README's table, by case and mode."""

COLUMNS = ("redpool pool, shared", "redpool client", "valkey-glide")
REDPOOL = "redpool"
# A ratio that fell by more is named.
_FALLEN = 0.97

_HEAD = (
    "| GET of 30 B, commands/s | redis-py | shared pool under redis-py's client | `redpool.Redis` | valkey-glide |\n"
    "|---|---:|---:|---:|---:|\n"
)

Key = tuple[str, str]
Rates = dict[Key, dict[str, list[float]]]
"""The commands per second of each round, by case and mode, and by peer."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print both tables; the exit status is 1 where a ratio fell."""
    parser = argparse.ArgumentParser(description="Compare redpool with other clients on two trees, in turn.")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every run's report")
    arguments = parser.parse_args(argv)
    trees = {"before": arguments.before.resolve(), "after": arguments.after.resolve()}
    cases = arguments.cases or list(dict.fromkeys(case for case, _ in ROWS))
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in trees}
    for number in range(arguments.rounds):
        for name in (*trees, *trees)[number % 2 :][: len(trees)]:
            sys.stderr.write(f"round {number + 1} of {arguments.rounds}: {name}\n")
            runs[name].append(_run(trees[name], cases, arguments.seconds))
    if arguments.json:
        arguments.json.write_text(json.dumps(runs, indent=1))
    before, after = (rates(runs[name]) for name in trees)
    _print_readme(runs["after"][0], arguments, after)
    fallen = _print_change(before, after)
    return 1 if fallen else 0


def _run(tree: Path, cases: Sequence[str], seconds: float) -> dict[str, Any]:
    path = os.pathsep.join([str(tree / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "benchmarks.peers", *cases, "--rounds", "1", "--seconds", str(seconds), "--json"]
    environment = {**os.environ, "PYTHONPATH": path}
    run = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, check=True)
    report: dict[str, Any] = json.loads(run.stdout)
    return report


def rates(reports: Sequence[Mapping[str, Any]]) -> Rates:
    """Return the rates of all rounds."""
    found: Rates = {}
    for report in reports:
        for result in report["results"]:
            peers = found.setdefault((result["case"], result["mode"]), {})
            for row in result["rows"]:
                if row["absent"]:
                    sys.stderr.write(f"{result['case']}: {row['peer']}: {row['absent']}\n")
                else:
                    peers.setdefault(row["peer"], []).append(row["figures"]["per_s"])
    return found


def _redis_pys(peers: Mapping[str, Sequence[float]]) -> list[float]:
    """Return the rate of the faster of redis-py's pools, of each round."""
    pools = (seen for peer, seen in peers.items() if peer.startswith("redis-py"))
    return [max(both) for both in zip(*pools, strict=False)]


def _print_readme(report: Mapping[str, Any], arguments: argparse.Namespace, after: Rates) -> None:
    versions = ", ".join(f"{name} {value}" for name, value in report["environment"].items())
    method = f"medians of {arguments.rounds} rounds of {arguments.seconds:g} s"
    rows = "".join(_readme_row(title, after[key]) for key, title in ROWS.items() if key in after)
    sys.stdout.write(f"{versions}; {report['server']}; {method}.\n\n{_HEAD}{rows}\n")


def _readme_row(title: str, peers: Mapping[str, Sequence[float]]) -> str:
    theirs = median(_redis_pys(peers))
    medians = (median(peers[name]) if name in peers else None for name in COLUMNS)
    cells = ("" if rate is None else f"{_spaced(rate)} ({rate / theirs:.1f}x)" for rate in medians)
    return f"| {title} | {_spaced(theirs)} | {' | '.join(cells)} |\n"


def _spaced(rate: float) -> str:
    return f"{rate:,.0f}".replace(",", " ")


def _print_change(before: Rates, after: Rates) -> bool:
    fallen = False
    sys.stdout.write("| case | peer | ratio before | ratio after | after / before | rate after / before |\n")
    sys.stdout.write("|---|---|---:|---:|---:|---:|\n")
    for title, peer, old, new, rate in _changes(before, after):
        fell = new < _FALLEN * old
        fallen = fallen or fell
        mark = " **fell**" if fell else ""
        sys.stdout.write(f"| {title} | {peer} | {old:.2f} | {new:.2f} | {new / old:.2f}{mark} | {rate:.2f} |\n")
    return fallen


def _changes(before: Rates, after: Rates) -> Iterator[tuple[str, str, float, float, float]]:
    """Yield each case and peer of redpool's, its ratio to redis-py before and after, and how its rate has changed.

    All are ratios within a round, and the medians of them: what else the machine does changes from round to round.
    """
    for key, peers in after.items():
        for peer in peers:
            if peer.startswith(REDPOOL) and peer in before.get(key, {}):
                old, new = (_each(seen[key][peer], _redis_pys(seen[key])) for seen in (before, after))
                yield " ".join(key), peer, old, new, _each(peers[peer], before[key][peer])


def _each(mine: Sequence[float], others: Sequence[float]) -> float:
    # A peer that failed in a round, which is told on standard error, has one rate less.
    return median(rate / other for rate, other in zip(mine, others, strict=False))


if __name__ == "__main__":
    sys.exit(main())
