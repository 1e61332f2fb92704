"""Counters over a cluster: visits of pages, in pipelines that go to several nodes at once.

REDIS_URL=redis://localhost:7000 python examples/cluster.py [--visits 1000]
"""

import argparse
import os
import random
from urllib.parse import urlsplit

import redpool

URL = os.environ.get("REDIS_URL", "redis://localhost:7000")
PAGES = ("home", "search", "basket", "help")


def visit(cluster: redpool.RedisCluster, user: int) -> None:
    """Count a visit: of the page, and of the user, whose keys have one slot for the braces' sake."""
    page = random.choice(PAGES)
    pipe = cluster.pipeline()
    pipe.incr(f"page:{page}")
    pipe.incr(f"{{user:{user}}}:visits")
    pipe.set(f"{{user:{user}}}:last", page)
    for reply in pipe.execute(raise_on_error=False):
        if isinstance(reply, redpool.ReplyLost):
            print(f"{reply.command} of user {user} may have run, or not: {reply}")
        elif isinstance(reply, Exception):
            raise reply


def main() -> None:
    """Count the visits, and say what each node's pool did for it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--visits", type=int, default=1000)
    arguments = parser.parse_args()

    node = urlsplit(URL)
    with redpool.RedisCluster(host=node.hostname or "localhost", port=node.port or 6379, timeout=2.0) as cluster:
        for number in range(arguments.visits):
            visit(cluster, number % 10)
        counted = {page: int(cluster.get(f"page:{page}") or 0) for page in PAGES}
        visits, last = cluster.mget("{user:1}:visits", "{user:1}:last")
        print(f"{sum(counted.values())} visits: {counted}")
        print(f"user 1: {int(visits)} visits, the last one of {last.decode()}")
        for each in cluster.get_primaries():
            if each.redis_connection is not None:
                stats = each.redis_connection.connection_pool.stats()
                print(
                    f"{stats.name}: {stats.connected} connections, {stats.commands} commands in {stats.writes} writes"
                )


if __name__ == "__main__":
    main()
