"""The peers, a row each; the first two are those that all are compared with."""

from functools import partial

from . import limit, others, redispy
from .peer import LIMIT, OTHERS, REDIS_PY, REDPOOL, TASKS, THREADS, Peer

PLAIN = "redis-py, plain pool"
BLOCKING = "redis-py, blocking pool"
DEDICATED = "redpool pool, dedicated"
SHARED = "redpool pool, shared"
CLIENT = "redpool client"
COREDIS = "coredis"
GLIDE = "valkey-glide"
BARE = "limit: bare hiredis"

PEERS = (
    Peer(PLAIN, REDIS_PY, THREADS, partial(redispy.unlimited, "redis:ConnectionPool")),
    Peer(BLOCKING, REDIS_PY, THREADS, partial(redispy.limited, "redis:BlockingConnectionPool")),
    Peer(DEDICATED, REDPOOL, THREADS, partial(redispy.limited, "redpool:ConnectionPool")),
    Peer(SHARED, REDPOOL, THREADS, partial(redispy.over_pool, "redpool:MultiplexedConnectionPool")),
    Peer(CLIENT, REDPOOL, THREADS, partial(redispy.whole, "redpool:Redis")),
    Peer(GLIDE, OTHERS, THREADS, others.glide_sync, "glide_sync"),
    Peer(BARE, LIMIT, THREADS, limit.bare_sockets),
    Peer(PLAIN, REDIS_PY, TASKS, partial(redispy.unlimited_async, "redis.asyncio:ConnectionPool")),
    Peer(BLOCKING, REDIS_PY, TASKS, partial(redispy.limited_async, "redis.asyncio:BlockingConnectionPool")),
    Peer(DEDICATED, REDPOOL, TASKS, partial(redispy.limited_async, "redpool.asyncio:ConnectionPool")),
    Peer(SHARED, REDPOOL, TASKS, partial(redispy.over_pool_async, "redpool.asyncio:MultiplexedConnectionPool")),
    Peer(CLIENT, REDPOOL, TASKS, partial(redispy.whole_async, "redpool.asyncio:Redis")),
    Peer(COREDIS, OTHERS, TASKS, others.coredis, "coredis"),
    Peer(GLIDE, OTHERS, TASKS, others.glide, "glide"),
    Peer(BARE, LIMIT, TASKS, limit.bare_protocol),
)


def of_kind(kind: str) -> tuple[Peer, ...]:
    """Return the peers for threads, or for tasks."""
    return tuple(peer for peer in PEERS if peer.kind == kind)
