"""redpool: a connection pool for Redis and Valkey.

Put it where redis-py's pools go::

    pool = redpool.ConnectionPool(host="localhost", port=6379, db=0)
    r = redis.Redis(connection_pool=pool)

The twin for event loops is `redpool.asyncio`.
"""

from .core.instrument import Instrument
from .core.stats import PoolDump, PoolStats
from .errors import PoolClosed, PoolFull, PoolTimeout
from .sync.pool import ConnectionPool

__version__ = "0.1.0"

__all__ = ["ConnectionPool", "Instrument", "PoolClosed", "PoolDump", "PoolFull", "PoolStats", "PoolTimeout"]
