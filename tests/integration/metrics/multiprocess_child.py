"""A program in prometheus_client's multiprocess mode, which is chosen for good when that is imported."""

from __future__ import annotations

import gc
import os
import sys

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

import redpool
from redpool.metrics import multiprocess
from redpool.metrics.prometheus import export

registry = CollectorRegistry()
MultiProcessCollector(registry)


def seen(name: str, pool: str = "kept", **labels: str) -> float | None:
    """Write what there is to write, and scrape."""
    for writer in multiprocess._writers:
        writer.write()
    return registry.get_sample_value(f"redpool_{name}", {"pool": pool, **labels})


def main(url: str) -> None:
    """Use pools, reset one, drop one, fork."""
    kept, dropped = (redpool.MultiplexedConnectionPool.from_url(url, name=name) for name in ("kept", "dropped"))
    export(kept, every=3600)
    export(dropped, every=3600)
    assert seen("connections_max") is None, "the pools are not used"

    for pool in (kept, dropped):
        client = redpool.Redis(connection_pool=pool)
        client.get("key")
        client.get("key")
    del client
    shared = ("commands_total", "connections", "connect_seconds_count")
    assert [seen(name, **({"state": "in_use"} if name == "connections" else {})) for name in shared] == [2, 1, 1]
    assert seen("connect_seconds_bucket", le="30.0") == 1
    assert (seen("connections_max", "dropped"), seen("commands_total", "dropped")) == (50, 2)

    del pool, dropped
    gc.collect()
    assert (seen("connections_max", "dropped"), seen("commands_total", "dropped")) == (0, 2), "a pool is gone"

    kept.reset()
    assert seen("connections", state="in_use") == 0
    redpool.Redis(connection_pool=kept).get("key")
    assert (seen("commands_total"), seen("connected_total"), seen("connect_seconds_count")) == (3, 2, 2), "it was reset"

    child = os.fork()
    if child == 0:
        assert seen("connections_max") == 50, "the child has not used it"
        redpool.Redis(connection_pool=kept).get("key")
        in_child = seen("connections_max"), seen("commands_total"), seen("connect_seconds_count")
        os._exit(0 if in_child == (100, 4, 3) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert seen("commands_total") == 4


if __name__ == "__main__":
    main(sys.argv[1])
