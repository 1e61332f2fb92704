"""A process of the fleet that `redpool demo --dashboard` shows: `python -m redpool.demo.worker SERVICE URL REPORTS`.

It ends with the process that started it. Every minute a rush comes: then its callers keep connections for longer than
there are connections for.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

import redpool

MINUTE = 60.0
RUSH = (20.0, 35.0)
"""From which second of each minute to which one the rush is."""
_LEAK_AFTER = 5.0

Work = Callable[[redis.Redis], object]


def in_rush(now: float) -> bool:
    """Return whether the rush is on."""
    return RUSH[0] <= now % MINUTE < RUSH[1]


def total_of_cart(client: redis.Redis) -> object:
    """Add up a cart, and in the rush wait with the connection for what doesn't come."""
    if in_rush(time.time()):
        return client.blpop(["redpool:demo:payments"], timeout=random.uniform(0.2, 0.6))
    return client.hgetall("redpool:demo:cart")


def reserve_stock(client: redis.Redis) -> object:
    """Take one of the stock."""
    with client.pipeline() as pipe:
        pipe.decr("redpool:demo:stock")
        pipe.get("redpool:demo:stock")
        return pipe.execute()


def session_of(client: redis.Redis) -> object:
    """Look at a session."""
    return client.get("redpool:demo:session")


def find(client: redis.Redis) -> object:
    """Search: mostly for little, at times so much that the server notes it as slow."""
    steps = 400_000 if random.random() < 0.01 else 200
    return client.eval("local n = 0 for i = 1, tonumber(ARGV[1]) do n = n + i end return n", 0, steps)


def next_job(client: redis.Redis) -> object:
    """Wait for a job, as workers do."""
    return client.blpop(["redpool:demo:jobs"], timeout=random.uniform(0.05, 0.3))


def _dedicated(name: str, limit: int, **options: Any) -> Callable[[str, str], redis.Redis]:
    def client(url: str, service: str) -> redis.Redis:
        pool = redpool.ConnectionPool.from_url(
            url, name=name, service=service, max_connections=limit, leak_after=_LEAK_AFTER, **options
        )
        return redis.Redis.from_pool(pool)

    return client


def _shared(name: str) -> Callable[[str, str], redis.Redis]:
    def client(url: str, service: str) -> redis.Redis:
        return redpool.Redis.from_url(url, name=name, service=service, max_connections=4)

    return client


# Of each service its pools: what makes a client, what its callers do, how many there are, seconds between their calls.
_POOLS: dict[str, tuple[tuple[Callable[[str, str], redis.Redis], tuple[Work, ...], int, float], ...]] = {
    "checkout": (
        (_dedicated("carts", 6, timeout=1.0), (total_of_cart, total_of_cart, reserve_stock), 12, 0.1),
        (_shared("sessions"), (session_of,), 6, 0.05),
    ),
    "search": ((_dedicated("index", 8, max_idle_time=10.0), (find,), 6, 0.08),),
    "jobs": ((_dedicated("queue", 5, max_lifetime=20.0), (next_job,), 4, 0.02),),
}
SERVICES = tuple(_POOLS)


def _call_on(client: redis.Redis, works: tuple[Work, ...], pause: float) -> None:
    """Call again and again; what fails is tried again a little later, as by any caller."""
    while True:
        try:
            random.choice(works)(client)
        except redis.RedisError:
            time.sleep(0.2)
        time.sleep(random.expovariate(1 / pause))


def main(service: str, url: str, reports: str) -> None:
    """Use the pools of a service, and report them, until standard input ends."""
    clients = []
    for make, works, callers, pause in _POOLS[service]:
        client = make(url, service)
        clients.append(client)
        for number in range(callers):
            name = f"{works[0].__name__}-{number + 1}"
            threading.Thread(target=_call_on, args=(client, works, pause), name=name, daemon=True).start()
    redpool.publish(clients, service=service, url=reports)
    with contextlib.suppress(OSError):
        sys.stdin.buffer.read()
    os._exit(0)  # its callers are in the midst of calls


if __name__ == "__main__":
    main(*sys.argv[1:])
