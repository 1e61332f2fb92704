"""Workers in threads: they take jobs from a list and count words; Ctrl-C or SIGTERM ends them gracefully.

python examples/threads.py [--jobs 1000] [--workers 8]

With `--jobs 0` it waits for the jobs of others: `redis-cli RPUSH jobs "some words to count"`.
"""

import argparse
import os
import signal
import threading
from collections import Counter

import redis

import redpool

URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
ending = threading.Event()


def work(r: redis.Redis, until_empty: bool) -> None:
    """Count the words of one job after the other."""
    while not ending.is_set():
        # It blocks, so it has a connection of its own for that time; a second, so that the end is noticed.
        job = r.blpop("jobs", timeout=1)
        if job is not None:
            add_up(r, job[1].decode())
        elif until_empty:
            return


def add_up(r: redis.Redis, text: str) -> None:
    """Add the words of a text to the totals, once: no command here is repeated when its reply is lost."""
    with r.pipeline(transaction=True) as pipe:
        for word, times in Counter(text.split()).items():
            pipe.hincrby("words", word, times)
        pipe.incr("done")
        try:
            pipe.execute()
        except redpool.ReplyLost:
            r.rpush("unsure", text)  # it may have been counted: a person decides


def main() -> None:
    """Fill the list, have the workers empty it, and say what the pool did meanwhile."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=8)
    arguments = parser.parse_args()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())

    # A worker that waits for a job has a connection for itself, and all share one for the rest.
    pool = redpool.MultiplexedConnectionPool.from_url(URL, max_connections=arguments.workers + 1, name="workers")
    with pool:
        r = redis.Redis(connection_pool=pool)
        if arguments.jobs:
            r.rpush("jobs", *(f"job {number} has words and more words" for number in range(arguments.jobs)))
        workers = [threading.Thread(target=work, args=(r, arguments.jobs > 0)) for _ in range(arguments.workers)]
        for worker in workers:
            worker.start()
        print(f"{len(workers)} workers are at it", flush=True)
        for worker in workers:
            while worker.is_alive():
                worker.join(timeout=1)  # for ever would not do: the handler of a signal runs in this very thread
        stats = pool.stats()
        print(f"{int(r.get('done') or 0)} done, {r.llen('jobs')} left, {r.llen('unsure')} unsure")
        print(f"{stats.connected} connections opened, {stats.commands} commands over the shared one")


if __name__ == "__main__":
    main()
