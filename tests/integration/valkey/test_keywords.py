"""The keywords that type checkers know are those that valkey-py's connections and clients take."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import valkey
import valkey.asyncio

from redpool.core.config import MultiplexedConfig, PoolConfig
from redpool.redispy.options import OWN_CACHE
from redpool.valkey import keywords

# What pools refuse, and what valkey-py itself no longer wants.
NEITHER = {"charset", "errors", "cache_allow_list", "cache_deny_list", "cache_enabled", "cache_max_size",
           "cache_policy", "cache_ttl", "client_cache"}  # fmt: skip


def taken(*callables: Any) -> set[str]:
    """The names of what these take by name."""
    several = (inspect.signature(each).parameters.values() for each in callables)
    return {each.name for found in several for each in found if each.kind is not each.VAR_KEYWORD} - {"self"}


@pytest.mark.parametrize(
    ("options", "module"),
    [(keywords.ThreadOptions, valkey.connection), (keywords.LoopOptions, valkey.asyncio.connection)],
    ids=["threads", "tasks"],
)
def test_those_of_connections(options: Any, module: Any) -> None:
    """None is missing, and none is made up."""
    classes = (module.AbstractConnection, module.Connection, module.SSLConnection, module.UnixDomainSocketConnection)
    theirs = taken(*(each.__init__ for each in classes)) - NEITHER
    ours = set(options.__annotations__) - PoolConfig.names()
    assert theirs <= ours
    assert ours - theirs <= {"encoder_class"}
    assert not OWN_CACHE, "redis-py's connections have none"


@pytest.mark.parametrize(
    ("options", "client"),
    [(keywords.ClientOptions, valkey.Valkey), (keywords.LoopClientOptions, valkey.asyncio.Valkey)],
    ids=["threads", "tasks"],
)
def test_those_of_clients(options: Any, client: Any) -> None:
    """All that valkey-py's client takes, and the pool's."""
    assert taken(client.__init__) - NEITHER <= set(options.__annotations__)
    assert MultiplexedConfig.names() <= set(options.__annotations__)
