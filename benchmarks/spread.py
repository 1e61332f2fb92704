"""Measure what further shared connections give, and whether the pool finds that out by itself.

::

    python benchmarks/spread.py [--server PROGRAM] [--args "--io-threads 3"] [--seconds 1] [--rounds 3]

The first table has the GETs per second over 1, 2 and 4 shared connections, in turn, and their ratios to the first. Then
a pool runs that may have 4, until it has decided; what it has decided is printed. It does so for threads and for tasks,
on a Redis server and on a made-up one that serves each connection by itself, at a fixed pace.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import redpool
import redpool.asyncio
from redpool import embedded
from redpool.testing import ScriptedServer, Slow

COUNTS = (1, 2, 4)
PACE = 0.002
"""Seconds that the made-up server takes for a command."""

PATIENCE = 60.0


class Load:
    """Callers in a loop of GETs, and the pool that they use."""

    def __init__(self, url: str, callers: int, most: int) -> None:
        self.options: dict[str, Any] = {"shared_connections": most, "protocol": 2, "driver_info": None}
        self.url, self.callers, self.most = url, callers, most
        self.done = [0] * callers
        self.running = True
        self.pool: Any = None

    def multiplexed(self) -> Any:
        """Return the pool's multiplexed connections."""
        raise NotImplementedError

    def spread_out(self) -> None:
        """Have all there may be, and no trial."""
        spread = self.multiplexed().spread
        spread.kept = spread.wanted = spread.taking = self.most
        wait_for(lambda: self.pool.stats().in_use == self.most)

    def rate(self, seconds: float) -> float:
        """Return the GETs per second, in so many seconds."""
        before, began = sum(self.done), time.perf_counter()
        time.sleep(seconds)
        return (sum(self.done) - before) / (time.perf_counter() - began)


class Threads(Load):
    """Threads over `redpool.Redis`."""

    name = "threads"

    def __init__(self, url: str, callers: int, most: int) -> None:
        super().__init__(url, callers, most)
        self._client = redpool.Redis.from_url(url, **self.options)
        self.pool = self._client.connection_pool
        self._client.get("key")
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(callers)]
        for thread in self._threads:
            thread.start()

    def _work(self, number: int) -> None:
        while self.running:
            self._client.get("key")
            self.done[number] += 1

    def multiplexed(self) -> Any:
        """Return the pool's multiplexed connections."""
        return self.pool._engine.multiplexed  # noqa: SLF001

    def stop(self) -> None:
        """End all."""
        self.running = False
        for thread in self._threads:
            thread.join()
        self.pool.shutdown()


class Tasks(Load):
    """Tasks over `redpool.asyncio.Redis`."""

    name = "tasks"

    def __init__(self, url: str, callers: int, most: int) -> None:
        super().__init__(url, callers, most)
        self._begun = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))
        self._thread.start()
        self._begun.wait(PATIENCE)

    async def _main(self) -> None:
        client = redpool.asyncio.Redis.from_url(self.url, **self.options)
        self.pool = client.connection_pool
        await client.get("key")
        self._begun.set()

        async def work(number: int) -> None:
            while self.running:
                await client.get("key")
                self.done[number] += 1

        await asyncio.gather(*(work(number) for number in range(self.callers)))
        await self.pool.shutdown()

    def multiplexed(self) -> Any:
        """Return the pool's multiplexed connections."""
        return self.pool._view().multiplexed  # noqa: SLF001

    def stop(self) -> None:
        """End all."""
        self.running = False
        self._thread.join()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it is so, or for long enough."""
    until = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)


def fixed(kind: Any, url: str, callers: int, seconds: float, rounds: int) -> str:
    """Return a row of the table."""
    rates: dict[int, list[float]] = {most: [] for most in COUNTS}
    for _ in range(rounds):
        for most in COUNTS:
            load = kind(url, callers, most)
            try:
                load.spread_out()
                load.rate(seconds / 4)
                rates[most].append(load.rate(seconds))
            finally:
                load.stop()
    medians = {most: statistics.median(each) for most, each in rates.items()}
    shown = [f"{medians[most]:>9.0f} ({medians[most] / medians[1]:.2f})" for most in COUNTS]
    return f"{callers:>5} {kind.name:<8}" + "".join(shown)


def learned(kind: Any, url: str, callers: int) -> str:
    """Return what a pool has decided that may have as many as the last column."""
    load = kind(url, callers, COUNTS[-1])
    try:
        spread = load.multiplexed().spread
        wait_for(lambda: spread.kept == spread.most or any("gave up" in what for _, what in spread.decisions.copy()))
        lines = [f"{callers:>5} {kind.name:<8} {spread.kept} kept"]
        return "\n".join(lines + [f"        {each.what}" for each in load.pool.dump().decisions])
    finally:
        load.stop()


def compare(title: str, url: str, loads: list[tuple[Any, int]], seconds: float, rounds: int) -> None:
    """Print both tables for a server."""
    show(f"\n{title}: GETs per second over {COUNTS} shared connections")
    for kind, callers in loads:
        show(fixed(kind, url, callers, seconds, rounds))
    show(f"{title}: what a pool finds out that may have {COUNTS[-1]}")
    for kind, callers in loads:
        show(learned(kind, url, callers))


def show(text: str) -> None:
    """Print it at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def serve_each(sender: Any) -> None:
    """Be the made-up server: each connection has its own pace, as if a thread served it."""
    with ScriptedServer() as server:
        server.answer("GET", Slow(PACE))
        sender.send(server.url)
        sender.recv()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--server", help="the program to measure, by default the one that the tests use")
    parser.add_argument("--args", default="", help="options of the server's, such as '--io-threads 3'")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with embedded.start(binary=given.server, args=given.args.split()) as server:
        for size in (30, 16_000):
            with redpool.Redis.from_url(server.url) as client:
                client.set("key", b"x" * size)
            loads = [(Tasks, 100), (Tasks, 1000), (Threads, 32)]
            compare(f"Redis {given.args}, {size} bytes", server.url, loads, given.seconds, given.rounds)
    here, there = multiprocessing.get_context("spawn").Pipe()
    child = multiprocessing.get_context("spawn").Process(target=serve_each, args=(there,))
    child.start()
    try:
        compare("made up", here.recv(), [(Tasks, 100), (Threads, 32)], given.seconds, given.rounds)
    finally:
        here.send(None)
        child.join()


if __name__ == "__main__":
    main()
