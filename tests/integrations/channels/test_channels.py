"""Both layers of channels_redis over our pools."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

import redpool.asyncio
from redpool.contrib.channels import RedisChannelLayer, RedisPubSubChannelLayer, create_pool
from redpool.embedded import Server
from redpool.testing import FaultProxy

from ..conftest import write_page

LAYERS = [RedisChannelLayer, RedisPubSubChannelLayer]
PATIENCE = 60.0


async def closed(layer: Any) -> None:
    """End a layer, as channels_redis wants it: by `flush`."""
    await layer.flush()


@pytest.mark.parametrize("layer_class", LAYERS)
def test_messages_arrive(layer_class: Any, redis_url: str) -> None:
    """To a channel and to groups, from one loop after another; a host may have the pool's options."""

    async def talk() -> list[Any]:
        here, there = (layer_class(hosts=[{"address": redis_url, "timeout": 2}]) for _ in range(2))
        channels = [await here.new_channel() for _ in range(5)]
        for channel in channels:
            await here.group_add("some", channel)
        await there.group_send("some", {"type": "shout"})
        await there.send(channels[0], {"type": "whisper"})
        heard = await asyncio.wait_for(
            asyncio.gather(*(here.receive(channel) for channel in [*channels, channels[0]])), PATIENCE
        )
        await here.group_discard("some", channels[0])
        await asyncio.gather(*(closed(layer) for layer in (here, there)))
        return sorted(message["type"] for message in heard)

    for _ in range(2):
        assert asyncio.run(talk()) == ["shout"] * 5 + ["whisper"]


@pytest.mark.parametrize(("layer_class", "most"), [(RedisChannelLayer, 1), (RedisPubSubChannelLayer, 2)])
def test_what_is_sent_shares_a_connection(layer_class: Any, most: int, redis_url: str) -> None:
    """Two hundred messages at once; the pub/sub layer listens over one more."""

    async def send() -> tuple[int, int]:
        layer = layer_class(hosts=[redis_url], capacity=1000)
        async with redis.asyncio.from_url(redis_url) as asking:
            before = len(await asking.client_list())
            channel = await layer.new_channel()
            await asyncio.gather(*(layer.send(channel, {"type": "some", "n": n}) for n in range(200)))
            connected = len(await asking.client_list()) - before
        heard = {(await asyncio.wait_for(layer.receive(channel), PATIENCE))["n"] for _ in range(200)}
        await closed(layer)
        return len(heard), connected

    heard, connected = asyncio.run(send())
    assert heard == 200
    assert connected <= most


def test_a_subscriber_comes_back(own_server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """After its connection was cut, and no connection is dropped on the way or at the end."""

    async def listen() -> bool:
        with FaultProxy(own_server.host, own_server.port) as proxy:
            layer = RedisPubSubChannelLayer(hosts=[proxy.url])
            channel = await layer.new_channel()
            await layer.send(channel, {"type": "before"})
            assert (await asyncio.wait_for(layer.receive(channel), PATIENCE))["type"] == "before"
            proxy.reset()
            receiving = asyncio.create_task(layer.receive(channel))
            while not receiving.done():
                await layer.send(channel, {"type": "after"})
                await asyncio.wait({receiving}, timeout=0.05)
            await closed(layer)
            return bool(receiving.result()["type"] == "after")

    with caplog.at_level(logging.WARNING, "redpool"):
        assert asyncio.run(listen())
    assert "dropped" not in caplog.text


def test_each_kind_of_host_has_a_pool() -> None:
    """As channels_redis describes them: an address, a host and a port, a master that Sentinel knows."""
    hosts: list[dict[str, Any]] = [
        {"address": "redis://localhost:1/2", "max_connections": 3},
        {"host": "localhost", "port": 1, "db": 2, "max_connections": 3},
        {"sentinels": [("localhost", 1)], "master_name": "some", "db": 2, "max_connections": 3},
    ]
    for host in hosts:
        before = dict(host)
        pool = create_pool(host)
        assert isinstance(pool, redpool.asyncio.MultiplexedConnectionPool)
        assert (pool.max_connections, pool.connection_kwargs["db"], host) == (3, 2, before)


def test_the_settings_on_the_page(base_url: str, tmp_path: Path) -> None:
    """Django's Channels finds the layers by them."""
    write_page("channels", tmp_path, base_url)
    code = """
import asyncio
from django.conf import settings
import layers
settings.configure(CHANNEL_LAYERS=layers.CHANNEL_LAYERS)
from channels.layers import get_channel_layer
async def talk(layer):
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "hello"})
    print((await layer.receive(channel))["type"], type(layer).__module__)
    await layer.flush()
for name in ("default", "pubsub"):
    asyncio.run(talk(get_channel_layer(name)))
"""
    path = os.pathsep.join((str(tmp_path), *sys.path))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("hello redpool.contrib.channels\n" * 2, "")
