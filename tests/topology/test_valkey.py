"""Clusters and Sentinels under valkey-py: redpool's own clients of `redpool.valkey`."""

from __future__ import annotations

import asyncio
from typing import Any

import valkey
from valkey.crc import key_slot

import redpool.valkey
import redpool.valkey.asyncio

from .servers import SERVICE, Cluster, Guarded

KEYS = [f"key:{number}" for number in range(12)]


def test_a_cluster(cluster: Cluster) -> None:
    """Commands go to their nodes over shared connections, and follow a slot that has moved."""
    first = cluster.servers[0]
    with redpool.valkey.ValkeyCluster(host=first.host, port=first.port, max_connections=5) as client:
        assert isinstance(client, valkey.ValkeyCluster)
        for number, key in enumerate(KEYS):
            client.set(key, number)
        pipe: Any = client.pipeline()
        for key in KEYS:
            pipe.get(key)
        assert pipe.execute() == [str(number).encode() for number in range(12)]
        slot = key_slot(KEYS[0].encode())
        _, target = cluster.begin_to_move(slot)
        assert client.get(KEYS[0]) == b"0"
        cluster.finish_to_move(slot, target)
        assert client.get(KEYS[0]) == b"0"
        nodes: Any = client
        pools = [node.valkey_connection.connection_pool for node in nodes.get_nodes()]
        assert all(pool.stats().commands and pool.stats().open == 1 for pool in pools)


def test_a_cluster_on_an_event_loop(cluster: Cluster) -> None:
    """The same."""
    first = cluster.servers[0]

    async def work() -> None:
        url = f"valkey://{first.host}:{first.port}"
        async with redpool.valkey.asyncio.ValkeyCluster.from_url(url) as client:
            await asyncio.gather(*[client.set(key, number) for number, key in enumerate(KEYS)])
            pipe: Any = client.pipeline()
            for key in KEYS:
                pipe.get(key)
            assert await pipe.execute() == [str(number).encode() for number in range(12)]
            nodes: Any = client
            assert all(pool.stats().commands for pool in nodes._pools.by_name.values())

    asyncio.run(work())


def test_a_sentinel(guarded: Guarded) -> None:
    """Its clients are redpool's, unless `valkey_class` says otherwise."""
    sentinel = redpool.valkey.Sentinel(guarded.sentinels, socket_timeout=5, max_connections=5)
    with sentinel.master_for(SERVICE) as master:
        assert type(master) is redpool.valkey.Valkey
        assert master.set("key", "value") is True
        assert master.get("key") == b"value"
    with sentinel.slave_for(SERVICE, valkey_class=valkey.Valkey) as replica:
        assert type(replica) is valkey.Valkey
        assert replica.ping()
    for client in sentinel.sentinels:
        client.close()


def test_a_sentinel_on_an_event_loop(guarded: Guarded) -> None:
    """The same."""

    async def work() -> None:
        sentinel = redpool.valkey.asyncio.Sentinel(guarded.sentinels, socket_timeout=5)
        async with sentinel.master_for(SERVICE) as master:
            assert type(master) is redpool.valkey.asyncio.Valkey
            await master.set("key", "value")
            assert await master.get("key") == b"value"
        for client in sentinel.sentinels:
            await client.aclose()

    asyncio.run(work())
