"""Trace the calls within the package that one action of a user's causes, and print how many there are.

::

    python benchmarks/walks.py [WALK ...] [--list]

For each walk it prints the calls within the package, the files that they are in, the crossings (calls whose nearest
caller in the package is in another file) and the returns (crossings into a file that the walk had been in before).
`--list` prints each call, indented by its depth in the package. Each walk is taken five times, and the shortest is
printed, since the others may include a run of the maintenance thread.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dis
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

import redpool
import redpool.asyncio
from redpool import embedded
from redpool.testing import FaultProxy

_PACKAGE = str(Path(redpool.__file__).parent) + "/"
# These take the server's part.
_NOT_THE_POOL = (_PACKAGE + "testing/", _PACKAGE + "embedded.py")
_RESUME = dis.opmap["RESUME"]
_TIMES = 5


class Call(NamedTuple):
    """One call of a function in the package."""

    file: str
    name: str
    caller: str | None
    """the file of the nearest caller in the package; `None` where the user's code or redis-py's called"""
    depth: int


class Walk:
    """The calls within the package while the block runs, in this thread and in threads that `note` profiles."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._on = False

    def __enter__(self) -> Walk:
        self._on = True
        sys.setprofile(self.note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        self._on = False

    def note(self, frame: FrameType, event: str, _: object) -> None:
        """Note a call within the package, as a function for `sys.setprofile`."""
        if event != "call" or not self._on or not _is_ours(frame) or _goes_on(frame):
            return
        depth, caller, outer = 0, None, frame.f_back
        while outer is not None:
            if _is_ours(outer):
                caller = caller or _file(outer)
                depth += 1
            outer = outer.f_back
        self.calls.append(Call(_file(frame), frame.f_code.co_qualname, caller, depth))

    def figures(self) -> dict[str, int]:
        """Return the figures that the table shows, by name."""
        crossings = returns = 0
        seen: set[str] = set()
        for call in self.calls:
            if call.caller is not None and call.caller != call.file:
                crossings += 1
                returns += call.file in seen
            seen.add(call.file)
        return {"calls": len(self.calls), "files": len(seen), "crossings": crossings, "returns": returns}


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return name.startswith(_PACKAGE) and not name.startswith(_NOT_THE_POOL)


def _file(frame: FrameType) -> str:
    return frame.f_code.co_filename.removeprefix(_PACKAGE)


def _goes_on(frame: FrameType) -> bool:
    """Return whether a coroutine or generator is resumed here, which is no call."""
    at, code = frame.f_lasti, frame.f_code.co_code
    return code[at] != _RESUME or code[at + 1] & 3 != 0


# -- the walks: each gets a server, and records the calls of one action ------------------------------------------------

Server = embedded.Server
Once = Callable[[Server], Walk]


def checkout_thread(server: Server) -> Walk:
    with redpool.ConnectionPool.from_url(server.url) as pool:
        pool.release(pool.get_connection())
        with Walk() as walk:
            pool.release(pool.get_connection())
    return walk


async def checkout_task(server: Server) -> Walk:
    async with redpool.asyncio.ConnectionPool.from_url(server.url) as pool:
        await pool.release(await pool.get_connection())
        with Walk() as walk:
            await pool.release(await pool.get_connection())
    return walk


def multiplexed_get_thread(server: Server) -> Walk:
    with redpool.Redis.from_url(server.url) as client:
        for _ in range(3):
            client.get("key")
        with Walk() as walk:
            client.get("key")
    return walk


async def multiplexed_get_task(server: Server) -> Walk:
    async with redpool.asyncio.Redis.from_url(server.url) as client:
        for _ in range(3):
            await client.get("key")
        with Walk() as walk:
            await client.get("key")
    return walk


def handover_threads(server: Server) -> Walk:
    """Trace a waiter from its call to its connection, the other thread's release, and the maintenance thread's part."""
    walk, taken = Walk(), list[Any]()
    threading.setprofile(walk.note)
    try:
        with redpool.ConnectionPool.from_url(server.url, max_connections=1) as pool:
            held = pool.get_connection()
            waiter = threading.Thread(target=lambda: taken.append(pool.get_connection()))
            with walk:
                waiter.start()
                time.sleep(0.05)
                pool.release(held)
                waiter.join()
            pool.release(taken.pop())
    finally:
        threading.setprofile(None)
    return walk


def timeout_thread(server: Server) -> Walk:
    pool = redpool.ConnectionPool.from_url(server.url, max_connections=1, timeout=0.2)
    with pool, pool.connection(), Walk() as walk, contextlib.suppress(redpool.PoolTimeout):
        pool.get_connection()
    return walk


async def timeout_task(server: Server) -> Walk:
    pool = redpool.asyncio.ConnectionPool.from_url(server.url, max_connections=1, timeout=0.2)
    async with pool, pool.connection():
        await asyncio.sleep(0.3)  # until the borrower's own wait would have ended: that tick is not of this walk
        with Walk() as walk, contextlib.suppress(redpool.PoolTimeout):
            await pool.get_connection()
    return walk


def deadline_ends_get(server: Server) -> Walk:
    with FaultProxy(server.host, server.port) as proxy, redpool.ConnectionPool.from_url(proxy.url) as pool:
        client = redis.Redis(connection_pool=pool)
        client.get("key")
        proxy.black_hole()
        with Walk() as walk, contextlib.suppress(redis.TimeoutError), redpool.deadline(0.05):
            client.get("key")
    return walk


def incr_is_lost(server: Server) -> Walk:
    with FaultProxy(server.host, server.port) as proxy, redpool.Redis(proxy.host, proxy.port) as client:
        for _ in range(3):
            client.get("key")
        proxy.black_hole()
        hang_up = threading.Timer(0.05, proxy.hang_up)
        hang_up.start()
        with Walk() as walk, contextlib.suppress(redpool.ReplyLost):
            client.incr("key")
        hang_up.join()
    return walk


def multiplexed_retry(server: Server) -> Walk:
    with FaultProxy(server.host, server.port) as proxy, redpool.Redis(proxy.host, proxy.port) as client:
        return _found_dead(proxy, lambda: client.get("key"))


def dedicated_retry(server: Server) -> Walk:
    with FaultProxy(server.host, server.port) as proxy, redpool.ConnectionPool.from_url(proxy.url) as pool:
        client = redis.Redis(connection_pool=pool)
        pool.set_retry(Retry(NoBackoff(), 3))
        return _found_dead(proxy, lambda: client.get("key"))


def _found_dead(proxy: FaultProxy, get: Callable[[], Any]) -> Walk:
    """Have the server hang up, and then trace the call itself, its connect included."""
    for _ in range(3):
        get()
    proxy.hang_up()
    time.sleep(0.02)
    with Walk() as walk:
        get()
    return walk


WALKS: dict[str, Once | Callable[[Server], Coroutine[Any, Any, Walk]]] = {
    "checkout + release, warm, thread": checkout_thread,
    "checkout + release, warm, task": checkout_task,
    "multiplexed GET, thread": multiplexed_get_thread,
    "multiplexed GET, task": multiplexed_get_task,
    "hand-over between two threads": handover_threads,
    "timeout, thread": timeout_thread,
    "timeout, task": timeout_task,
    "a deadline ends a dedicated GET": deadline_ends_get,
    "INCR on a multiplexed connection that is lost": incr_is_lost,
    "retry over a multiplexed connection found dead": multiplexed_retry,
    "retry over a dedicated connection found dead": dedicated_retry,
}


def take(walk: Callable[[Server], Any], server: Server) -> Walk:
    """Take the walk several times, and return the shortest."""
    return min((_once(walk, server) for _ in range(_TIMES)), key=lambda each: len(each.calls))


def _once(walk: Callable[[Server], Any], server: Server) -> Walk:
    taken: Walk | Awaitable[Walk] = walk(server)
    return taken if isinstance(taken, Walk) else asyncio.run(_awaited(taken))


async def _awaited(walk: Awaitable[Walk]) -> Walk:
    return await walk


def _lines(walk: Walk) -> Iterator[str]:
    for call in walk.calls:
        yield f"    {'  ' * call.depth}{call.file}: {call.name}"


def main() -> int:
    """Take the walks that are asked for, and print a row for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "walks", nargs="*", metavar="WALK", help="words of the walks' names; all of them if none is given"
    )
    parser.add_argument("--list", action="store_true", help="print each call, too")
    options = parser.parse_args()
    chosen = [name for name in WALKS if not options.walks or any(word in name for word in options.walks)]
    print(f"{'walk':48} calls files crossings returns")  # noqa: T201
    with embedded.start() as server:
        for name in chosen:
            walk = take(WALKS[name], server)
            calls, files, crossings, returns = walk.figures().values()
            print(f"{name:48} {calls:5} {files:5} {crossings:9} {returns:7}")  # noqa: T201
            if options.list:
                print("\n".join(_lines(walk)))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
