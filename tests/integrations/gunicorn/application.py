"""A WSGI application over a pool that is made before gunicorn forks its workers, as with `--preload`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

import redpool
from redpool.metrics.prometheus import export

pool = redpool.ConnectionPool.from_url(os.environ["REDIS_URL"], max_connections=7, name="served")
r = redpool.Redis(connection_pool=pool)
export(pool, every=0.02)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer `/metrics` with what all workers have counted; anything else with this worker's pid, after a command."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/metrics":
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return [generate_latest(registry)]
    r.set("key", "value")
    return [str(os.getpid()).encode()]
