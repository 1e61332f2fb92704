"""Import the user's pool or client, and read what it says of itself: redpool's, redis-py's own and valkey-py's."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..core.config import PoolConfig
from ..core.histogram import Distributions
from ..core.stats import counted
from ..redispy.internals import retries_of
from .facts import PoolFacts

# The first of these that a class of its ancestry stands in says whose a pool is.
_FAMILIES = {"redpool": "redpool", "valkey": "valkey-py", "redis": "redis-py"}
_ASKED = ("socket_timeout", "socket_connect_timeout", "socket_keepalive", "protocol", "retry", "parser_class")


class NotAPool(ValueError):
    """What was named can't be imported, or is neither a pool nor a client."""


def load(where: str) -> list[tuple[str, Any]]:
    """Import `module:attribute` and return its pools, each with its name here: of a cluster's client there are several.

    Raises `NotAPool`.
    """
    module, colon, attribute = where.partition(":")
    if not (module and colon and attribute):
        raise NotAPool(f"--pool {where!r}: write module:attribute, such as myapp.cache:pool")
    if os.getcwd() not in sys.path:  # as with `python -m`
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # the user's module runs: anything may come
        raise NotAPool(f"--pool {where!r}: {module} can't be imported: {type(error).__name__}") from error
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise NotAPool(f"--pool {where!r}: {module} has no {attribute}") from None
    pools = list(_pools_of(where, found))
    if not pools:
        raise NotAPool(f"--pool {where!r}: it is neither a pool nor a client, but a {type(found).__name__}")
    return pools


def _pools_of(where: str, found: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(found, "connection_pool"):  # a client
        found = found.connection_pool
    if hasattr(found, "connection_kwargs") and hasattr(found, "max_connections"):
        yield where, found
    elif hasattr(found, "get_nodes"):  # a cluster's client
        for node in found.get_nodes():
            client = getattr(node, "redis_connection", None)
            if client is not None:
                yield f"{where} ({node.name})", client.connection_pool


def server_of(pool: Any) -> tuple[str, dict[str, Any]]:
    """Return the URL of a pool's server, without credentials, and the options by which a client gets in.

    Raises `NotAPool` where only a Sentinel knows.
    """
    options: Mapping[str, Any] = pool.connection_kwargs
    if not {"host", "path"} & options.keys() and hasattr(pool, "sentinel_manager"):
        raise NotAPool("--pool: a Sentinel knows where its server is; give the server's URL, too")
    names = ("username", "password", "credential_provider", "db")
    kept = {name: value for name, value in options.items() if name in names or name.startswith("ssl_")}
    if "path" in options:
        return f"unix://{options['path']}", kept
    host = str(options.get("host", "localhost"))
    place = f"[{host}]" if ":" in host else host
    encrypted = "SSL" in getattr(pool.connection_class, "__name__", "")
    return f"{'rediss' if encrypted else 'redis'}://{place}:{options.get('port', 6379)}", kept


def facts_of(where: str, pool: Any, all_pools: Iterable[Any]) -> PoolFacts:
    """Return what a pool is like, and what it has counted; `all_pools` are those of this process."""
    kind = type(pool)
    family = next((_FAMILIES[top] for top in map(_top, kind.__mro__) if top in _FAMILIES), "other")
    address = address_of(pool)
    settings = _connection(pool)
    config: Any = getattr(pool, "config", None)
    ours = isinstance(config, PoolConfig)
    waits = ours or hasattr(pool, "timeout")
    retry = settings.get("retry")
    common: dict[str, Any] = {
        "where": where,
        "family": family,
        "shell": "asyncio" if any(".asyncio" in each.__module__ for each in kind.__mro__) else "threads",
        "kind": kind.__name__,
        "max_connections": int(pool.max_connections),
        "host": "" if "path" in pool.connection_kwargs else str(pool.connection_kwargs.get("host", "localhost")),
        "socket_timeout": settings.get("socket_timeout"),
        "connect_timeout": settings.get("socket_connect_timeout"),
        "retries": 0 if retry is None else retries_of(retry),
        "keepalive": bool(settings.get("socket_keepalive")),
        "protocol": int(settings.get("protocol") or 2),
        "parser": getattr(settings.get("parser_class"), "__name__", ""),
        "credentials_change": pool.connection_kwargs.get("credential_provider") is not None,
        "caches": _caches(pool),
        "siblings": sum(address_of(each) == address for each in all_pools),
    }
    if not ours:
        timeout = getattr(pool, "timeout", 0.0) if waits else 0.0
        interval = settings.get("health_check_interval") or None
        # Those of threads keep them elsewhere, and survive a fork anyway.
        opened = 0
        if common["shell"] == "asyncio":
            opened = len(pool._available_connections) + len(pool._in_use_connections)
        return PoolFacts(name=address, waits=waits, timeout=timeout, ping_after_idle=interval, open=opened, **common)
    return PoolFacts(**common, **_of_ours(pool, config))


def _of_ours(pool: Any, config: Any) -> dict[str, Any]:
    stats, record = pool.stats(), pool.record()
    spread: Distributions = pool.distributions()
    return {
        "name": stats.name,
        "multiplexed": hasattr(config, "shared_connections"),
        "timeout": config.timeout,
        "max_idle_time": config.max_idle_time,
        "max_lifetime": config.max_lifetime,
        "lifetime_jitter": config.lifetime_jitter,
        "ping_after_idle": config.ping_after_idle,
        "shared_connections": getattr(config, "shared_connections", 0),
        "open": stats.open,
        "counters": counted(stats),
        "closed": dict(stats.closed),
        "wait": spread.wait,
        "use": spread.use,
        "connect": spread.connect,
        "record": record if record.arrivals else None,
        "bounded": config.bounded,
        "sizes_itself": config.sizes_itself,
        "commands": tuple(lease.last_command or "" for lease in pool.dump().leases),
    }


def address_of(pool: Any) -> str:
    """Return `host:port/db`, or `path/db`, of a pool's server."""
    options: Mapping[str, Any] = pool.connection_kwargs
    place = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    return f"{place}/{options.get('db') or 0}"


def find_all() -> list[Any]:
    """Return all pools of this process, of any of the three families."""
    return [each for each in gc.get_objects() if _is_pool(type(each))]


def _is_pool(kind: type) -> bool:
    return any(each.__name__ == "ConnectionPool" and _top(each) in _FAMILIES for each in kind.__mro__)


def _top(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _connection(pool: Any) -> Mapping[str, Any]:
    """Return the settings of the pool's connections, with redis-py's defaults; one is made, and not connected."""
    options: dict[str, Any] = dict(pool.connection_kwargs)
    try:
        made: Any = pool.connection_class(**options)
    except Exception:  # a class of the user's: then what was said must do
        return options
    found = {name: getattr(made, name) for name in (*_ASKED, "health_check_interval") if hasattr(made, name)}
    return options | found | {"parser_class": type(made._parser)}


def _caches(pool: Any) -> bool:
    options = pool.connection_kwargs
    return getattr(pool, "cache", None) is not None or any(options.get(name) for name in ("cache", "cache_config"))
