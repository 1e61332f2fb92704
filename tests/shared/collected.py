"""Threads under load, while pipelines are dropped in cycles and the collector runs all the time. Run as a program."""

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


def main(url: str) -> None:
    pool = redpool.MultiplexedConnectionPool.from_url(url, max_connections=12)
    client = redpool.Redis(connection_pool=pool)
    end = time.monotonic() + SECONDS
    wrong: list[str] = []
    served = [0] * 8

    def work(number: int) -> None:
        while time.monotonic() < end:
            served[number] += 1
            token = f"{number}-{served[number]}".encode()
            try:
                if (reply := client.echo(token)) != token:
                    wrong.append(f"{reply!r} for {token!r}")
                if served[number] % 5 == 0:
                    drop()
            except redis.RedisError as error:
                wrong.append(repr(error))

    def drop() -> None:
        pipe: Any = client.pipeline()
        pipe.watch("key")
        pipe.itself = pipe

    sys.setswitchinterval(1e-6)
    gc.set_threshold(1, 1, 1)
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    patience = end + PATIENCE
    for thread in threads:
        thread.join(max(0.0, patience - time.monotonic()))
    hanging = sum(thread.is_alive() for thread in threads)
    gc.set_threshold(700)
    sys.setswitchinterval(0.005)
    json.dump({"wrong": wrong[:5], "hanging": hanging}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
