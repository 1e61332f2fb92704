"""Run `redpool bench --json` with the given arguments, and write results.json and a Markdown table beside this file.

python benchmarks/record.py [CASE ...] [--rounds N] [--seconds S] ...

With `--floor` the files are floor.json and floor.md.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_HEAD = "| case | placement | compared with | there | redpool | ratio | targets |\n|---|---|---|---:|---:|---:|---|\n"
_FLOOR_HEAD = (
    "| CPU us of a GET | floor | redpool | share | bare | redis-py's | ours | server's |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|\n"
)
_UNITS = {"us": "us", "per_s": "/s", "done_ms": "ms", "bytes_beyond": "bytes"}


def main() -> int:
    """Measure, write both files, and return the exit status of the bench."""
    command = [sys.executable, "-m", "redpool", "bench", "--json", *sys.argv[1:]]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not run.stdout:
        return run.returncode
    name = "floor" if "--floor" in sys.argv else "results"
    (_HERE / f"{name}.json").write_text(run.stdout)
    (_HERE / f"{name}.md").write_text(markdown(json.loads(run.stdout)))
    return run.returncode


def markdown(report: dict[str, Any]) -> str:
    """Return the report's main figures as a Markdown table, with the machine that they were measured on."""
    machine = ", ".join(f"{name} {value}" for name, value in report["environment"].items())
    method = f"medians of {report['rounds']} rounds of {report['seconds']:g} s"
    if "rows" in report:
        table = _FLOOR_HEAD + "".join(_floor_row(row) for row in report["rows"])
    else:
        table = _HEAD + "".join(_row(result) for result in report["results"])
    return f"{machine}; {report['server']}; {method}.\n\n{table}"


def _floor_row(row: dict[str, Any]) -> str:
    parts = (*row["parts"].values(), row["server_us"])
    figures = (f"{value:.1f}" for value in (row["floor_us"], row["ours_us"]))
    cells = (row["about"], *figures, f"{row['share']:.2f}", *(f"{value:.1f}" for value in parts))
    return f"| {' | '.join(cells)} |\n"


def _row(result: dict[str, Any]) -> str:
    (first, there), *_ = sides = list(result["sides"].items())
    name, here = sides[-1]
    compared, before = (first, _amount(there, result["main"])) if first != name else ("", "")
    ratio = "" if result["ratio"] is None else f"{result['ratio']:.2f}"
    targets = "; ".join(
        f"{verdict['target']}: {verdict['value']:.4g}{'' if verdict['met'] else ' **missed**'}"
        for verdict in result["verdicts"]
    )
    cells = (result["case"], result["mode"], compared, before, _amount(here, result["main"]), ratio, targets)
    return f"| {' | '.join(cells)} |\n"


def _amount(figures: dict[str, float], main_figure: str) -> str:
    value = figures[main_figure]
    digits = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return f"{digits} {_UNITS[main_figure]}"


if __name__ == "__main__":
    sys.exit(main())
