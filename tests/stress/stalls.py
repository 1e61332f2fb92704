"""Run tests on a machine that stalls: `python -m stress.stalls [pytest's arguments]`; no test may depend on speed.

Now and again all processes of the tests, or one of them, stand still for a while, as they do on a machine that is
shared: processes that the tests have started, too, but for those that a test itself has stopped.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

BETWEEN = 2.0  # seconds, on average
STALL = 0.6  # seconds, at most
HALTED = {"T", "t", "Z", "X"}


def family(pid: int) -> list[int]:
    """Return the running processes below this one, parents before their children."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                if state(int(child)) not in HALTED:
                    found += [int(child), *family(int(child))]
    return found


def state(pid: int) -> str:
    """Return what the process does, in the kernel's letters."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def stall(processes: list[int], seconds: float) -> None:
    """Halt these processes for a while."""
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def main(arguments: list[str]) -> int:
    """Run pytest, and stall it until it ends; return its exit code."""
    dice = random.Random()
    tests = subprocess.Popen([sys.executable, "-m", "pytest", *arguments])
    while True:
        try:
            return tests.wait(dice.expovariate(1 / BETWEEN))
        except subprocess.TimeoutExpired:
            processes = [tests.pid, *family(tests.pid)]
            stall(processes if dice.random() < 0.5 else [dice.choice(processes)], dice.uniform(0.1, STALL))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
