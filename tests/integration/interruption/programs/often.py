"""Eight threads are interrupted in turn, all the time, and call again each time. Run as a program."""

from __future__ import annotations

import contextlib
import ctypes
import json
import sys
import threading
import time

import redis

import redpool

SECONDS, EVERY, THREADS = 3.0, 0.01, 8


class Interruption(BaseException):
    """As a worker's time limit raises it in a thread."""


def main(url: str, kind: str) -> None:
    """Say how much was done meanwhile."""
    pool: redpool.ConnectionPool
    if kind == "dedicated":
        pool = redpool.ConnectionPool.from_url(url, max_connections=2)
    else:
        pool = redpool.MultiplexedConnectionPool.from_url(url, max_connections=4)
    client = redpool.Redis(connection_pool=pool)
    stop = threading.Event()
    served = [0] * THREADS
    wrong: list[str] = []

    def work(number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            token = f"{number}-{turn}".encode()
            try:
                if (reply := client.echo(token)) != token:
                    wrong.append(f"{reply!r} for {token!r}")
                served[number] += 1
            except redis.RedisError:
                continue

    def be_interrupted(number: int) -> None:
        while not stop.is_set():
            with contextlib.suppress(Interruption):
                work(number)

    threads = [threading.Thread(target=be_interrupted, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    interruptions, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        ident = threads[interruptions % THREADS].ident or 0
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Interruption))
        interruptions += 1
        time.sleep(EVERY)
    stop.set()
    json.dump({"interruptions": interruptions, "served": sum(served), "wrong": wrong[:5]}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
