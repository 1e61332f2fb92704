"""What stands in for redis-py's pools, in the whole process: calling one of their classes makes a pool of ours.

The classes stay where they are, so that a module that has one of their names, imported before or after, makes pools of
ours by it. A class that others have derived from one of them makes its own pools, as before.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

import redis.asyncio.connection
import redis.asyncio.sentinel
import redis.connection
import redis.sentinel

from .options import pool_name
from .surface import AsyncSurface, SyncSurface

logger = logging.getLogger("redpool")

# redis-py's classes of pools.
PLAIN, PLAIN_ASYNC = redis.connection.ConnectionPool, redis.asyncio.connection.ConnectionPool
BLOCKING, BLOCKING_ASYNC = redis.connection.BlockingConnectionPool, redis.asyncio.connection.BlockingConnectionPool
SENTINEL = redis.sentinel.SentinelConnectionPool
SENTINEL_ASYNC = redis.asyncio.sentinel.SentinelConnectionPool

_stand_ins: Mapping[type, type] = {}  # replaced as a whole
_logged: set[type] = set()  # the classes of others, each of which is logged once
_suspended = threading.local()


def exchange(stand_ins: Mapping[type, type]) -> None:
    """Have each class of redis-py's that the mapping names make pools of the class that it names for it."""
    global _stand_ins  # noqa: PLW0603  it belongs to the process, as redis-py's classes do
    for base in (PLAIN, PLAIN_ASYNC):
        if "__new__" not in vars(base):
            # These stay: once `__new__` was set and deleted, CPython takes no arguments for the class any more.
            base.__new__ = _new  # type: ignore[method-assign]  # as is said above
            base.from_url = _from_url(base.from_url)  # type: ignore[method-assign]  # the same
    earlier = set() if _stand_ins else set(_pools(stand_ins))
    if earlier:
        logger.warning("these pools were made before, and stay redis-py's: %s", ", ".join(sorted(earlier)))
    _stand_ins = dict(stand_ins)


@contextmanager
def suspended() -> Iterator[None]:
    """Have redis-py's classes make their own pools, for the calling thread in a block."""
    _suspended.here = True
    try:
        yield
    finally:
        _suspended.here = False


def _instead_of(pool_class: type) -> Any:
    """Return the class that stands in for this one, `None` where there is none."""
    if not _stand_ins or getattr(_suspended, "here", False):
        return None
    stand_in = _stand_ins.get(pool_class)
    if stand_in is None and pool_class not in _logged and not issubclass(pool_class, SyncSurface | AsyncSurface):
        _logged.add(pool_class)
        logger.warning("%s.%s derives from redis-py's pool, and stays it", pool_class.__module__, pool_class.__name__)
    return stand_in


def _new(cls: type, *args: Any, **kwargs: Any) -> Any:
    stand_in = _instead_of(cls)
    if stand_in is None:
        return object.__new__(cls)
    # Python calls `__init__` of what is an instance of the class that was called.
    return object.__new__(stand_in) if issubclass(stand_in, cls) else stand_in(*args, **kwargs)


def _from_url(theirs: Any) -> Any:
    function: Callable[..., Any] = theirs.__func__

    @wraps(function)
    def from_url(cls: type, url: str, **kwargs: Any) -> Any:
        stand_in = _instead_of(cls)
        return function(cls, url, **kwargs) if stand_in is None else stand_in.from_url(url, **kwargs)

    return classmethod(from_url)  # type: ignore[arg-type]  # mypy loses the function's first parameter


def _pools(classes: Mapping[type, type]) -> Iterator[str]:
    """Name the pools of these classes that there are."""
    gc.collect()  # else those that are dropped already would be among them
    for each in gc.get_objects():
        if type(each) in classes:
            yield f"{type(each).__module__}.{type(each).__name__}({pool_name(each.connection_kwargs)})"
