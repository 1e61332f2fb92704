"""What the storm in `greenlets.py` leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STORM = Path(__file__).with_name("greenlets.py")
FORKED = Path(__file__).with_name("forked_greenlets.py")


@pytest.mark.parametrize("pool", ["ConnectionPool", "MultiplexedConnectionPool"])
def test_timeouts_interrupt_greenlets_anywhere(redis_url: str, pool: str) -> None:
    """Under gevent no reply reaches another greenlet and no slot is lost, wherever a timeout interrupts a call."""
    command = [sys.executable, str(STORM), redis_url, pool]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    left = json.loads(done.stdout)
    assert left["swapped"] == 0
    assert left["right"] > 0
    assert left["interrupted"] > 0
    assert (left["places"], left["open"], left["waiting"]) == (4, 0, 0)


def test_a_child_ends_its_parents_greenlets(redis_url: str, tmp_path: Path) -> None:
    """Silently; the parent's socket stays, and its report."""
    command = [sys.executable, str(FORKED), redis_url]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert (done.stdout, done.stderr) == ("seen", "")
