"""Run each case on both sides, each time on a server of its own, and print a Markdown table."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

from redpool import embedded
from redpool.testing import FaultProxy

from .cases import CASES, Case

_HEAD = "| library | callers | redis-py's pool: connections, failed calls | redpool's |\n|---|---:|---|---|"


class Load(NamedTuple):
    """So many callers at once, each with so many calls, and the seconds by which each reply comes later."""

    callers: int
    calls: int
    delay: float


class Found(NamedTuple):
    """What one side had: connections, calls, and those of them that failed, by error."""

    connections: int
    calls: int
    failed: Counter[str]

    def __str__(self) -> str:
        kinds = ", ".join(name for name, _ in self.failed.most_common())
        return f"{self.connections}; {self.failed.total()} of {self.calls}" + (f" ({kinds})" if kinds else "")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return 0; 1 where a call over redpool's pool has failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stacks", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--callers", type=int, default=200, help="how many call at once (default: 200)")
    parser.add_argument("--calls", type=int, default=5, help="how often each of them calls (default: 5)")
    parser.add_argument("--delay", type=float, default=2.0, help="ms by which each reply comes later (default: 2)")
    arguments = parser.parse_args(argv)
    load = Load(arguments.callers, arguments.calls, arguments.delay / 1000)
    sys.stdout.write(_HEAD + "\n")
    failed = 0
    for name in arguments.cases or CASES:
        theirs, ours = (measure(CASES[name], side, load) for side in (False, True))
        sys.stdout.write(f"| {name} {version(name)} | {load.callers} | {theirs} | {ours} |\n")
        sys.stdout.flush()
        failed += ours.failed.total()
    return int(failed > 0)


def measure(case: Case, ours: bool, load: Load) -> Found:
    """Return what becomes of the load, over a network with that delay."""
    with embedded.start() as server, FaultProxy(server.host, server.port) as network:
        network.delay(load.delay)
        failed = asyncio.run(_call(case, network.url, ours, load))
        return Found(network.connections, load.callers * load.calls, failed)


async def _call(case: Case, url: str, ours: bool, load: Load) -> Counter[str]:
    failed: Counter[str] = Counter()
    async with case(url, ours, load.callers) as call:

        async def caller() -> None:
            for _ in range(load.calls):
                try:
                    await call()
                except Exception as error:
                    failed[type(error).__name__] += 1

        await asyncio.gather(*(caller() for _ in range(load.callers)))
    return failed


if __name__ == "__main__":
    sys.exit(main())
