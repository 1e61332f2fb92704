"""Every kind of pool at once under faults and interruptions, for 9 seconds. `make soak` runs it for longer."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from support import crowds

from .meters import Reading, growth

_TESTS = Path(__file__).parents[2]


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc on this platform")
def test_nothing_grows() -> None:
    """After the warm-up memory, threads, sockets and objects stay what they are.

    All replies were right, and in the end all slots are free: for every kind of pool and client, threads and tasks.
    """
    paths = [str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "stress.soak", "9"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_what_is_dropped_meanwhile_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a thread has while a test begins to wait for its end: a pool in a cycle, and so that pool's maintenance."""
    monkeypatch.setattr(crowds, "_COLLECTS_EVERY", 0.01)

    class InACycle:
        def __init__(self) -> None:
            self.itself = self

    held = [InACycle()]
    gone = weakref.ref(held[0])
    assert crowds.eventually(lambda: held.clear() or gone() is None)  # type: ignore[func-returns-value]


def test_growth_is_seen() -> None:
    """What grows all the time is distinguished from what goes up and down."""
    steady = [Reading(50.0 + second % 3, 9.0, 20.0 + second % 5, 90_000.0) for second in range(60)]
    assert not growth(steady)
    assert growth([Reading(50.0 + second / 2, 9.0, 20.0, 90_000.0) for second in range(60)])
    assert growth([Reading(50.0, 9.0 + second // 4, 20.0, 90_000.0) for second in range(60)])
    assert growth([Reading(50.0, 9.0, 20.0 + second, 90_000.0) for second in range(60)])
    assert growth([Reading(50.0, 9.0, 20.0, 90_000.0 + 500 * second) for second in range(60)])
