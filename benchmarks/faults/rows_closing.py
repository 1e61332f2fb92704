"""Pools that are closed, and pools that are dropped: what they leave, and whether a caller waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from typing import Any

import redis
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

from support.faces import Doing, eventually

from .rows import Finding, row
from .sides import Side

_REQUESTS = 300
_PATIENCE = 8.0


@row(
    46,
    f"{_REQUESTS} requests with a pool each: a reply, and an error reply; nothing is closed: what is left?",
    limit=40.0,
)
def a_pool_for_each_request(side: Side) -> Finding:
    """Whatever drops a pool last, its connections and threads go; here the collector runs at the end."""
    return _requests(side, {})


@row(46, "the same with client-side caching", limit=40.0)
def a_caching_pool_for_each_request(side: Side) -> Finding:
    """With client-side caching each connection has a way to its pool."""
    CacheProxyConnection.MIN_ALLOWED_VERSION = "6.0.0"
    return _requests(side, {"protocol": 3, "cache_config": CacheConfig()})


def _requests(side: Side, options: dict[str, Any]) -> Finding:
    threads = threading.active_count()
    observer = side.observer()
    for number in range(_REQUESTS):
        client = side.threads.client(**options)
        client.set("key", number)
        with contextlib.suppress(redis.ResponseError):
            client.execute_command("SET", "key")
        del client
    gc.collect()

    def left() -> tuple[int, int]:
        return threading.active_count() - threads, len(observer.client_list()) - 1

    eventually(lambda: left() == (0, 0), _PATIENCE)
    return Finding(left() == (0, 0), "{} threads, {} connections".format(*left()))


@row(54, "a thread listens to a channel, 3 retries; another one closes the client: does the listener end?")
def closing_under_a_listener(side: Side) -> Finding:
    """Otherwise an application that shuts down has a subscriber that connects again and again."""
    client = side.threads.client(retry=side.threads.retry(3))
    subscribed = threading.Event()

    def listen() -> None:
        pubsub = client.pubsub()
        pubsub.subscribe("news")
        for _ in pubsub.listen():
            subscribed.set()

    listening = Doing(listen)
    subscribed.wait(_PATIENCE)
    began = time.monotonic()
    client.connection_pool.close()
    took = time.monotonic() - began
    ended = eventually(lambda: listening.done, 2.0)
    return _closed(took, ended, listening.error)


@row(54, "the same with asyncio")
async def closing_under_a_listening_task(side: Side) -> Finding:
    """As in FastAPI's lifespan."""
    client = side.tasks.client(retry=side.tasks.retry(3))
    subscribed = asyncio.Event()

    async def listen() -> None:
        pubsub = client.pubsub()
        await pubsub.subscribe("news")
        async for _ in pubsub.listen():
            subscribed.set()

    listening = asyncio.create_task(listen())
    await subscribed.wait()
    began = time.monotonic()
    await client.connection_pool.aclose()
    took = time.monotonic() - began
    done, _ = await asyncio.wait((listening,), timeout=2.0)
    return _closed(took, bool(done), listening.exception() if done else None)


def _closed(took: float, ended: bool, error: BaseException | None) -> Finding:
    end = type(error).__name__ if ended else "still listening after 2 s"
    return Finding(took < 1.0 and isinstance(error, redis.ConnectionError), f"closed in {took:.2f} s; {end}")
