"""Each kind in a process of its own, which may crash or hang: what it found, and what it wrote to standard error."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from support.crowds import KINDS, PATIENCE

from .child import Found

EVERY_KIND = list(itertools.product(("threads", "asyncio"), KINDS))
_TESTS = Path(__file__).parents[2]


def run(shell: str, kind: str, seconds: float) -> tuple[Found, str]:
    """Run one kind with this interpreter. A process that ends by a signal, or that hangs, is a finding as well."""
    paths = [str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    child = subprocess.Popen(
        [sys.executable, "-m", "stress.switching.child", shell, kind, str(seconds)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that its server can be ended with it
    )
    try:
        raised, log = child.communicate(timeout=4 * seconds + 8 * PATIENCE)
    except subprocess.TimeoutExpired:
        log = "hung"
    finally:
        os.killpg(child.pid, signal.SIGKILL) if child.poll() is None else None
    if child.returncode == 0:
        return Found(**json.loads(raised)), log
    end = child.returncode
    how = f"crashed: {signal.Signals(-end).name}" if end is not None and end < 0 else f"ended with status {end}"
    return Found(wrong=[how]), log
