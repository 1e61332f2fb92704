"""One of eight threads is interrupted all the time; the others go on. Run as a program."""

from __future__ import annotations

import contextlib
import ctypes
import json
import sys
import threading
import time

import redis

import redpool

SECONDS, EVERY, PATIENCE = 3.0, 0.01, 30.0


class Interruption(BaseException):
    """As a worker's time limit raises it in a thread."""


def main(url: str, kind: str) -> None:
    """Say how much was done meanwhile, and at what price."""
    pool_class = redpool.ConnectionPool if kind == "dedicated" else redpool.MultiplexedConnectionPool
    pool = pool_class.from_url(url, max_connections=4)
    client = redpool.Redis(connection_pool=pool)
    client.set("key", "value")
    stop = threading.Event()
    served, failed, wrong = [0] * 8, [0] * 8, [0]
    errors: dict[str, int] = {}

    def work(number: int) -> None:
        while not stop.is_set():
            try:
                if client.get("key") == b"value":
                    served[number] += 1
                else:
                    wrong[0] += 1
            except redis.RedisError as error:
                failed[number] += 1
                errors[type(error).__name__] = errors.get(type(error).__name__, 0) + 1

    def be_interrupted() -> None:
        while not stop.is_set():
            with contextlib.suppress(Interruption):
                work(0)

    victim = threading.Thread(target=be_interrupted, daemon=True)
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(1, 8)]
    for thread in (victim, *threads):
        thread.start()
    interruptions, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(victim.ident or 0), ctypes.py_object(Interruption))
        interruptions += 1
        time.sleep(EVERY)
    stop.set()
    end = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    stats = pool.stats()
    connects = getattr(stats, "connected", None) or getattr(stats, "dialed", 0)
    told = {"interruptions": interruptions, "served": served, "failed": failed, "wrong": wrong[0], "errors": errors}
    json.dump({**told, "connects": connects, "hanging": sum(thread.is_alive() for thread in threads)}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
