"""Threads under load beside many that wait for their replies, with the collector at work. Run as a program."""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from typing import Any

import redis

import redpool

SECONDS, PATIENCE = 5.0, 20.0
BUSY, WAITING = 8, 64


def main(url: str) -> None:
    """Say whether anything went wrong; a crash says nothing."""
    busy = redpool.Redis(connection_pool=redpool.MultiplexedConnectionPool.from_url(url, max_connections=8))
    slow = redpool.Redis.from_url(url, max_connections=8, socket_timeout=SECONDS + PATIENCE)
    end = time.monotonic() + SECONDS
    wrong: list[str] = []

    def work(number: int) -> None:
        turn = 0
        while time.monotonic() < end:
            turn += 1
            pipe: Any = busy.pipeline()
            pipe.get("key")
            pipe.itself = pipe  # which only the collector finds
            check(lambda token: busy.echo(token), f"{number}-{turn}".encode())

    def wait(number: int) -> None:
        check(lambda token: slow.set("key", token) and token, f"waiting {number}".encode())

    def check(call: Any, token: bytes) -> None:
        try:
            if (reply := call(token)) != token:
                wrong.append(f"{reply!r} for {token!r}")
        except redis.RedisError as error:
            wrong.append(repr(error))

    slow.ping()
    slow.execute_command("CLIENT PAUSE", int(SECONDS * 1000), "WRITE")
    threads = [threading.Thread(target=wait, args=(number,), daemon=True) for number in range(WAITING)]
    threads += [threading.Thread(target=work, args=(number,), daemon=True) for number in range(BUSY)]
    for thread in threads:
        thread.start()
    sys.setswitchinterval(1e-6)
    # Low, but so that some garbage is left for the thread that allocates next, wherever it is.
    gc.set_threshold(150, 1, 1)
    patience = end + PATIENCE
    for thread in threads:
        thread.join(max(0.0, patience - time.monotonic()))
    hanging = sum(thread.is_alive() for thread in threads)
    json.dump({"wrong": wrong[:5], "hanging": hanging}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
