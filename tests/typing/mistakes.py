"""What type checkers must find fault with: each line that is marked, and for no other reason than the marked one.

Nothing here runs. A mark that no error needs is an error itself, for mypy and for pyright.
"""

from __future__ import annotations

from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

import redpool
import redpool.asyncio


def names() -> None:
    """A misspelled name is none of ours."""
    redpool.ConectionPool  # type: ignore[attr-defined]  # noqa: B018  # it is ConnectionPool
    redpool.asyncio.ConectionPool  # type: ignore[attr-defined]  # noqa: B018  # the same


def arguments(pool: redpool.ConnectionPool) -> None:
    """Arguments have types."""
    redpool.ConnectionPool(max_connections="many")  # type: ignore[call-overload]  # a number
    redpool.deadline("soon")  # type: ignore[arg-type]  # a number
    redpool.deadline()  # type: ignore[call-arg]  # of how long?
    pool.resize("20")  # type: ignore[arg-type]  # a number
    pool.warm_up(timeout="1")  # type: ignore[arg-type]  # a number
    pool.shutdown(forced=True)  # type: ignore[call-arg]  # it is `force`


def options() -> None:
    """Options have names, and types, in each of the places where they may stand."""
    redpool.ConnectionPool(max_idle_tme=3.0)  # type: ignore[call-overload]  # misspelt
    redpool.ConnectionPool(hots="localhost")  # type: ignore[call-overload]  # misspelt, and redis-py's
    redpool.ConnectionPool(order="newest")  # type: ignore[call-overload]  # it is "lifo"
    redpool.ConnectionPool(shared_connections=2)  # type: ignore[call-overload]  # only a shared pool has it
    redpool.ConnectionPool(ssl=True)  # type: ignore[call-overload]  # a client's
    redpool.ConnectionPool(retry=AsyncRetry(NoBackoff(), 1))  # type: ignore[call-overload]  # it is for event loops
    redpool.MultiplexedConnectionPool(max_in_flight="all")  # type: ignore[call-overload]  # a number
    redpool.ConnectionPool.from_url("redis://localhost", tmeout=1.0)  # type: ignore[call-overload]  # misspelt
    redpool.BlockingConnectionPool(max_waitin=3)  # type: ignore[call-overload]  # misspelt
    redpool.Redis(shared_conections=2)  # type: ignore[call-arg]  # misspelt
    redpool.Redis(timeout="soon")  # type: ignore[arg-type]  # a number
    redpool.Redis.from_url("redis://localhost", min_idel=2)  # type: ignore[call-overload]  # misspelt
    redpool.from_url("redis://localhost", min_idel=2)  # type: ignore[call-arg]  # misspelt
    redpool.asyncio.ConnectionPool(max_waitin=3)  # type: ignore[call-overload]  # misspelt
    redpool.asyncio.ConnectionPool(retry=Retry(NoBackoff(), 1))  # type: ignore[call-overload]  # it is for threads
    redpool.asyncio.MultiplexedConnectionPool(cache=None)  # type: ignore[call-overload]  # threads alone have it
    redpool.asyncio.BlockingConnectionPool(timeout="1")  # type: ignore[call-overload]  # a number
    redpool.asyncio.Redis(shared_conections=2)  # type: ignore[call-arg]  # misspelt
    redpool.asyncio.from_url("redis://localhost", min_idel=2)  # type: ignore[call-arg]  # misspelt


def topologies(sentinel: redpool.Sentinel, loops: redpool.asyncio.Sentinel) -> None:
    """So have those of clusters and of Sentinel."""
    redpool.RedisCluster("localhost", max_conections=2)  # type: ignore[call-overload]  # misspelt
    redpool.RedisCluster("localhost", health_check_interval=2)  # type: ignore[call-overload]  # redis-py drops it
    redpool.RedisCluster(host="localhost", timeout="soon")  # type: ignore[call-overload]  # a number
    redpool.RedisCluster.from_url("redis://localhost", min_idel=2)  # type: ignore[call-overload]  # misspelt
    redpool.Sentinel([("localhost", 26379)], max_conections=2)  # type: ignore[call-arg]  # misspelt
    redpool.Sentinel([("localhost", 26379)], host="localhost")  # type: ignore[call-arg]  # Sentinel says where it is
    sentinel.master_for("mymaster", min_idel=2)  # type: ignore[call-overload]  # misspelt
    sentinel.slave_for("mymaster", redpool.Redis, timeout="soon")  # type: ignore[call-overload]  # a number
    redpool.asyncio.RedisCluster("localhost", max_conections=2)  # type: ignore[call-arg]  # misspelt
    redpool.asyncio.RedisCluster(host="localhost", timeout="soon")  # type: ignore[arg-type]  # a number
    redpool.asyncio.RedisCluster.from_url("redis://localhost", min_idel=2)  # type: ignore[call-arg]  # misspelt
    redpool.asyncio.Sentinel([("localhost", 26379)], max_conections=2)  # type: ignore[call-arg]  # misspelt
    loops.master_for("mymaster", min_idel=2)  # type: ignore[call-overload]  # misspelt
    loops.slave_for("mymaster", redpool.asyncio.Redis, timeout="soon")  # type: ignore[call-overload]  # a number


def results(pool: redpool.ConnectionPool) -> None:
    """Results have types, and can't be changed."""
    pool.stats().opened  # type: ignore[attr-defined]  # noqa: B018  # it is `open`
    pool.stats().in_flight  # type: ignore[attr-defined]  # noqa: B018  # only a shared pool has it
    pool.stats().open = 1  # type: ignore[misc]  # it is frozen
    pool.max_connections = 20  # type: ignore[misc]  # it is `resize` that changes it


async def waiting(pool: redpool.asyncio.ConnectionPool, client: redpool.asyncio.Redis) -> None:
    """What waits must be awaited, and by the `with` that it is made for."""
    pool.warm_up(2)  # type: ignore[unused-coroutine]  # not awaited
    pool.shutdown()  # type: ignore[unused-coroutine]  # not awaited
    with pool.connection():  # type: ignore[attr-defined]  # it is `async with`
        pass


@redpool.deadline(1.0)
def bounded(key: str) -> None:
    """A deadline leaves a function's arguments as they are."""


def calls() -> None:
    """So they are checked."""
    bounded(1)  # type: ignore[arg-type]  # it is a string


class Watch(redpool.Instrument):
    """Hooks get what they get."""

    def acquired(self, pool: str) -> None:  # type: ignore[override]  # `wait` is missing
        """Count."""

    def released(self, pool: int, use: float) -> None:  # type: ignore[override]  # `pool` is a name
        """Count."""
