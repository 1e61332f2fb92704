"""Servers of python-socketio that reach each other over our pools."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import redis
import socketio

import redpool
import redpool.asyncio
from redpool.contrib.socketio import AsyncRedisManager, RedisManager
from redpool.embedded import Server
from redpool.testing import FaultProxy

from ..conftest import Load

PATIENCE = 60.0


def listeners(url: str) -> int:
    """Return how many managers listen."""
    with redis.from_url(url) as asking:
        return int(dict(asking.pubsub_numsub("socketio"))[b"socketio"])


async def until(so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def noted(manager: Any) -> list[Any]:
    """Return the list in which what comes for the manager's own clients is noted."""
    heard: list[Any] = []

    async def note(message: Any) -> None:
        heard.append(message["data"][0])

    manager._handle_emit = note
    return heard


async def ended(*managers: Any) -> None:
    """End managers, which have no end of their own: the tasks by which they listen, and what these held."""
    for manager in managers:
        manager.thread.cancel()
    await asyncio.gather(*(manager.thread for manager in managers), return_exceptions=True)
    for manager in managers:
        await manager.pubsub.aclose()


def test_the_application_on_the_page(load: Load, base_url: str) -> None:
    """A server's events reach the clients of other servers, and what a process writes reaches them all."""
    (server,) = load("socketio", "server")

    async def talk() -> tuple[list[Any], ...]:
        other = AsyncRedisManager(f"{base_url}/0", redis_options={"timeout": 2})
        socketio.AsyncServer(async_mode="asgi", client_manager=other)
        heard = [noted(manager) for manager in (server.manager, other)]
        for manager in (server.manager, other):
            manager.server.manager_initialized = True
            manager.initialize()
        await until(lambda: listeners(base_url) == 2)
        await server.shout("someone", "from a server")
        writer = RedisManager(base_url, write_only=True)
        await asyncio.to_thread(writer.emit, "heard", "from elsewhere")
        await until(lambda: all(len(each) == 2 for each in heard))
        pool = server.manager.redis.connection_pool
        assert pool is other.redis.connection_pool
        assert pool.config.timeout == 2
        await ended(server.manager, other)
        await pool.aclose()
        return tuple(heard)

    assert asyncio.run(talk()) == (["from a server", "from elsewhere"],) * 2


def test_a_manager_listens_again(own_server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """After its connections were cut, and after a time without a server; it drops no connection."""

    async def talk() -> None:
        with FaultProxy(own_server.host, own_server.port) as proxy:
            manager = AsyncRedisManager(proxy.url)
            socketio.AsyncServer(async_mode="asgi", client_manager=manager)
            heard = noted(manager)
            manager.initialize()
            writer = RedisManager(own_server.url, write_only=True)
            for fault in (proxy.reset, proxy.hang_up, proxy.refuse):
                await until(lambda: listeners(own_server.url) == 1)
                await asyncio.to_thread(writer.emit, "heard", fault.__name__)
                await until(partial(heard.__contains__, fault.__name__))
                fault()
                proxy.reset()
                await until(lambda: listeners(own_server.url) == 0)
                proxy.heal()
            await until(lambda: listeners(own_server.url) == 1)
            await asyncio.to_thread(writer.emit, "heard", "in the end")
            await until(lambda: heard[-1] == "in the end")
            client = manager.redis
            await manager._publish({"method": "some"})
            assert manager.redis is client
            await ended(manager)
            await client.connection_pool.aclose()

    with caplog.at_level(logging.WARNING, "redpool"):
        asyncio.run(talk())
    assert "dropped" not in caplog.text


def test_threads_have_a_manager_too(redis_url: str) -> None:
    """What sixteen of them emit at once goes over one connection, and is heard over another one."""
    manager, writer = RedisManager(redis_url), RedisManager(redis_url, write_only=True)
    heard: list[int] = []

    def listen() -> None:
        for message in manager._listen():
            heard.append(json.loads(message)["data"][0])
            if len(heard) == 16:
                break

    listening = threading.Thread(target=listen)
    listening.start()
    asyncio.run(until(lambda: listeners(redis_url) == 1))
    threads = [threading.Thread(target=writer.emit, args=("heard", n)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in [*threads, listening]:
        thread.join(PATIENCE)
    assert sorted(heard) == list(range(16))
    pool = writer.redis.connection_pool
    assert pool is manager.redis.connection_pool
    assert type(pool) is redpool.MultiplexedConnectionPool
    assert pool.stats().open == 2
    manager.pubsub.close()
    pool.close()
