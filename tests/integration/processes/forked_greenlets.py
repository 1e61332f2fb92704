"""A process reports itself, and forks: a program, since gevent patches all of it."""

# ruff: noqa: E402  the patch must come first
from gevent import monkey  # type: ignore[import-untyped]

monkey.patch_all()

import os
import sys

import gevent

import redpool
from redpool.fleet import ask, listen

PERIOD = 0.05


def main(url: str) -> None:
    pool = redpool.ConnectionPool.from_url(url)
    redpool.publish(pool, period=PERIOD)
    with pool.connection(), listen() as listener:
        gevent.sleep(2 * PERIOD)
        child = os.fork()
        if child == 0:
            gevent.sleep(4 * PERIOD)  # the parent's greenlets come by, and end
            os._exit(0)
        os.waitpid(child, 0)
        sys.stdout.write("seen" if ask(listener.path).pid == os.getpid() else "not seen")


if __name__ == "__main__":
    main(*sys.argv[1:])
