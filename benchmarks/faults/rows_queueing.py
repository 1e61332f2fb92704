"""Callers that wait, and for how long: notes 14, 16, 18, 44 and 56."""

from __future__ import annotations

import asyncio
import collections
import statistics
import threading
import time
from typing import Any
from unittest import mock

import redis

from support.faces import Doing, Listener, eventually, together

from .rows import Finding, row
from .scenes import Outcome, attempt, best
from .sides import Side

_WORKERS = 40
_TURNS = 800
_HOLD = 0.004
_NO_TURNS = "callers share: there are no turns"


class _Turns:
    """How many turns each worker had, and the longest wait."""

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
        """Fair is: no caller has had half as many turns again as another."""
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
    """Return whether the turns were fair: no worker had half as many again as another."""
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
    """With 100 threads for 8 s, redis-py's figures are 1 to 1515 turns, and 8 s."""
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


@row(14, "a server refuses every connect: what each of 40 GETs costs that come 10 ms apart; all defaults, no retries")
def a_refusing_server(side: Side) -> Finding:
    """As with a cache that fails open: its callers call again and again."""
    refusing = Listener(answering=False)
    pool = side.threads.plain(host="127.0.0.1", port=refusing.port)
    client = side.threads.client(pool)
    outcomes = []
    for _ in range(40):
        outcomes.append(attempt(lambda: client.get("key")))
        time.sleep(0.01)
    refusing.close()
    seconds = statistics.median(each.seconds for each in outcomes)
    kinds = {type(each.error).__name__ for each in outcomes}
    held = seconds < 0.02 and all(isinstance(each.error, redis.ConnectionError) for each in outcomes)
    return Finding(held, f"{', '.join(sorted(kinds))}, p50 {seconds * 1000:.1f} ms")


_BLOCKED = 6


@row(56, f"no thread can be started any more; then {_BLOCKED} existing threads do a BLPOP of 2 s each, at once")
def no_thread_to_be_had(side: Side) -> Finding:
    """As under a limit of processes, with a web server's own threads; redis-py starts none."""
    begin = threading.Event()
    waiting: list[Any] = []  # the client, once there is one

    def blocks() -> Outcome:
        begin.wait()
        return attempt(lambda: waiting[0].blpop(["nothing"], timeout=2.0))

    doings = [Doing(blocks) for _ in range(_BLOCKED)]

    def none_to_be_had(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("can't start new thread")

    # CPython 3.13 and later start theirs by the one, earlier ones by the other.
    starts = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"
    with mock.patch.object(threading, starts, none_to_be_had):
        waiting.append(side.threads.client(**side.ours(timeout=1.5)))
        waiting[0].ping()
        begin.set()
        outcomes = [doing.result() for doing in doings]
    failed = sum(each.error is not None for each in outcomes)
    return Finding(not failed, f"{failed} of {_BLOCKED} failed, slowest {max(each.seconds for each in outcomes):.1f} s")


_CALLERS = 40


@row(
    18,
    f"a server with maxclients 8, {_CALLERS} threads with one BLPOP of 0.15 s each, 10 retries",
    server=("--maxclients", "8"),
    limit=15,
)
def too_many_clients(side: Side) -> Finding:
    """As where the number of processes times the pool size exceeds what the server accepts."""
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
    "maintenance is announced; a caller waits for the only connection, timeout=1, and it is released after 0.3 s",
    timed=True,
    unshared="a virtual connection is to be had at once",
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
    waiter = "was served" if outcome.error is None else f"got {type(outcome.error).__name__}"
    return Finding(
        outcome.error is None and releasing.seconds < 0.5,
        f"the release took {releasing.seconds:.2f} s, the waiter {waiter} after {outcome.seconds:.2f} s",
    )
