"""redpool: a connection pool for Redis and Valkey.

Give it to redis-py's client in the place of redis-py's own pool::

    pool = redpool.ConnectionPool(host="localhost", port=6379, db=0)
    r = redis.Redis(connection_pool=pool)

The twin for event loops is `redpool.asyncio`; `redpool.valkey` is for valkey-py.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .budget import Budget
from .core.instrument import Instrument
from .core.stats import MultiplexedPoolStats, PoolDump, PoolStats
from .deadline import deadline
from .errors import DeadlineExceeded, PoolClosed, PoolFull, PoolOverloaded, PoolTimeout, ReplyLate, ReplyLost
from .priority import priority
from .sync.blocking import BlockingConnectionPool
from .sync.client import Redis, from_url
from .sync.cluster import RedisCluster
from .sync.multiplexed import MultiplexedConnectionPool
from .sync.pool import ConnectionPool
from .sync.sentinel import Sentinel
from .version import __version__ as __version__

if TYPE_CHECKING:
    from . import asyncio as asyncio
    from . import embedded as embedded
    from . import valkey as valkey
    from .fleet.publisher import publish as publish
    from .installation import install as install
    from .installation import uninstall as uninstall
    from .registry import pools as pools
    from .signals import dump_on as dump_on

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


# Functions of the whole process, each with its module.
_LATER = {
    "dump_on": ".signals",
    "install": ".installation",
    "pools": ".registry",
    "publish": ".fleet.publisher",
    "uninstall": ".installation",
}

if not TYPE_CHECKING:  # with it, type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Return one of redpool's modules, or of what `_LATER` names, imported when it is first used."""
        if name in ("asyncio", "embedded", "valkey"):
            return import_module(f".{name}", __name__)
        if name in _LATER:
            return getattr(import_module(_LATER[name], __name__), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
