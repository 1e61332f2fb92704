"""Who gets a connection of one's own from a pool that shares them, and what redis-py's users may pass to one."""

from __future__ import annotations

import sys
from types import CodeType, ModuleType
from typing import Any

import pytest
import redis.asyncio.client
import redis.client

import redpool.asyncio
from redpool.redispy import internals
from redpool.redispy.internals import HImportRegistry
from support import faces
from support.faces import Face


def test_a_caller_that_asks_for_a_connection_gets_one(kind: Face, redis_url: str) -> None:
    """A caller that isn't redis-py itself may look into it, compare it, poll its socket: it is a real one."""
    pool = kind.pool_from_url(redis_url)
    connection = pool.get_connection()
    held = faces._unwrapped(connection)
    assert isinstance(held, kind.redis.Connection)
    assert held in faces._unwrapped(pool)._in_use_connections
    assert held.is_connected
    connection.send_command("ECHO", "mine")
    assert connection.read_response() == b"mine"
    pool.release(connection)
    assert pool.stats().in_use == 0


def _codes(module: ModuleType) -> dict[str, CodeType]:
    """All functions that a module's source defines, by their qualified names."""
    assert module.__file__ is not None
    with open(module.__file__, encoding="utf-8") as file:
        rest = [compile(file.read(), module.__file__, "exec")]
    found: dict[str, CodeType] = {}
    while rest:
        code = rest.pop()
        found[code.co_qualname] = code
        rest += [each for each in code.co_consts if isinstance(each, CodeType)]
    return found


@pytest.mark.parametrize("paths", [internals.ONE_CALL, internals.ONE_CALL_ASYNC], ids=["threads", "asyncio"])
def test_the_paths_of_redis_py_are_there(paths: dict[str, dict[str, Any]]) -> None:
    """Each function on the list is one that redis-py defines, and that takes a connection."""
    for name, namespace in paths.items():
        code = _codes(sys.modules[namespace["__name__"]])[name]
        assert "get_connection" in code.co_names, name


@pytest.mark.parametrize(
    ("module", "paths", "keepers"),
    [
        (
            redis.client,
            internals.ONE_CALL,
            {"Redis.__init__", "Monitor.__init__", "PubSub.execute_command"},
        ),
        (
            redis.asyncio.client,
            internals.ONE_CALL_ASYNC,
            {"Redis.initialize", "Monitor.connect", "PubSub.connect"},
        ),
    ],
    ids=["threads", "asyncio"],
)
def test_all_others_in_redis_py_keep_what_they_take(
    module: ModuleType, paths: dict[str, dict[str, Any]], keepers: set[str]
) -> None:
    """What takes a connection inside redis-py's clients is known: a further function has to be looked at."""
    takers = {name for name, code in _codes(module).items() if "get_connection" in code.co_names}
    assert takers == keepers | {name for name, namespace in paths.items() if namespace is vars(module)}


def test_an_empty_registry_is_kept(kind: Face) -> None:
    """A registry of fieldsets without any is false; it is the user's all the same."""
    registry = HImportRegistry()
    pool = kind.pool(himport_registry=registry)
    assert faces._unwrapped(pool).himport_registry is registry


@pytest.mark.parametrize("asked", [None, True, False])
def test_a_client_on_a_loop_closes_its_pool_unless_raised_not_to(redis_url: str, asked: bool | None) -> None:
    """`auto_close_connection_pool` is honoured as in redis-py, which warns of it."""
    host, port = redis_url.removeprefix("redis://").split("/")[0].split(":")
    if asked is None:
        client = redpool.asyncio.Redis(host=host, port=int(port))
    else:
        with pytest.warns(DeprecationWarning, match="auto_close_connection_pool"):
            client = redpool.asyncio.Redis(host=host, port=int(port), auto_close_connection_pool=asked)
    assert client.auto_close_connection_pool is (asked is not False)
