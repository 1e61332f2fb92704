"""Commands that run twice, and how often a client tries again: notes 7, 9 and 10."""

from __future__ import annotations

from collections import Counter
from typing import Any

import redis

from .rows import Finding, row
from .scenes import Outcome, attempt, attempt_on_a_loop, busy
from .sides import Side

_BUSY = 0.5
_IMPATIENT = {"socket_timeout": 0.2}


def _ran(side: Side, outcome: Outcome, most: int) -> Finding:
    n = int(side.observer().get("n") or 0)
    return Finding(n <= most, f"{outcome}; the counter is at {n}")


@row(7, "one INCR while the server is busy for 0.5 s, socket_timeout=0.2, 10 retries as in redis.Redis()")
def an_incr_that_times_out(side: Side) -> Finding:
    """redis-py's figure with all defaults and a server busy for 7 s is the same."""
    client = side.threads.client(**_IMPATIENT, retry=side.threads.retry())
    client.ping()
    with busy(side.server, _BUSY):
        outcome = attempt(lambda: client.incr("n"))
    return _ran(side, outcome, 1)


@row(7, "the same with asyncio")
async def an_incr_that_times_out_on_a_loop(side: Side) -> Finding:
    """redis-py's figure with all defaults and a server busy for 7 s is the same."""
    client = side.tasks.client(**_IMPATIENT, retry=side.tasks.retry())
    await client.ping()
    with busy(side.server, _BUSY):
        outcome = await attempt_on_a_loop(lambda: client.incr("n"))
    return _ran(side, outcome, 1)


@row(7, "the same with a MULTI of two INCR")
def a_transaction_that_times_out(side: Side) -> Finding:
    """A transaction runs whole, but may run twice."""
    client = side.threads.client(**_IMPATIENT, retry=side.threads.retry())
    client.ping()
    with busy(side.server, _BUSY):
        outcome = attempt(client.pipeline().incr("n").incr("n").execute)
    return _ran(side, outcome, 2)


@row(7, "the same with one LPOP from a list of 10 jobs")
def an_lpop_that_times_out(side: Side) -> Finding:
    """A job that no worker got is lost, unless the error says that the command may have run."""
    client = side.threads.client(**_IMPATIENT, retry=side.threads.retry())
    client.ping()
    side.observer().rpush("jobs", *range(1, 11))
    with busy(side.server, _BUSY):
        outcome = attempt(lambda: client.lpop("jobs"))
    left = side.observer().llen("jobs")
    known = outcome.value == b"1" or bool(getattr(outcome.error, "sent", False))
    return Finding(known and left >= 9, f"{outcome}; {left} jobs left")


@row(9, "how often a client tries again, by the way in which it was made")
def retries_by_constructor(side: Side) -> Finding:
    """redis-py's clients can be created in ways that redpool's don't have."""
    at: dict[str, Any] = {"host": side.server.host, "port": side.server.port}
    made = [] if side.ours(pools_only=True) else [redis.Redis(**at)]
    for pools in (side.threads, side.tasks):
        made += [
            pools.client_class.from_pool(pools.pool()),
            pools.client(),
            pools.client(pools.plain.from_url(side.server.url)),
        ]
    ways = Counter(getattr(client.get_retry(), "_retries", 0) for client in made)
    figure = ", ".join(f"{retries} retries in {count} of {len(made)} ways" for retries, count in ways.items())
    return Finding(len(ways) == 1, figure)


@row(10, "an asyncio pool is given the Retry for threads, with 3 retries; the server is down")
async def the_wrong_retry(side: Side) -> Finding:
    """An error at once is right; silence is not."""
    try:
        client = side.tasks.client(retry=side.threads.retry(3))
    except TypeError as error:
        return Finding(True, f"TypeError at construction: {error}")
    side.server.kill()
    outcome = await attempt_on_a_loop(client.ping)
    return Finding(False, f"accepted; the first error was raised: {outcome}")
