"""A signal handler raises in the midst of calls, again and again. Run as a program."""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Any

import redis

import redpool

ALARMS, PATIENCE = 40, 30.0


class Alarm(Exception):
    """What the handler raises."""


def handler(*_: Any) -> None:
    raise Alarm


def main(url: str) -> None:
    client = redpool.Redis.from_url(url, max_connections=10)
    client.set("key", "value")
    signal.signal(signal.SIGALRM, handler)
    interrupted, turn, wrong, end = 0, 0, 0, time.monotonic() + PATIENCE
    while interrupted < ALARMS and time.monotonic() < end:
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.002 + 0.0001 * (turn % 17))
                while True:
                    turn += 1
                    wrong += client.echo(f"turn {turn}") != f"turn {turn}".encode()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except (Alarm, redis.ConnectionError):
            interrupted += 1
    answers = repr(client.get("key"))
    while client.connection_pool.stats().in_flight and time.monotonic() < end:
        time.sleep(0.01)
    seen = {"interrupted": interrupted, "wrong": wrong, "in_flight": client.connection_pool.stats().in_flight}
    json.dump({**seen, "answers": answers}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
