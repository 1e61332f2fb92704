"""Eight threads share a connection, and one of them is interrupted again and again. Run as a program."""

from __future__ import annotations

import contextlib
import ctypes
import json
import random
import sys
import threading
import time

import redis

import redpool

INTERRUPTIONS, PATIENCE = 300, 30.0


class Interrupted(BaseException):
    """As a worker's time limit raises it in a thread."""


def main(url: str, kind: str) -> None:
    pool = redpool.MultiplexedConnectionPool.from_url(url, max_connections=10)
    client: redis.Redis = (redis if kind == "redis" else redpool).Redis(connection_pool=pool)
    client.set("key", "value")
    stop = threading.Event()
    wrong: list[str] = []
    errors: list[str] = []

    def work(number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            token = f"{number}-{turn}".encode()
            try:
                reply = client.echo(token)
            except redis.ConnectionError:
                continue
            except Exception as error:
                errors.append(repr(error))
                return
            if reply != token:
                wrong.append(f"{reply!r} for {token!r}")

    def be_interrupted() -> None:
        while not stop.is_set():
            with contextlib.suppress(Interrupted):
                work(0)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(1, 8)]
    victim = threading.Thread(target=be_interrupted, daemon=True)
    for thread in (*threads, victim):
        thread.start()
    dice = random.Random(1)
    for _ in range(INTERRUPTIONS):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(victim.ident or 0), ctypes.py_object(Interrupted))
        time.sleep(dice.random() * 0.008)
    stop.set()
    end = time.monotonic() + PATIENCE
    for thread in (*threads, victim):  # a call beside one that is interrupted may be lost with it
        thread.join(max(0.0, end - time.monotonic()))
    answers = repr(client.get("key"))
    while pool.stats().in_flight and time.monotonic() < end:
        time.sleep(0.01)
    hanging = sum(thread.is_alive() for thread in threads)
    seen = {"wrong": wrong, "errors": errors, "hanging": hanging, "in_flight": pool.stats().in_flight}
    json.dump({**seen, "answers": answers}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
