"""Processes with one budget, as the server of their connections sees them.

Twelve are hungry: twenty callers each, that keep a connection for 0.2 s, one lease after the other. Eight have one such
caller. The server takes no more connections than the budget: *refused* are those above it, *most* the most that CLIENT
LIST has shown. At the end of each row, a *hungry* process has so many connections; *fair* is Jain's index over them.
The table of the budget is on a server of its own. A killed process has its share for 15 s more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from typing import Any

import redis

import redpool
import redpool.asyncio
from redpool import embedded
from redpool.tuning.simulator import quantile
from redpool.wire import client_names

from .ground import LATE, Ground, Row, alongside, fork, milliseconds, work

CONNECTIONS = 100
HUNGRY, MODEST = 12, 8
CALLERS = 20
"""of a hungry process"""
HOLD = 0.2
ROUND_TRIP = 0.005
APART = 0.1
"""seconds from the start of one process to that of the next"""
LOOK_EVERY = 0.05
PATIENCE = 2.0
GOODBYE = 0.5
"""seconds in which a process says that it gives its share back: a fork runs nothing at its exit"""


def rows(ground: Ground, seconds: float, seed: int) -> Iterator[Row]:
    """Have processes come, lose the table, and die; look meanwhile."""
    ground.delay(ROUND_TRIP)
    ends = time.monotonic() + seconds
    with embedded.start() as table, _bounded(ground.server, CONNECTIONS) as observer:
        fleet = _Fleet(ground.url, table.url, observer, ends)
        try:
            fleet.come(HUNGRY, CALLERS)
            fleet.come(MODEST, 1)
            yield fleet.watched(f"{HUNGRY + MODEST} come", ends - 0.72 * seconds)
            table.pause()
            yield fleet.watched("the table's server stands still", ends - 0.58 * seconds)
            table.resume()
            fleet.lose(3, signal.SIGKILL)
            fleet.lose(2, signal.SIGTERM)
            fleet.come(3, CALLERS)
            yield fleet.watched("3 are killed, 2 end, 3 come", ends)
        finally:
            fleet.end()


@contextmanager
def _bounded(server: embedded.Server, connections: int) -> Iterator[redis.Redis]:
    """Have the server take no more connections for the time of a block, beside that of the client that it yields."""
    with redis.Redis(host=server.host, port=server.port, single_connection_client=True) as observer:
        before = observer.config_get("maxclients")["maxclients"]
        observer.config_resetstat()
        observer.config_set("maxclients", connections + 1)
        try:
            yield observer
        finally:
            observer.config_set("maxclients", before)


class _Fleet:
    """The processes, and what the server says of their connections."""

    def __init__(self, url: str, table: str, observer: redis.Redis, ends: float) -> None:
        self._url, self._table, self._observer, self._ends = url, table, observer, ends
        self._there: list[BaseProcess] = []
        self._hungry: set[BaseProcess] = set()

    def come(self, processes: int, callers: int) -> None:
        """Have so many more come, one after the other."""
        for place in range(processes):
            lasts = self._ends - time.monotonic()
            arguments = (self._url, self._table, callers, place * APART, lasts + PATIENCE)
            process = fork.Process(target=_process, args=arguments, daemon=True)
            process.start()
            self._there.append(process)
            if callers > 1:
                self._hungry.add(process)

    def lose(self, processes: int, by: signal.Signals) -> None:
        """Send the signal to so many of the hungry ones."""
        for process in sorted(self._hungry, key=lambda each: each.pid or 0)[:processes]:
            os.kill(process.pid or 0, by)
            self._hungry.remove(process)

    def end(self) -> None:
        """Kill all, and wait for them."""
        for process in self._there:
            process.kill()
        for process in self._there:
            process.join()

    def watched(self, what: str, until: float) -> Row:
        """Look until then; return what was seen."""
        most, late, due = 0, list[float](), time.monotonic()
        counted = self._look()
        while (due := due + LOOK_EVERY) < until:
            time.sleep(max(0.0, due - time.monotonic()))
            late.append(time.monotonic() - due)
            counted = self._look()
            most = max(most, counted.total())
        shares = [counted[process.pid] for process in self._hungry]
        rejected: Any = self._observer.info("stats")
        return {
            "meanwhile": what,
            "processes": sum(process.is_alive() for process in self._there),
            "budget": CONNECTIONS,
            "most": most,
            "refused": rejected["rejected_connections"],
            "at the end": counted.total(),
            "a hungry one": f"{min(shares)} to {max(shares)}",
            "fair": round(_fair(shares), 3),
            LATE: milliseconds(quantile(late, 0.99)),
        }

    def _look(self) -> Counter[int | None]:
        """Return how many connections each process has, by its id."""
        found = Counter[int | None]()
        own = self._observer.client_id()
        clients: Any = self._observer.client_list()
        for client in clients:
            if int(client["id"]) != own:
                name = client_names.read(client["name"])
                found[name.pid if name else None] += 1
        return found


def _fair(shares: list[int]) -> float:
    """Return how evenly something is shared (Jain, Chiu and Hawe 1984): 1 where all have as much."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


def _process(url: str, table: str, callers: int, pause: float, lasts: float) -> None:
    """Be one of the processes, until SIGTERM or for so long."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("redpool").setLevel(logging.ERROR)  # that the table is away is known
    asyncio.run(_calling(url, table, callers, pause, lasts))


async def _calling(url: str, table: str, callers: int, pause: float, lasts: float) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    budget = redpool.Budget(table, "benchmark", connections=CONNECTIONS)
    pool = redpool.asyncio.ConnectionPool.from_url(url, budget=budget, timeout=None)

    async def call_again_and_again() -> None:
        while not over.is_set():
            async with pool.connection() as connection:
                await work(connection, 0.0)
                await asyncio.sleep(HOLD)

    await asyncio.sleep(pause)
    async with alongside(*(call_again_and_again() for _ in range(callers))):
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), lasts)
    await pool.shutdown(timeout=PATIENCE)
    budget.close()
    await asyncio.sleep(GOODBYE)
