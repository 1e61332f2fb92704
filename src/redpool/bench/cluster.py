"""Cases over a cluster: many callers that GET keys of all its masters."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, closing
from functools import partial
from typing import Any

import redis
import redis.asyncio

import redpool
import redpool.asyncio
from redpool import embedded

from .load import Figures, TaskLoad, ThreadLoad
from .setting import CLUSTER_KEYS, Setting

_WARM_UP_SHARE = 0.2


# -- the clients -------------------------------------------------------------------------------------------------------


def for_threads(kind: Any, server: embedded.Server) -> Any:
    """Return a client for threads, which `close` closes."""
    return kind(host=server.host, port=server.port)


@asynccontextmanager
async def for_tasks(kind: Any, server: embedded.Server) -> AsyncIterator[Any]:
    """Open a client of redis-py's kind for tasks."""
    async with aclosing(kind(host=server.host, port=server.port)) as client:
        yield await client.initialize()


@asynccontextmanager
async def glide(server: embedded.Server) -> AsyncIterator[Any]:
    """Open valkey-glide's client, where that is installed."""
    from glide import GlideClusterClient, GlideClusterClientConfiguration, NodeAddress

    options = GlideClusterClientConfiguration([NodeAddress(server.host, server.port)], request_timeout=60_000)
    client = await GlideClusterClient.create(options)
    try:
        yield client
    finally:
        await client.close()


OpenForThreads = Callable[[embedded.Server], Any]
OpenForTasks = Callable[[embedded.Server], AbstractAsyncContextManager[Any]]

THREADS: dict[str, OpenForThreads] = {
    "redis.RedisCluster": partial(for_threads, redis.RedisCluster),
    "redpool.RedisCluster": partial(for_threads, redpool.RedisCluster),
}
TASKS: dict[str, OpenForTasks] = {
    "redis.asyncio.RedisCluster": partial(for_tasks, redis.asyncio.RedisCluster),
    "redpool.asyncio.RedisCluster": partial(for_tasks, redpool.asyncio.RedisCluster),
}
GLIDE: dict[str, OpenForTasks] = {
    "valkey-glide": glide,
    "redpool.asyncio.RedisCluster": TASKS["redpool.asyncio.RedisCluster"],
}


# -- what is measured --------------------------------------------------------------------------------------------------


def threads(open_client: OpenForThreads, setting: Setting, *, callers: int) -> Figures:
    """Measure `callers` threads that GET in a loop, each a key of its own."""
    with closing(open_client(setting.cluster())) as client:
        calls = [partial(client.get, CLUSTER_KEYS[number % len(CLUSTER_KEYS)]) for number in range(callers)]
        ThreadLoad(calls).run(setting.seconds * _WARM_UP_SHARE)
        return ThreadLoad(calls).run(setting.seconds)


def tasks(open_client: OpenForTasks, setting: Setting, *, callers: int) -> Figures:
    """Measure `callers` asyncio tasks that GET in a loop, each a key of its own."""

    async def measure() -> Figures:
        async with open_client(setting.cluster()) as client:
            calls = [partial(client.get, CLUSTER_KEYS[number % len(CLUSTER_KEYS)]) for number in range(callers)]
            await TaskLoad(calls).run(setting.seconds * _WARM_UP_SHARE)
            return await TaskLoad(calls).run(setting.seconds)

    return asyncio.run(measure())
