"""The pools that are compared: all are created in the same way, and let callers wait equally long."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import redis
import redis.asyncio

import redpool
import redpool.asyncio

# Longer than any measurement: a caller that starves shall show as waiting, not as failing.
PATIENT = MappingProxyType({"timeout": 60.0})


@dataclass(frozen=True)
class Contender:
    """A kind of pool, and its `name` in reports."""

    name: str
    pool_class: Any
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self, url: str, max_connections: int) -> Any:
        """Return a new pool for `url` without open connections."""
        return self.pool_class.from_url(url, max_connections=max_connections, **self.options)


PLAIN = Contender("redis.ConnectionPool", redis.ConnectionPool)
BLOCKING = Contender("redis.BlockingConnectionPool", redis.BlockingConnectionPool, PATIENT)
OURS = Contender("redpool.ConnectionPool", redpool.ConnectionPool, PATIENT)

ASYNC_PLAIN = Contender("redis.asyncio.ConnectionPool", redis.asyncio.ConnectionPool)
ASYNC_BLOCKING = Contender("redis.asyncio.BlockingConnectionPool", redis.asyncio.BlockingConnectionPool, PATIENT)
ASYNC_OURS = Contender("redpool.asyncio.ConnectionPool", redpool.asyncio.ConnectionPool, PATIENT)
