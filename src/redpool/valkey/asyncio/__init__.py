"""redpool for valkey-py on event loops: the names of `redpool.valkey`, with `await` where valkey-py's twin has it."""

from ...budget import Budget
from ...core.instrument import Instrument
from ...core.stats import MultiplexedPoolStats, PoolDump, PoolStats
from ...deadline import deadline
from ...priority import priority
from ..errors import DeadlineExceeded, PoolClosed, PoolFull, PoolOverloaded, PoolTimeout, ReplyLate, ReplyLost
from .blocking import BlockingConnectionPool
from .client import Redis as Valkey
from .client import from_url
from .cluster import RedisCluster as ValkeyCluster
from .multiplexed import MultiplexedConnectionPool
from .pool import ConnectionPool
from .sentinel import Sentinel

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
