"""What redpool knows of the inside of redis-py: its callers there, and the methods that others may have replaced.

Tracers, test doubles and users' own classes replace methods of redis-py's. Where they have, calls go redis-py's way,
which runs those methods: redpool's shorter ways would bypass them.
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
"""Functions that take a connection for one command or pipeline, and then release it; and the module of each.

All other callers may want a dedicated connection. The functions are recognized by name: even where another function
replaces one of them, redis-py's own runs in the end."""

ONE_CALL_ASYNC: dict[str, dict[str, Any]] = {
    "Redis.execute_command": vars(redis.asyncio.client),
    "Pipeline.execute": vars(redis.asyncio.client),
    "Pipeline.immediate_execute_command": vars(redis.asyncio.client),
}
"""The functions of `ONE_CALL` on an event loop."""

CLIENT_METHODS = ("_execute_command", "_send_command_parse_response", "parse_response")
"""The methods by which redis-py's `execute_command` executes a command."""

PIPELINE_METHODS = ("execute", "_execute_pipeline", "_execute_transaction", "parse_response")
"""The methods by which redis-py's pipeline is executed."""

CONNECTION_METHODS = ("send_command", "send_packed_command", "_send_packed_command", "pack_command", "pack_commands",
                      "read_response", "check_health")  # fmt: skip
"""The methods by which a connection of redis-py's sends and reads."""

_OWN = ("redis", "redpool")


def is_own(function: object) -> bool:
    """Return whether redis-py or redpool has defined this function, not a third party."""
    return type(function) is FunctionType and str(function.__globals__.get("__name__")).partition(".")[0] in _OWN


def original(owner: type, name: str) -> Any:
    """Return redis-py's own method, also where another function wraps it; `None` where it can't be found."""
    function = getattr(owner, name, None)
    while function is not None and not is_own(function):
        function = getattr(function, "__wrapped__", None)
    return function


def untouched(owner: type, names: Iterable[str]) -> bool:
    """Return whether redis-py or redpool has defined each method that the class has by one of these names."""
    return all(is_own(getattr(owner, name)) for name in names if hasattr(owner, name))


def watch_pipelines(owner: type) -> Callable[[], bool]:
    """Return a function that says whether a method of redis-py's pipeline is replaced now."""
    methods = [(name, original(owner, name)) for name in PIPELINE_METHODS]
    return lambda: any(getattr(owner, name) is not method for name, method in methods)


def watch_connections(owner: Any) -> Callable[[], bool]:
    """Return a function that says whether a method of the connection class is replaced now.

    It runs at each command of a task over a dedicated connection: on an event loop there is no maintenance each second.
    So it looks only at the methods that every command goes through, without a loop; all `CONNECTION_METHODS` are
    checked when a connection is created. It compares identities, since a wrapper may equal what it wraps.
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
