"""What each case stands on: a private server behind a proxy, and callers that come when they are due.

The proxy is a process of its own, so that it waits for no interpreter lock. `DEBUG SLEEP` has the server work: it
serves nothing else meanwhile, as with any command, and leaves the processor to those that measure it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import redpool
import redpool.asyncio
from redpool import embedded
from redpool.testing import FaultProxy
from redpool.tuning.simulator import quantile
from redpool.tuning.workloads import Caller

Row: TypeAlias = dict[str, Any]
"""a line of a table: text and numbers by the headings of their columns"""

LATE = "late p99 ms"
"""the heading of the column that says how late callers came"""
MOST_LATE = 5.0
"""milliseconds: above this a row says more of the machine than of the pool"""

fork = multiprocessing.get_context("fork")
"""This process has no thread when it forks, so that a child has all that it needs."""

_PATIENCE = 10.0  # seconds
_LEFT = 0.5  # seconds for callers that are still there at the end


# -- the server --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ground:
    """A private server, and the URL of the proxy before it."""

    server: embedded.Server
    url: str
    _orders: Connection

    def delay(self, seconds: float) -> None:
        """Have each reply come so much later, from now on."""
        self._orders.send(seconds)
        self._orders.recv()

    async def stop(self, after: float, lasts: float) -> None:
        """Have the server stand still for so long, if at all, in so many seconds."""
        if not lasts:
            return
        await asyncio.sleep(after)
        self.server.pause()
        try:
            await asyncio.sleep(lasts)
        finally:
            self.server.resume()


@contextmanager
def ground() -> Iterator[Ground]:
    """Start a server and a proxy before it; both end with the block."""
    here, there = fork.Pipe()
    with debuggable() as server, here:
        proxy = fork.Process(target=_be_proxy, args=(here, there, server.host, server.port), daemon=True)
        proxy.start()
        there.close()
        try:
            yield Ground(server, here.recv(), here)
        finally:
            here.close()
            proxy.join(_PATIENCE)


def debuggable() -> embedded.Server:
    """Start a server that takes DEBUG; before Redis 7 all do, and know no such option."""
    with suppress(embedded.ServerFailed):
        return embedded.start(args=("--enable-debug-command", "local"))
    return embedded.start()


def _be_proxy(their_end: Connection, orders: Connection, host: str, port: int) -> None:
    """Delay replies as told, until the other end of `orders` is closed, as it is when its process is gone."""
    their_end.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with FaultProxy(host, port) as proxy, suppress(EOFError):
        orders.send(proxy.url)
        while True:
            proxy.delay(orders.recv())
            orders.send(None)


async def work(connection: Any, seconds: float) -> None:
    """Have the server work for so long."""
    await connection.send_command("DEBUG", "SLEEP", f"{seconds:.6f}")
    await connection.read_response()


async def capacity(url: str, seconds: float, lasts: float = 1.0, connections: int = 16) -> float:
    """Return how many calls a second the server does, each of which is `seconds` of work.

    `url` is the server's own: what it has read at once it answers at once, and behind a delay it would then be idle.
    """
    done, loop = 0, asyncio.get_running_loop()
    ends = loop.time() + lasts

    async def one_after_the_other(pool: redpool.asyncio.ConnectionPool) -> None:
        nonlocal done
        async with pool.connection() as connection:
            while loop.time() < ends:
                await work(connection, seconds)
                done += 1

    async with redpool.asyncio.ConnectionPool.from_url(url, max_connections=connections) as pool:
        await pool.warm_up(connections)
        ends = loop.time() + lasts
        await asyncio.gather(*(one_after_the_other(pool) for _ in range(connections)))
    return done / lasts


# -- the callers -------------------------------------------------------------------------------------------------------


@dataclass
class Played:
    """How it went to have callers come. Times are in seconds."""

    late: list[float] = field(default_factory=list)
    """by so much callers came later than they were due"""
    errors: Counter[str] = field(default_factory=Counter)
    """those that the calls have raised"""
    cpu: float = 0.0
    """share of a processor that this process has used"""

    def columns(self) -> Row:
        """Return what is worth knowing of each row: whether it was the server and the pool that were measured."""
        return {
            "errors": self.errors.total(),
            LATE: milliseconds(quantile(self.late, 0.99)),
            "client CPU": round(self.cpu, 2),
        }


async def play(callers: Sequence[Caller], call: Callable[[Caller], Awaitable[None]], seconds: float) -> Played:
    """Have each caller come at its time, whatever has become of those before, for so many seconds.

    Callers that are still there somewhat later are cancelled.
    """
    loop, played, tasks = asyncio.get_running_loop(), Played(), list[asyncio.Future[None]]()
    began, cpu = loop.time(), time.process_time()
    for caller in callers:
        due = began + caller.at
        if (early := due - loop.time()) > 0:
            await asyncio.sleep(early)
        played.late.append(loop.time() - due)
        tasks.append(asyncio.ensure_future(call(caller)))
    await asyncio.sleep(max(0.0, began + seconds - loop.time()))
    played.cpu = (time.process_time() - cpu) / (loop.time() - began)
    if tasks:
        await asyncio.wait(tasks, timeout=_LEFT)
    for task in tasks:
        task.cancel()
    for end in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(end, Exception):
            played.errors[type(end).__name__] += 1
    return played


class Watch(redpool.Instrument):
    """What a pool says of its callers. Times are in seconds, since `began` or in all."""

    def __init__(self) -> None:
        self.began = asyncio.get_running_loop().time()
        self.waits: list[tuple[float, float]] = []
        """when each wait ended, and how long it was"""
        self.uses: list[float] = []

    def now(self) -> float:
        """Return what time it is."""
        return asyncio.get_running_loop().time() - self.began

    def acquired(self, _pool: str, wait: float) -> None:
        """Note that a caller has waited for so long."""
        self.waits.append((self.now(), wait))

    def released(self, _pool: str, use: float) -> None:
        """Note that a connection was used for so long."""
        self.uses.append(use)

    def wait(self, share: float, since: float = 0.0) -> float:
        """Return what `share` of the waits that ended since then were at most."""
        return quantile([wait for at, wait in self.waits if at >= since], share)


@asynccontextmanager
async def alongside(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have these run until the block ends."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def milliseconds(seconds: float) -> float:
    """Return the same in milliseconds, as tables show it."""
    return round(seconds * 1000, 1)
