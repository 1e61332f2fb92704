"""A web application that has used its clients while it was loaded, as many do. uWSGI loads it by its file's name."""

from __future__ import annotations

import os

if os.environ.get("PATCHED"):
    from gevent import monkey  # type: ignore[import-untyped]

    monkey.patch_all()

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import redis

import redpool
import redpool.asyncio

_URL = os.environ["REDIS_URL"]
_tasks_client = redpool.asyncio.Redis.from_url(_URL)


async def _echo_in_a_loop(token: str) -> Any:
    return await _tasks_client.echo(token)


CLIENTS: dict[str, Callable[[str], Any]] = {
    "redis-py": redis.Redis.from_url(_URL).echo,
    "dedicated": redis.Redis(connection_pool=redpool.ConnectionPool.from_url(_URL)).echo,
    "multiplexed": redis.Redis(connection_pool=redpool.MultiplexedConnectionPool.from_url(_URL)).echo,
    "client": redpool.Redis.from_url(_URL).echo,
}
if not os.environ.get("PATCHED"):  # greenlets of one thread would find each other's loops running
    CLIENTS["asyncio"] = lambda token: asyncio.run(_echo_in_a_loop(token))


def ask(echo: Callable[[str], Any], turns: int) -> list[str]:
    """Ask so many times; what was wrong."""
    faults = []
    for turn in range(turns):
        token = f"{os.getpid()}-{threading.get_ident()}-{turn}"
        try:
            reply = echo(token)
        except Exception as error:
            faults.append(repr(error))
        else:
            if reply != token.encode():
                faults.append(f"{reply!r} for {token}")
    return faults


for _name, _echo in CLIENTS.items():
    assert ask(_echo, 3) == [], _name


def application(environ: Any, start_response: Any) -> list[bytes]:
    """Use each of them."""
    faults = {name: ask(echo, 2 if name == "asyncio" else 10) for name, echo in CLIENTS.items()}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"pid": os.getpid(), "faults": faults}).encode()]
