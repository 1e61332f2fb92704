"""What type checkers know of `redpool`. Nothing here runs: `test_typing.py` has checkers read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, assert_type

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline as TheirPipeline
from redis.cluster import ClusterNode, ClusterPipeline
from redis.retry import Retry

import redpool
from redpool.core.stats import Lease, Waiter
from redpool.sync.client import Pipeline


def pools() -> None:
    """Either pool goes wherever redis-py takes one, and stays what it is."""
    pool = redpool.ConnectionPool(host="localhost", port=6379, db=0, max_connections=10, timeout=1.0)
    shared = redpool.MultiplexedConnectionPool(host="localhost", shared_connections=2)
    assert_type(redpool.ConnectionPool.from_url("redis://localhost", max_connections=3), redpool.ConnectionPool)
    assert_type(redpool.MultiplexedConnectionPool.from_url("redis://localhost"), redpool.MultiplexedConnectionPool)
    for each in (pool, shared):
        assert_type(redis.Redis(connection_pool=each).get("key"), bytes | str | None)
        assert_type(redis.Redis.from_pool(each), redis.Redis)
    theirs: redis.ConnectionPool = pool
    theirs = shared
    theirs.disconnect()


class MyConnection(redis.Connection):
    """A user's connection, with an option of its own."""

    def __init__(self, zone: str = "", **kwargs: Any) -> None:
        theirs: Any = super()  # it has no types
        theirs.__init__(**kwargs)
        self.zone = zone


def options(known: dict[str, Any]) -> None:
    """Those of the pool, of redis-py's connections, of a user's own; by name, in a dictionary, beside a URL."""
    redpool.ConnectionPool(redis.SSLConnection, 10, host="localhost", ssl_ca_certs="ca.pem", retry_sent="none")
    redpool.ConnectionPool(connection_class=redis.UnixDomainSocketConnection, path="/tmp/redis.sock", order="fifo")
    redpool.ConnectionPool(MyConnection, zone="a", timeout=None)
    redpool.ConnectionPool(connection_class=MyConnection, **known)
    redpool.ConnectionPool(**known)
    redpool.ConnectionPool.from_url("redis://localhost", max_connections=3, retry=Retry(NoBackoff(), 1))
    redpool.ConnectionPool.from_url("redis://localhost", connection_class=MyConnection, zone="a")
    redpool.MultiplexedConnectionPool(MyConnection, zone="a", shareable_commands=["JSON.GET"])
    redpool.MultiplexedConnectionPool.from_url("redis://localhost", max_in_flight=10, instruments=[Part()])
    assert_type(redpool.BlockingConnectionPool(10, 5.0, host="localhost"), redpool.BlockingConnectionPool)
    redpool.BlockingConnectionPool(connection_class=MyConnection, zone="a", min_idle=2)
    assert_type(redpool.BlockingConnectionPool.from_url("redis://localhost"), redpool.BlockingConnectionPool)
    assert_type(redpool.from_url("redis://localhost", min_idle=2, decode_responses=True), redpool.Redis)
    redpool.Redis("localhost", 6379, 0, ssl=True, ssl_cert_reqs="none", single_connection_client=True)
    redpool.Redis(connection_pool=redpool.ConnectionPool())


def checkouts(pool: redpool.ConnectionPool) -> None:
    """Connections are redis-py's, of the class that was asked for: which one, no checker can know."""
    with pool.connection() as connection:
        assert_type(connection, Any)
    assert_type(pool.get_connection(), Any)
    with pool as same:
        assert_type(same, redpool.ConnectionPool)


def the_whole_pool(pool: redpool.ConnectionPool) -> None:
    """What manages a pool gives nothing back, but for the limit."""
    pool.warm_up(2, timeout=1.0)
    pool.resize(20)
    pool.drain()
    pool.disconnect(inuse_connections=False)
    pool.close()
    pool.shutdown(timeout=None, force=True)
    assert_type(pool.max_connections, int)
    assert_type(pool.healthy(timeout=0.5), bool)


def stats(pool: redpool.ConnectionPool, shared: redpool.MultiplexedConnectionPool) -> None:
    """Numbers are numbers, and a shared pool has more of them."""
    seen = pool.stats()
    assert_type(seen, redpool.PoolStats)
    assert_type((seen.name, seen.open, seen.idle, seen.in_use, seen.waiting), tuple[str, int, int, int, int])
    assert_type(seen.closed, Mapping[str, int])
    assert_type((seen.wait.count, seen.wait.p99, seen.utilization), tuple[int, float, float])
    assert_type(seen.to_dict(), dict[str, Any])
    assert_type(shared.stats(), redpool.MultiplexedPoolStats)
    assert_type((shared.stats().in_flight, shared.stats().batch.mean), tuple[int, float])
    general: redpool.PoolStats = shared.stats()
    assert_type(general.open, int)


def dump(pool: redpool.ConnectionPool) -> None:
    """What can be seen of borrowers and waiters."""
    seen = pool.dump()
    assert_type(seen, redpool.PoolDump)
    assert_type(seen.leases, tuple[Lease, ...])
    assert_type(seen.waiters, tuple[Waiter, ...])
    for call in seen.calls:
        assert_type((call.age, call.borrower, call.command, call.sent), tuple[float, str | None, str, bool])
    for lease in seen.leases:
        assert_type((lease.age, lease.borrower, lease.last_command), tuple[float, str, str | None])


def clients(pool: redpool.ConnectionPool) -> None:
    """`redpool.Redis` is a `redis.Redis`, whichever way it is made, and its replies have redis-py's types."""
    client = redpool.Redis(host="localhost", shared_connections=2, timeout=1.0)
    theirs: redis.Redis = client
    assert_type(client.get("key"), bytes | str | None)
    assert_type(client.incr("key"), int)
    assert_type(redpool.Redis.from_url("redis://localhost"), redpool.Redis)
    assert_type(redpool.Redis.from_pool(pool), redpool.Redis)
    with client as same:
        assert_type(same, redpool.Redis)
    theirs.close()


def pipelines(client: redpool.Redis) -> None:
    """Pipelines are redis-py's."""
    pipe = client.pipeline(transaction=False)
    assert_type(pipe, Pipeline)
    assert_type(pipe.execute(), list[Any])
    with client.pipeline() as same:
        assert_type(same, TheirPipeline)


class MyRedis(redpool.Redis):
    """A user's client."""


def topologies(nodes: list[ClusterNode], known: dict[str, Any]) -> None:
    """Sentinel's clients are those that were asked for; a cluster's are redis-py's."""
    sentinel = redpool.Sentinel([("localhost", 26379)], socket_timeout=0.5, max_connections=20)
    theirs: redis.Sentinel = sentinel
    for client_for in (sentinel.master_for, sentinel.slave_for):
        assert_type(client_for("mymaster"), redpool.Redis)
        assert_type(client_for("mymaster", db=1), redpool.Redis)
        assert_type(client_for("mymaster", MyRedis), MyRedis)
        assert_type(client_for("mymaster", redis_class=redis.Redis, db=1), redis.Redis)
    cluster = redpool.RedisCluster(host="localhost", port=7000, max_connections=20)
    assert_type(cluster.get("key"), bytes | str | None)
    assert_type(cluster.pipeline(), ClusterPipeline)
    assert_type(redpool.RedisCluster.from_url("rediss://localhost", ssl_ca_certs="ca.pem"), redpool.RedisCluster)
    redpool.RedisCluster(startup_nodes=nodes, retry_sent="none", **known)
    redpool.RedisCluster("localhost", connection_pool_class=redpool.ConnectionPool, zone="a")
    sentinel.master_for("mymaster", connection_pool_class=redpool.ConnectionPool, zone="a")
    redpool.Sentinel([("localhost", 26379)], 1, {"password": "secret"}, ssl=True, check_connection=True, **known)
    their_cluster: redis.RedisCluster = cluster
    their_cluster.close()
    del theirs


def deadlines(client: redpool.Redis) -> None:
    """A deadline says how much of it is left, and an error whether the command may have run."""
    try:
        with redpool.deadline(0.25) as limit:
            assert_type(limit, redpool.deadline)
            assert_type(limit.left(), float)
            client.incr("key")
    except redpool.DeadlineExceeded as error:
        assert_type(error.sent, bool)
    except redpool.ReplyLost as error:
        assert_type((error.sent, error.command), tuple[bool, str])


def errors() -> Iterable[redis.RedisError]:
    """Code that catches redis-py's errors catches these."""
    exhausted: list[redis.MaxConnectionsError] = [redpool.PoolTimeout(), redpool.PoolFull()]
    broken: list[redis.ConnectionError] = [redpool.PoolClosed(), redpool.ReplyLost(), *exhausted]
    late: list[redis.TimeoutError] = [redpool.DeadlineExceeded(), redpool.ReplyLate()]
    return [*broken, *late]


class Watch(redpool.Instrument):
    """Hooks are methods with types."""

    def acquired(self, pool: str, wait: float) -> None:
        """Count."""

    def leaked(self, pool: str, age: float, borrower: str, stack: str) -> None:
        """Report."""


class Part:
    """Anything that has some of the hooks will do."""

    def closed(self, pool: str, reason: str, age: float) -> None:
        """Count."""


def hooks() -> None:
    """Instruments go into a pool."""
    redpool.ConnectionPool(instruments=(Watch(), Part()))


def embedded() -> None:
    """A private server gives its URL."""
    with redpool.embedded.server() as url:
        assert_type(url, str)
