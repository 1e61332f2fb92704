"""Run each row on each side in a process of its own; one that hangs is killed."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
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
    with tempfile.TemporaryFile("w+") as log:
        printed = _printed(row, side, log.fileno(), limit)
        log.seek(0)
        said = log.read()
    if printed is None:
        finding = Finding(False, f"hung after {limit:g} s")
    elif not printed:
        finding = Finding(False, "the process ended without a finding")
    else:
        finding = Finding(**json.loads(printed))
    return Result(row, side, finding, said)


def _printed(row: Row, side: str, log: int, limit: float) -> bytes | None:
    """Return what the process of a row has printed; `None` where it had to be killed."""
    until = time.monotonic() + limit
    reading, writing = os.pipe()
    try:
        pid = _FORKING.fork([row.name, side], (writing, log))
    finally:
        os.close(writing)
    printed = b""
    try:
        while select.select([reading], [], [], max(0.0, until - time.monotonic()))[0]:
            part = os.read(reading, 65536)
            if not part:
                return printed
            printed += part
        _kill(pid)
        return None
    except BaseException:
        _kill(pid)
        raise
    finally:
        os.close(reading)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


class _Forking:
    """The process that has imported everything; it is started when it is first needed, and ends with this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: socket.socket | None = None

    def fork(self, asked: list[str], files: tuple[int, int]) -> int:
        """Have it fork a process with these as its output and its log. Return the id of that."""
        with self._lock:
            if self._requests is None:
                self._requests = self._start()
            socket.send_fds(self._requests, [json.dumps(asked).encode()], files)
            return int(self._requests.recv(64))

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        paths = [str(_ROOT), str(_ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.faults.child", str(theirs.fileno())],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        atexit.register(process.wait)
        atexit.register(ours.close)  # the last one comes first
        return ours


_FORKING = _Forking()
