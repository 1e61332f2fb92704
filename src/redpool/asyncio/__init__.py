"""redpool for event loops: the names of `redpool`, with `await` where redis-py's asyncio twin has it.

::

    pool = redpool.asyncio.ConnectionPool(host="localhost", port=6379, db=0)
    r = redis.asyncio.Redis(connection_pool=pool)
"""

from ..budget import Budget
from ..core.instrument import Instrument
from ..core.stats import MultiplexedPoolStats, PoolDump, PoolStats
from ..deadline import deadline
from ..errors import DeadlineExceeded, PoolClosed, PoolFull, PoolOverloaded, PoolTimeout, ReplyLate, ReplyLost
from ..priority import priority
from .blocking import BlockingConnectionPool
from .client import Redis, from_url
from .cluster import RedisCluster
from .multiplexed import MultiplexedConnectionPool
from .pool import ConnectionPool
from .sentinel import Sentinel

__all__ = [
    "BlockingConnectionPool",
    "Budget",
    "ConnectionPool",
    "DeadlineExceeded",
    "Instrument",
    "MultiplexedConnectionPool",
    "MultiplexedPoolStats",
    "PoolClosed",
    "PoolDump",
    "PoolFull",
    "PoolOverloaded",
    "PoolStats",
    "PoolTimeout",
    "Redis",
    "RedisCluster",
    "ReplyLate",
    "ReplyLost",
    "Sentinel",
    "deadline",
    "from_url",
    "priority",
]
