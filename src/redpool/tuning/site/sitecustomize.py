"""Python begins with this under `redpool tune --record`: it leaves the records of the program's pools behind.

A thread sleeps until the time is up, and then writes the records of all pools that are still there, one file for each
process; where the process ends sooner, they are written then. It imports nothing that the program might want to patch
first, redpool included.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import sys
import threading
import time
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path


class _Writer:
    """Writes the records of one process once."""

    def __init__(self, directory: Path, seconds: float) -> None:
        self._directory, self._until = directory, time.monotonic() + seconds
        self._written_by = 0

    def begin(self) -> None:
        """Begin in this process, and in those that are forked."""
        atexit.register(self.write)
        self._start()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._start)

    def _start(self) -> None:
        threading.Thread(target=self._wait, name="redpool tune", daemon=True).start()

    def _wait(self) -> None:
        time.sleep(max(0.0, self._until - time.monotonic()))
        self.write()

    def write(self) -> None:
        """Write the records of the pools that are there; none where no pool was used."""
        if self._written_by == os.getpid() or "redpool.registry" not in sys.modules:
            return
        self._written_by = os.getpid()
        records = []
        for pool in sys.modules["redpool.registry"].noted():
            with suppress(Exception):  # one pool that can't say is no reason to lose the others
                records.append(json.loads(pool.record().to_json()))
        if records:
            unfinished = self._directory / f"{os.getpid()}.part"
            unfinished.write_text(json.dumps(records), encoding="utf-8")
            unfinished.rename(unfinished.with_suffix(".json"))


def _run_the_one_that_is_hidden() -> None:
    """Run the `sitecustomize` that Python would have found without this one.

    It stands further back in the path. In front there may be one that is running this one: `redpool tune --record` and
    `redpool run` go together.
    """
    here = str(Path(__file__).parent)
    spec = PathFinder.find_spec(__name__, sys.path[sys.path.index(here) + 1 :] if here in sys.path else [])
    if spec is not None and spec.loader is not None:
        module = sys.modules[__name__] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


_run_the_one_that_is_hidden()
if "REDPOOL_TUNE_DIRECTORY" in os.environ:
    _Writer(Path(os.environ["REDPOOL_TUNE_DIRECTORY"]), float(os.environ["REDPOOL_TUNE_SECONDS"])).begin()
