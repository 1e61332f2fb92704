"""Who waits, and for how long: notes 14, 16, 18 and 44."""

from __future__ import annotations

import asyncio
import collections
import threading
import time

import redis

from contract.faces import Doing, eventually, together
from faults.rows import Finding, row
from faults.scenes import attempt, best
from faults.sides import Side

_WORKERS = 40
_TURNS = 800
_HOLD = 0.004
_NO_TURNS = "callers share: there are no turns"


class _Turns:
    """Who had how many turns, and the longest wait."""

    def __init__(self) -> None:
        self._by = collections.Counter(dict.fromkeys(range(_WORKERS), 0))
        self._longest = 0.0

    def left(self) -> bool:
        """Whether there is another turn for anybody."""
        return self._by.total() < _TURNS

    def took(self, worker: int, asked: float) -> None:
        """A turn, by one who has asked for it at this time."""
        self._by[worker] += 1
        self._longest = max(self._longest, time.monotonic() - asked)

    def finding(self) -> Finding:
        """Fair is: nobody has had half as many turns again as another."""
        fewest, most = min(self._by.values()), max(self._by.values())
        return Finding(
            most <= fewest * 3 / 2, f"turns of a worker {fewest} to {most}, longest wait {self._longest:.2f} s"
        )


@row(
    16,
    f"{_WORKERS} threads share 4 connections, each held for 4 ms, {_TURNS} turns in all; no wait need exceed 0.04 s",
    timed=True,
    unshared=_NO_TURNS,
)
def starvation(side: Side) -> Finding:
    """With 100 threads for 8 s, redis-py's figures are 1 to 1515 turns, and 8 s."""
    pool = side.threads.waiting_pool(max_connections=4, timeout=60)
    turns, lock = _Turns(), threading.Lock()

    def work(number: int) -> None:
        while turns.left():
            asked = time.monotonic()
            connection = pool.get_connection()
            with lock:
                turns.took(number, asked)
            time.sleep(_HOLD)
            pool.release(connection)

    together(_WORKERS, work)
    return turns.finding()


@row(16, "the same with asyncio", timed=True, unshared=_NO_TURNS)
async def starvation_on_a_loop(side: Side) -> Finding:
    """As above, with tasks."""
    pool = side.tasks.waiting_pool(max_connections=4, timeout=60)
    turns = _Turns()

    async def work(number: int) -> None:
        while turns.left():
            asked = time.monotonic()
            connection = await pool.get_connection()
            turns.took(number, asked)
            await asyncio.sleep(_HOLD)
            await pool.release(connection)

    await asyncio.gather(*(work(number) for number in range(_WORKERS)))
    return turns.finding()


@row(
    14,
    "the server is down: what a GET costs, 6 retries; ours with break_after=2; then it comes back",
    timed=True,
)
def a_dead_server(side: Side) -> Finding:
    """With the 10 retries of redis.Redis(), redis-py's figure is some 3 s."""
    client = side.threads.client(retry=side.threads.retry(6), **side.ours(break_after=2))
    client.ping()
    side.server.kill()
    attempt(lambda: client.get("key"))
    outcome = best(lambda: client.get("key"))
    side.server.restart()
    back = eventually(lambda: attempt(lambda: client.get("key")).error is None)
    held = isinstance(outcome.error, redis.ConnectionError) and outcome.seconds < 0.005 and back
    after = "works again once the server is back" if back else "doesn't come back with the server"
    return Finding(held, f"{type(outcome.error).__name__} after {outcome.seconds * 1000:.2f} ms; {after}")


_CALLERS = 40


@row(
    18,
    f"a server with maxclients 8, {_CALLERS} threads with one BLPOP of 0.15 s each, 10 retries",
    server=("--maxclients", "8"),
    limit=15,
)
def too_many_clients(side: Side) -> Finding:
    """As with processes times pool size beyond what the server takes."""
    observer = side.observer()
    observer.ping()
    client = side.threads.client(retry=side.threads.retry())
    doings = together(_CALLERS, lambda _: attempt(lambda: client.blpop(["nothing"], timeout=0.15)))
    failed = [each for each in (doing.result() for doing in doings) if each.error is not None]
    slowest = max((doing.result().seconds for doing in doings), default=0.0)
    rejected = observer.info("stats")["rejected_connections"]
    return Finding(
        not failed and rejected <= _CALLERS,
        f"{len(failed)} of {_CALLERS} failed, slowest {slowest:.1f} s; the server rejected {rejected} connects",
    )


@row(
    44,
    "maintenance is announced; one waits for the only connection, timeout=1, and it is released after 0.3 s",
    timed=True,
    unshared="a light lease is had at once",
)
def a_release_during_maintenance(side: Side) -> Finding:
    """The flag is what redis-py sets while it handles a MOVING message."""
    pool = side.threads.waiting_pool(max_connections=1, timeout=1)
    connection = pool.get_connection()
    if hasattr(pool, "set_in_maintenance"):
        pool.set_in_maintenance(True)
    waiting = Doing(lambda: attempt(pool.get_connection))
    time.sleep(0.3)
    releasing = attempt(lambda: pool.release(connection))
    outcome = waiting.result()
    waiter = "served" if outcome.error is None else f"told {type(outcome.error).__name__}"
    return Finding(
        outcome.error is None and releasing.seconds < 0.5,
        f"the release took {releasing.seconds:.2f} s, the waiter was {waiter} after {outcome.seconds:.2f} s",
    )
