"""What an idle connection in a pool costs in memory."""

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import redis
import redis.connection

from .contenders import OURS
from .load import Figures
from .setting import Setting

_CONNECTIONS = 200

_parse_url: Any = redis.connection.parse_url


def memory(setting: Setting) -> Figures:
    """Return the bytes per idle connection in redpool's pool, the pool included, and per connection without a pool."""
    for build in (_by_hand, _pooled):
        build(setting.url, 1)()  # objects that a process creates once count for neither
    by_hand = _bytes_held(lambda: _by_hand(setting.url, _CONNECTIONS)) / _CONNECTIONS
    pooled = _bytes_held(lambda: _pooled(setting.url, _CONNECTIONS)) / _CONNECTIONS
    return {"bytes_each": pooled, "bytes_by_hand": by_hand, "bytes_beyond": pooled - by_hand}


def _by_hand(url: str, count: int) -> Callable[[], None]:
    options = _parse_url(url)
    connection_class = options.pop("connection_class", redis.Connection)
    connections = [connection_class(**options) for _ in range(count)]
    for connection in connections:
        connection.connect()

    def close() -> None:
        for connection in connections:
            connection.disconnect()

    return close


def _pooled(url: str, count: int) -> Callable[[], None]:
    pool = OURS.make(url, count)
    for connection in [pool.get_connection() for _ in range(count)]:
        pool.release(connection)
    close: Callable[[], None] = pool.close
    return close


def _bytes_held(build: Callable[[], Callable[[], None]]) -> int:
    """Return the bytes that are still allocated after `build`, whose result closes what it has built."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        close = build()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    close()
    return after - before
