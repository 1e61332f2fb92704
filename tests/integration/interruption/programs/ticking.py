"""A timer whose handler does nothing interrupts a call to a silent server. Run as a program."""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Any

import redis

import redpool

EVERY, TIMEOUT = 0.05, 1.0


def main(kind: str, port: str) -> None:
    """Say how long one call took, and how it ended."""
    options: dict[str, Any] = {"host": "127.0.0.1", "port": int(port), "socket_timeout": TIMEOUT}
    client: redis.Redis
    if kind == "redpool":
        client = redpool.Redis(**options)
    elif kind == "redis":
        client = redis.Redis(connection_pool=redpool.MultiplexedConnectionPool(**options))
    else:
        client = redis.Redis(connection_pool=redpool.ConnectionPool(**options))
    client.set("key", "value")
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, EVERY, EVERY)
    began = time.monotonic()
    try:
        ended = repr(client.execute_command("INCR", "silent"))
    except redis.RedisError as error:
        ended = type(error).__name__
    took = time.monotonic() - began
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    json.dump({"ended": ended, "took": took}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
