"""What is simulated is measured on a real server, too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CASES = ["advisor", "auto-jump", "budget", "overload-1.3", "priorities"]


def test_each_kind_of_case_is_measured() -> None:
    """For a moment each, in a process of its own, since the case of the budget forks."""
    command = [sys.executable, "-m", "benchmarks.real", *CASES, "--seconds", "0.02", "--json"]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["cases"]
    assert all(report[name] for name in CASES)
    assert [row["refused"] for row in report["budget"]] == [0, 0, 0]
