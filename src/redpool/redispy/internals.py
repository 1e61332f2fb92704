"""What redpool knows of the inside of redis-py: who calls it there, and which methods others may have replaced.

Tracers, test doubles and users' own classes put methods in the place of redis-py's. Where they have, calls go
redis-py's way, which runs those methods: the shorter ways of redpool would pass them by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

import redis.asyncio.client
import redis.client
import redis.cluster

ONE_CALL: dict[str, dict[str, Any]] = {
    "Redis._execute_command": vars(redis.client),
    "Pipeline.execute": vars(redis.client),
    "Pipeline.immediate_execute_command": vars(redis.client),
    "get_connection": vars(redis.cluster),
}
"""Those that take a connection for one command or pipeline, and release it then; the module in which each is defined.

All other callers may want a connection for themselves. They are known by name: the function that runs in the end is
redis-py's, even where another stands in its place."""

ONE_CALL_ASYNC: dict[str, dict[str, Any]] = {
    "Redis.execute_command": vars(redis.asyncio.client),
    "Pipeline.execute": vars(redis.asyncio.client),
    "Pipeline.immediate_execute_command": vars(redis.asyncio.client),
}
"""The same on an event loop."""

CLIENT_METHODS = ("_execute_command", "_send_command_parse_response", "parse_response")
"""What redis-py's `execute_command` executes a command by."""

PIPELINE_METHODS = ("execute", "_execute_pipeline", "_execute_transaction", "parse_response")
"""What its pipeline is executed by."""

CONNECTION_METHODS = ("send_command", "send_packed_command", "_send_packed_command", "pack_command", "pack_commands",
                      "read_response", "check_health")  # fmt: skip
"""What a connection sends and reads by."""

_OWN = ("redis", "redpool")


def is_own(function: object) -> bool:
    """Return whether redis-py or redpool has defined a function, not someone else."""
    return type(function) is FunctionType and str(function.__globals__.get("__name__")).partition(".")[0] in _OWN


def original(owner: type, name: str) -> Any:
    """Return a method as redis-py has it, also where another has wrapped it already; `None` where it can't be found."""
    function = getattr(owner, name, None)
    while function is not None and not is_own(function):
        function = getattr(function, "__wrapped__", None)
    return function


def untouched(owner: type, names: Iterable[str]) -> bool:
    """Return whether none of the methods that a class has by these names is someone else's."""
    return all(is_own(getattr(owner, name)) for name in names if hasattr(owner, name))


def watch_pipelines(owner: type) -> Callable[[], bool]:
    """Return what tells whether another stands in the place of a method of redis-py's pipeline now."""
    methods = [(name, original(owner, name)) for name in PIPELINE_METHODS]
    return lambda: any(getattr(owner, name) is not method for name, method in methods)


def watch_connections(owner: Any) -> Callable[[], bool]:
    """Return what tells whether another stands in the place of a method of a connection class's now.

    It is asked at each command: that is why only those are looked at that all commands go through, and spelt out; all
    `CONNECTION_METHODS` are when a connection is made. By identity, since a wrapper may equal what it wraps.
    """
    send_command, send_packed_command, read_response = (
        original(owner, name) for name in ("send_command", "send_packed_command", "read_response")
    )

    def replaced() -> bool:
        return (
            owner.send_command is not send_command
            or owner.send_packed_command is not send_packed_command
            or owner.read_response is not read_response
        )

    return replaced
