"""Jobs for RQ's workers, over one pool in each process.

python examples/rq/jobs.py enqueue 10
python examples/rq/jobs.py work
python examples/rq/jobs.py results
"""

import os
import sys

import redis
from rq import Queue, Worker

import redpool

URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

# RQ keeps the client, and the worker's children begin with an empty pool of their own.
pool = redpool.ConnectionPool.from_url(URL, name="rq")
client = redis.Redis(connection_pool=pool)
queue = Queue("squares", connection=client)


def square(number: int) -> int:
    """Return the square of a number."""
    return number**2


def main() -> None:
    """Do what the command line says."""
    match sys.argv[1:]:
        case ["enqueue", how_many]:
            # By its name, as a worker imports it: this file is `__main__` here.
            jobs = [queue.enqueue("jobs.square", number) for number in range(int(how_many))]
            print(f"{len(jobs)} jobs enqueued")
        case ["work"]:
            Worker([queue], connection=client).work(burst=True)
        case ["results"]:
            done = queue.finished_job_registry.get_job_ids()
            values = sorted(queue.fetch_job(each).return_value() for each in done)
            print(f"{len(values)} done: {values}")
        case _:
            sys.exit(__doc__)
    pool.shutdown()


if __name__ == "__main__":
    main()
