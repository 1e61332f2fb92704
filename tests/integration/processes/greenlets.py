"""Greenlets that are interrupted by timeouts share a small pool. Run as a program, since gevent patches all of it."""

# ruff: noqa: E402  the patch must come first
from gevent import monkey  # type: ignore[import-untyped]

monkey.patch_all()

import gc
import json
import sys
from random import Random

import gevent
import redis

import redpool

GREENLETS, CALLS, PLACES = 60, 40, 4
# In seconds: shorter than a wait for a place, shorter than a reply, and long enough.
TIMEOUTS = (0.0003, 0.002, 20.0, 20.0)


def main(url: str, pool_name: str) -> None:
    pool = getattr(redpool, pool_name).from_url(url, max_connections=PLACES, timeout=20.0)
    client = redis.Redis(connection_pool=pool)
    seen = {"right": 0, "swapped": 0, "interrupted": 0}

    def ask(caller: int) -> None:
        random = Random(caller)
        for call in range(CALLS):
            token = f"{caller}:{call}".encode()
            try:
                with gevent.Timeout(random.choice(TIMEOUTS)):
                    seen["right" if client.echo(token) == token else "swapped"] += 1
            except gevent.Timeout:
                seen["interrupted"] += 1

    gevent.joinall([gevent.spawn(ask, caller) for caller in range(GREENLETS)], timeout=60, raise_error=True)
    gc.collect()
    held = [pool.get_connection() for _ in range(PLACES)]
    for connection in held:
        pool.release(connection)
    pool.close()
    stats = pool.stats()
    json.dump({**seen, "places": len(set(held)), "open": stats.open, "waiting": stats.waiting}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
