"""Eight threads call, and one of them, or each in turn, is interrupted and calls again. Run as a program."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import redis

import redpool
from support.interrupting import Interrupted, interrupt

THREADS, PATIENCE = 8, 30.0
ONE, IN_TURN = "one", "in turn"


# The client, the pool, and how many connections that may have.
KINDS: dict[str, tuple[Any, Any, int]] = {
    "redis": (redis.Redis, redpool.MultiplexedConnectionPool, 10),
    "redpool": (redpool.Redis, redpool.MultiplexedConnectionPool, 10),
    "multiplexed": (redpool.Redis, redpool.MultiplexedConnectionPool, 4),
    "dedicated": (redpool.Redis, redpool.ConnectionPool, 2),
}


def interruptions(of: str) -> Iterator[tuple[int, float]]:
    """Yield who is interrupted and how long to wait then: one of them 300 times, or all in turn for three seconds."""
    if of == ONE:
        dice = Random(1)
        yield from ((0, dice.random() * 0.008) for _ in range(300))
    else:
        yield from ((number % THREADS, 0.01) for number in range(300))


class Callers:
    """The threads, and what they have seen."""

    def __init__(self, client: redis.Redis, expected: type[redis.RedisError]) -> None:
        self.client, self.expected = client, expected
        self.over = threading.Event()
        self.served = [0] * THREADS
        self.wrong: list[str] = []
        self.errors: list[str] = []
        self.threads = [threading.Thread(target=self._call, args=(each,), daemon=True) for each in range(THREADS)]

    def _call(self, number: int) -> None:
        while not self.over.is_set():
            with contextlib.suppress(Interrupted):
                self._echo(number)

    def _echo(self, number: int) -> None:
        turn = 0
        while not self.over.is_set():
            turn += 1
            token = f"{number}-{turn}".encode()
            try:
                reply = self.client.echo(token)
            except self.expected:
                continue
            except Exception as error:
                self.errors.append(repr(error))
                return
            if reply != token:
                self.wrong.append(f"{reply!r} for {token!r}")
            self.served[number] += 1


def main(url: str, kind: str, of: str) -> None:
    """Say how much was done meanwhile, and what is left behind."""
    client_class, pool_class, connections = KINDS[kind]
    pool = pool_class.from_url(url, max_connections=connections)
    client = client_class(connection_pool=pool)
    client.set("key", "value")
    # Beside one that is interrupted a call may be lost with the connection; where all are, some wait in vain, too.
    callers = Callers(client, redis.ConnectionError if of == ONE else redis.RedisError)
    for thread in callers.threads:
        thread.start()
    count = 0
    for number, pause in interruptions(of):
        interrupt(callers.threads[number].ident)
        count += 1
        time.sleep(pause)
    callers.over.set()
    end = time.monotonic() + PATIENCE
    for thread in callers.threads:
        thread.join(max(0.0, end - time.monotonic()))
    answers = repr(client.get("key"))
    while left_in_flight(pool) and time.monotonic() < end:
        time.sleep(0.01)
    seen = {
        "wrong": callers.wrong[:5], "errors": callers.errors[:5],
        "hanging": sum(thread.is_alive() for thread in callers.threads), "in_flight": left_in_flight(pool),
        "answers": answers,
    }  # fmt: skip
    json.dump({"interruptions": count, "served": sum(callers.served), "left": seen}, sys.stdout)


def left_in_flight(pool: Any) -> int:
    """Return how many requests wait for replies; a pool of dedicated connections has none in flight."""
    return int(getattr(pool.stats(), "in_flight", 0))


if __name__ == "__main__":
    main(*sys.argv[1:])
