"""What recording costs can be measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("case", ["thread", "tasks"])
def test_each_call_is_recorded_on_the_sides_that_say_so(case: str) -> None:
    """In a process of its own, since OpenTelemetry's provider is set once in a process."""
    command = [sys.executable, "-m", "benchmarks.recording", case, "--rounds", "1", "--seconds", "0.02", "--json"]
    report = json.loads(subprocess.run(command, capture_output=True, check=True, cwd=ROOT).stdout)["cases"][case]
    recorded = {side: figures["recorded"] for side, figures in report["sides"].items()}
    assert recorded == {"redpool": 0, "redpool, recording": 1, "redis-py": 0, "redis-py, recording": 1}
    assert all(figures["cpu_us"] > 0 and not figures["errors"] for figures in report["sides"].values())
    assert len(report["ratios"]) == 2
