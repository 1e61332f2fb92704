"""Run each row on each side in a process of its own; one that hangs is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .rows import Finding, Row
from .sides import SHARING

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Result:
    """The finding of a row on a side, and what the process wrote to standard error."""

    row: Row
    side: str
    finding: Finding
    log: str


def run(row: Row, side: str, patience: float = 1.0) -> Result:
    """Run `row` on `side`, and return the result; it counts as hung after `patience` times its limit."""
    if side in SHARING and row.unshared:
        return Result(row, side, Finding(None, row.unshared), "")
    limit = patience * row.limit
    paths = [str(_ROOT), str(_ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.faults.child", row.name, side],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that its forked children can be killed with it
    )
    try:
        printed, log = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        _kill(child)
        _, log = child.communicate()
        return Result(row, side, Finding(False, f"hung after {limit:g} s"), log)
    except BaseException:
        _kill(child)
        raise
    return Result(row, side, _finding(printed, child.returncode), log)


def _kill(child: subprocess.Popen[str]) -> None:
    os.killpg(child.pid, signal.SIGKILL)


def _finding(printed: str, status: int) -> Finding:
    if status:
        return Finding(False, f"the process ended with status {status}")
    return Finding(**json.loads(printed))
