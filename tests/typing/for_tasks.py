"""What type checkers know of `redpool.asyncio`. Nothing here runs: `test_typing.py` has checkers read it."""

from __future__ import annotations

from typing import Any, assert_type

import redis.asyncio
import redis.asyncio.cluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

import redpool.asyncio
from redpool.asyncio.client import Pipeline


async def pools() -> None:
    """Either pool goes wherever redis-py takes one, and stays what it is."""
    pool = redpool.asyncio.ConnectionPool(host="localhost", max_connections=10, timeout=1.0)
    shared = redpool.asyncio.MultiplexedConnectionPool(host="localhost", shared_connections=2)
    assert_type(redpool.asyncio.ConnectionPool.from_url("redis://localhost"), redpool.asyncio.ConnectionPool)
    for each in (pool, shared):
        assert_type(await redis.asyncio.Redis(connection_pool=each).get("key"), bytes | str | None)
    theirs: redis.asyncio.ConnectionPool = pool
    theirs = shared
    await theirs.disconnect()
    async with pool as same, pool.connection() as connection:
        assert_type(same, redpool.asyncio.ConnectionPool)
        assert_type(connection, Any)


def options(known: dict[str, Any]) -> None:
    """Those of the pool, of redis-py's connections, and what may stand beside a URL."""
    redpool.asyncio.ConnectionPool(redis.asyncio.SSLConnection, 10, ssl_ca_certs="ca.pem", retry=Retry(NoBackoff(), 1))
    redpool.asyncio.ConnectionPool(**known)
    redpool.asyncio.ConnectionPool.from_url("redis://localhost", max_connections=3, timeout=None)
    redpool.asyncio.MultiplexedConnectionPool(shared_connections=2, name=None)
    assert_type(redpool.asyncio.BlockingConnectionPool(10, 5.0), redpool.asyncio.BlockingConnectionPool)
    assert_type(redpool.asyncio.from_url("redis://localhost", single_connection_client=True), redpool.asyncio.Redis)


async def the_whole_pool(pool: redpool.asyncio.ConnectionPool) -> None:
    """What waits is awaited, the rest is not."""
    await pool.warm_up(2, timeout=1.0)
    pool.resize(20)
    await pool.disconnect(inuse_connections=False)
    await pool.aclose()
    await pool.shutdown(timeout=None, force=True)
    assert_type(pool.max_connections, int)
    assert_type(await pool.healthy(timeout=0.5), bool)


def stats(pool: redpool.asyncio.ConnectionPool, shared: redpool.asyncio.MultiplexedConnectionPool) -> redpool.PoolStats:
    """They are the same as for threads, and nothing waits for them."""
    assert_type(pool.stats(), redpool.asyncio.PoolStats)
    assert_type(shared.stats(), redpool.asyncio.MultiplexedPoolStats)
    assert_type(pool.dump(), redpool.asyncio.PoolDump)
    return shared.stats()


async def clients(pool: redpool.asyncio.ConnectionPool) -> None:
    """`redpool.asyncio.Redis` is a `redis.asyncio.Redis`, whichever way it is made."""
    client = redpool.asyncio.Redis(host="localhost", shared_connections=2, timeout=1.0)
    theirs: redis.asyncio.Redis = client
    assert_type(await client.get("key"), bytes | str | None)
    assert_type(await client.incr("key"), int)
    assert_type(redpool.asyncio.Redis.from_url("redis://localhost"), redpool.asyncio.Redis)
    assert_type(redpool.asyncio.Redis.from_pool(pool), redpool.asyncio.Redis)
    async with client as same:
        assert_type(same, redpool.asyncio.Redis)
    async with client.pipeline() as pipe:
        assert_type(pipe, Pipeline)
        assert_type(await pipe.execute(), list[Any])
    await theirs.aclose()


class MyRedis(redpool.asyncio.Redis):
    """A user's client."""


async def topologies(nodes: list[redis.asyncio.cluster.ClusterNode], known: dict[str, Any]) -> None:
    """Sentinel's clients are those that were asked for; a cluster's are redis-py's."""
    sentinel = redpool.asyncio.Sentinel([("localhost", 26379)], socket_timeout=0.5, max_connections=20)
    for client_for in (sentinel.master_for, sentinel.slave_for):
        assert_type(client_for("mymaster"), redpool.asyncio.Redis)
        assert_type(client_for("mymaster", MyRedis), MyRedis)
        assert_type(client_for("mymaster", redis_class=redis.asyncio.Redis, db=1), redis.asyncio.Redis)
    cluster = redpool.asyncio.RedisCluster(host="localhost", port=7000, max_connections=20)
    assert_type(await cluster.get("key"), bytes | str | None)
    assert_type(cluster.pipeline(), redis.asyncio.cluster.ClusterPipeline)
    from_url = redpool.asyncio.RedisCluster.from_url
    assert_type(from_url("rediss://localhost", ssl_ca_certs="ca.pem", **known), redpool.asyncio.RedisCluster)
    redpool.asyncio.RedisCluster(startup_nodes=nodes, retry_sent="none", **known)
    sentinel.master_for("mymaster", connection_pool_class=redpool.asyncio.ConnectionPool, zone="a")
    redpool.asyncio.Sentinel([("localhost", 26379)], 1, {"password": "secret"}, ssl=True, **known)
    their_cluster: redis.asyncio.RedisCluster = cluster
    await their_cluster.aclose()


async def deadlines(client: redpool.asyncio.Redis) -> None:
    """One deadline for threads and tasks; its block may be an `async with`."""
    try:
        with redpool.asyncio.deadline(0.25) as limit:
            assert_type(limit.left(), float)
            await client.incr("key")
    except redpool.asyncio.DeadlineExceeded as error:
        assert_type(error.sent, bool)
    async with redpool.deadline(0.25) as same:
        assert_type(same, redpool.deadline)
    assert_type(await bounded(1), int)


@redpool.deadline(1.0)
async def bounded(number: int) -> int:
    """Each call has a second."""
    return number
