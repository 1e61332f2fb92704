"""redpool for valkey-py: the names of `redpool`, over valkey-py's connections, clients and errors.

::

    pool = redpool.valkey.ConnectionPool(host="localhost", port=6379, db=0)
    v = valkey.Valkey(connection_pool=pool)

The twin for event loops is `redpool.valkey.asyncio`. Type checkers read `__init__.pyi`.
"""

from ..budget import Budget
from ..core.instrument import Instrument
from ..core.stats import MultiplexedPoolStats, PoolDump, PoolStats
from ..deadline import deadline
from ..priority import priority
from . import edition as edition
from .errors import DeadlineExceeded, PoolClosed, PoolFull, PoolOverloaded, PoolTimeout, ReplyLate, ReplyLost
from .sync.blocking import BlockingConnectionPool
from .sync.client import Redis as Valkey
from .sync.client import from_url
from .sync.cluster import RedisCluster as ValkeyCluster
from .sync.multiplexed import MultiplexedConnectionPool
from .sync.pool import ConnectionPool
from .sync.sentinel import Sentinel

for _client, _name in ((Valkey, "Valkey"), (ValkeyCluster, "ValkeyCluster")):
    _client.__module__, _client.__name__, _client.__qualname__ = __name__, _name, _name

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
    "ReplyLate",
    "ReplyLost",
    "Sentinel",
    "Valkey",
    "ValkeyCluster",
    "deadline",
    "from_url",
    "priority",
]
