"""Run one row on one side, in a process of its own: `python -m benchmarks.faults.child ROW SIDE` prints it as JSON."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import traceback

from redpool import embedded

from .rows import Finding, Row, all_rows
from .sides import side


def find(row: Row, name: str) -> Finding:
    """Bring the fault about on one side, and return the finding; a row that raises has not held."""
    with embedded.start(args=row.server) as server:
        try:
            found = row.check(side(name, server))
            return found if isinstance(found, Finding) else asyncio.run(found)
        except Exception as error:
            traceback.print_exc()
            return Finding(False, f"broke off: {type(error).__name__}: {error}")


def main(name: str, side_name: str) -> None:
    """Print the finding of a row on a side as JSON, and exit."""
    (row,) = (each for each in all_rows() if each.name == name)
    finding = find(row, side_name)
    sys.stdout.write(json.dumps(dataclasses.asdict(finding)))
    sys.stdout.flush()
    # A thread or a loop that the fault has left hanging must not keep the process alive.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
