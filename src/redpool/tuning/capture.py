"""Records of the pools of another program: it is started with a word in its environment, and leaves them behind.

`site/sitecustomize.py` is what runs in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..core.record import Record

DIRECTORY, SECONDS = "REDPOOL_TUNE_DIRECTORY", "REDPOOL_TUNE_SECONDS"
SITE = str(Path(__file__).parent / "site")
_STDERR = 2
_GRACE = 5.0
"""seconds for processes to write after the time is up"""
_QUIET = 0.5
"""seconds after which no further process is waited for"""
_LOOK_EVERY = 0.1


class Captured(NamedTuple):
    """The records of a program's pools, by process, and how the program ended: `None` where it was still running."""

    records: list[list[Record]]
    status: int | None


def run(command: Sequence[str], seconds: float, tell: Callable[[float], None], silent: bool = False) -> Captured:
    """Run a program for so long, and return the records of its pools; it is ended where it is still running then.

    `tell` hears how many seconds have passed.
    With `silent` the program prints to standard error alone. Raises `OSError` where it can't be started.
    """
    with tempfile.TemporaryDirectory(prefix="redpool-tune-") as directory:
        environment = {**os.environ, DIRECTORY: directory, SECONDS: str(seconds)}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (SITE, environment.get("PYTHONPATH"))))
        began = time.monotonic()
        program = subprocess.Popen(command, env=environment, stdout=_STDERR if silent else None)
        try:
            while program.poll() is None and (passed := time.monotonic() - began) < seconds:
                tell(passed)
                time.sleep(_LOOK_EVERY)
            records = _collected(Path(directory), program)
        finally:
            status = program.poll()
            _end(program)
        return Captured(records, status)


def _collected(directory: Path, program: subprocess.Popen[bytes]) -> list[list[Record]]:
    """Return what was written, once all that has begun is written."""
    until = time.monotonic() + _GRACE
    while time.monotonic() < until and program.poll() is None and not _settled(directory):
        time.sleep(_LOOK_EVERY)
    return [read(path.read_bytes()) for path in sorted(directory.glob("*.json"))]


def _settled(directory: Path) -> bool:
    """Return whether the processes have written, the last of them a while ago."""
    written = [path.stat().st_mtime for path in directory.glob("*.json")]
    return bool(written) and not any(directory.glob("*.part")) and time.time() - max(written) > _QUIET


def _end(program: subprocess.Popen[bytes]) -> None:
    if program.poll() is None:
        program.terminate()
        try:
            program.wait(_GRACE)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()


def read(text: str | bytes) -> list[Record]:
    """Return the records in a file: one, or several in a list. Raises `ValueError` for anything else."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ValueError(f"not a record: {error}") from None
    return [Record.from_json(json.dumps(each)) for each in (document if isinstance(document, list) else [document])]
