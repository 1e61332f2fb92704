"""What tests run in processes of their own, since interruptions would hit pytest, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_TESTS = Path(__file__).parents[3]


def said_by(program: str, *arguments: str, seconds: float = 120.0) -> Any:
    """Run a program of this folder; return what it says in the end, or fail the test where it crashes or hangs."""
    paths = [str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-X", "faulthandler", "-m", f"{__name__}.{program}", *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.fail(f"{program} stands still")
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)
