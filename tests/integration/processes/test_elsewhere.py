"""Systems that lack what Linux has. They can't be had here, so a Linux without it has to stand for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
ROUND = [
    "dedicated/test_clients.py",
    "multiplexed/test_commands.py",
    "multiplexed/test_pipelines.py",
    "multiplexed/test_paths.py",
]


def test_what_windows_lacks_is_not_needed() -> None:
    """A round of both pools and both clients in both shells, over plain connections and TLS."""
    files = [str(TESTS / "integration" / each) for each in ROUND]
    plugins = ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "integration.processes.elsewhere"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, *files],
        cwd=TESTS.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:]
