"""RQ over redpool's pools, in the children that its scheduler and its worker pool start, too.

::

    queue = Queue(connection=redpool.contrib.rq.Redis.from_url("redis://localhost:6379/0"))

and `rq worker --connection-class redpool.contrib.rq.Redis`.
"""

from __future__ import annotations

import weakref
from typing import Any

import redis
from rq.connections import get_connection_kwargs

import redpool

_pools: weakref.WeakSet[Any] = weakref.WeakSet()  # of clients of ours, those that a fork has inherited among them


class Redis(redpool.Redis):
    """`redpool.Redis` for RQ, whose children make a pool of redis-py's from the class and options of connections.

    Given such a pool, it takes the one of which those were copied: a forked child has inherited it with its options,
    and it begins anew there. Where it isn't known, it takes a new one like it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if type(kwargs.get("connection_pool")) is redis.ConnectionPool:
            kwargs["connection_pool"] = _like(kwargs["connection_pool"])
        super().__init__(*args, **kwargs)
        _pools.add(self.connection_pool)


def _like(theirs: redis.ConnectionPool) -> Any:
    wanted = _described(theirs)
    for pool in list(_pools):
        if _described(pool) == wanted:
            return pool
    connection_class, options = wanted
    return redpool.MultiplexedConnectionPool(connection_class, **options)


def _described(pool: Any) -> tuple[Any, dict[str, Any]]:
    """Return the class and the options of a pool's connections, as RQ copies them."""
    return pool.connection_class, get_connection_kwargs(redis.Redis(connection_pool=pool))
