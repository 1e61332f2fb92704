"""All that redpool relies on inside redis-py: what has no place in its documentation, and may change in any release.

Constants and functions stand here. Private attributes that code elsewhere reads by itself, since it is on the hot path
or in a class derived from redis-py's, are listed in `PRIVATE`; ruff reports any other private name that is read.
tests/unit/test_internals.py walks the list on the installed redis-py.

Tracers, test doubles and users' own classes replace methods of redis-py's. Where they have, calls go redis-py's way,
which runs those methods: redpool's shorter ways would bypass them.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from types import FrameType, FunctionType
from typing import Any

import redis.asyncio.client
import redis.asyncio.observability.recorder
import redis.client
import redis.cluster
import redis.observability.recorder
from redis._parsers import Encoder as Encoder
from redis._parsers import _AsyncRESP2Parser, _AsyncRESP3Parser, _RESP2Parser, _RESP3Parser
from redis._parsers.hiredis import NOT_ENOUGH_DATA as NOT_ENOUGH_DATA
from redis._parsers.hiredis import _AsyncHiredisParser, _HiredisParser
from redis._parsers.socket import SERVER_CLOSED_CONNECTION_ERROR as SERVER_CLOSED_CONNECTION_ERROR
from redis.asyncio.client import PubSub as AsyncPubSub
from redis.client import Pipeline, PubSub
from redis.observability.providers import get_observability_instance

MADE_FOR = (8, 1), (9,)
"""The first version of redis-py whose inside is known, and the first that may have another."""


def check_version(version: tuple[int, ...]) -> None:
    """Warn of a redis-py whose inside isn't known, which may fail anywhere."""
    first, end = MADE_FOR
    if not first <= version < end:
        wanted, found = ".".join(map(str, first)), ".".join(map(str, version))
        warnings.warn(f"redpool is made for redis-py {wanted} up to {end[0]}, not for {found}", RuntimeWarning, 2)


check_version(redis.VERSION)


# -- what code elsewhere reads by itself -------------------------------------------------------------------------------

PRIVATE: dict[str, dict[str, str]] = {
    "redis.connection.Connection": {
        "_sock": "redispy.lifecycle redispy.pubsub redispy.streams redispy.tracking_sync sync.connection",
        "_parser": "redispy.hello redispy.lifecycle redispy.multiplexed redispy.pubsub redispy.sharing "
        "redispy.tracking_sync",
        "_command_packer": "redispy.sharing redispy.tracking_sync",
        "_should_reconnect": "redispy.lifecycle",
        "_connect": "redispy.tracking_sync testing.scripted",
        "_connect_callbacks": "redispy.lifecycle",
        "_send_ping": "redispy.tracking_sync",
        "_host_error": "redispy.hello redispy.routing redispy.sharing redispy.tracking_sync testing.scripted",
        "_get_parser": "redispy.caching",
        "_maint_notifications_connection_handler": "redispy.lifecycle",
        "_maint_notifications_pool_handler": "redispy.lifecycle",
    },
    "redis.asyncio.connection.Connection": {
        "_reader": "redispy.lifecycle redispy.pubsub redispy.tracking_async redispy.transports testing.scripted",
        "_writer": "redispy.lifecycle redispy.pubsub redispy.tracking_async redispy.transports testing.scripted",
        "_parser": "redispy.hello redispy.lifecycle redispy.multiplexed redispy.pubsub redispy.sharing "
        "redispy.tracking_async redispy.transports",
        "_should_reconnect": "redispy.lifecycle",
        "_connect": "redispy.tracking_async testing.scripted",
        "_connect_callbacks": "redispy.lifecycle",
        "_send_ping": "redispy.tracking_async",
        "_send_packed_command": "redispy.internals",
        "_host_error": "redispy.hello redispy.routing redispy.sharing testing.scripted",
        "_maint_notifications_connection_handler": "redispy.lifecycle",
        "_maint_notifications_pool_handler": "redispy.lifecycle",
        "_himport_prepared": "asyncio.cluster",
        "_himport_reconciled_revision": "asyncio.cluster",
    },
    "redis.connection.CacheProxyConnection": {
        "_conn": "redispy.caching redispy.lifecycle",
        "_cache": "redispy.caching",
        "_pool_lock": "redispy.caching",
        "_current_command_cache_key": "redispy.caching",
        "_process_pending_invalidations": "redispy.caching",
    },
    "redis._parsers._HiredisParser": {
        "_reader": "redispy.sharing redispy.tracking redispy.tracking_sync",
        "_buffer": "redispy.tracking_sync",
        "_socket_timeout": "redispy.tracking_sync",
    },
    "redis._parsers._AsyncHiredisParser": {
        "_reader": "redispy.lifecycle redispy.sharing redispy.tracking redispy.tracking_async",
    },
    "redis._parsers._RESP3Parser": {"_buffer": "redispy.lifecycle redispy.tracking"},
    "redis._parsers.socket.SocketBuffer": {"_read_from_socket": "redispy.lifecycle"},
    "redis._parsers._AsyncRESP3Parser": {"_buffer": "redispy.tracking"},
    "redis.connection.ConnectionPool": {
        "_available_connections": "redispy.surface sync.pool",
        "_in_use_connections": "redispy.surface sync.pool",
        "_created_connections": "sync.pool",
        "_lock": "redispy.surface",
        "_pool_id": "redispy.surface",
        "_get_free_connections": "redispy.surface",
        "_get_in_use_connections": "redispy.surface",
        "_get_pool_lock": "redispy.surface",
        "_maint_notifications_pool_handler": "redispy.surface",
    },
    "redis.asyncio.connection.ConnectionPool": {
        "_available_connections": "asyncio.pool redispy.surface",
        "_in_use_connections": "asyncio.pool redispy.surface",
        "_lock": "redispy.surface",
        "_on_close": "asyncio.pool",
        "_get_free_connections": "redispy.surface",
        "_get_in_use_connections": "redispy.surface",
        "_get_pool_lock": "redispy.surface",
        "_maint_notifications_pool_handler": "redispy.surface",
        "_run_proactive_reconnect_without_locking": "redispy.surface",
        "_should_update_connection": "redispy.surface",
        "_update_connections_settings_without_locking": "redispy.surface",
    },
    "redis.client.Redis": {"_execute_command": "redispy.internals"},
    "redis.retry.Retry": {
        "_backoff": "redispy.retry",
        "_supported_errors": "redispy.options redispy.retry",
    },
    "redis.asyncio.retry.Retry": {
        "_backoff": "redispy.retry",
        "_supported_errors": "redispy.options redispy.retry",
    },
    "redis.cluster.RedisCluster": {
        "_oss_cluster_maint_notifications_handler": "sync.cluster",
        "_policy_resolver": "redispy.cluster",
        "_execute_command": "sync.cluster",
    },
    "redis.asyncio.cluster.RedisCluster": {
        "_policy_resolver": "redispy.cluster",
        "_execute_command": "asyncio.cluster",
        "_initialize": "asyncio.cluster",
    },
    "redis.cluster.ClusterPipeline": {"_execution_strategy": "sync.cluster"},
    "redis.cluster.PipelineStrategy": {
        "_pipe": "sync.cluster",
        "_send_cluster_commands": "sync.cluster",
        "_raise_first_error": "sync.cluster",
    },
    "redis.cluster.TransactionStrategy": {"_reinitialize_on_error": "sync.cluster"},
    "redis.asyncio.cluster.ClusterPipeline": {"_execution_strategy": "asyncio.cluster"},
    "redis.asyncio.cluster.PipelineStrategy": {
        "_pipe": "asyncio.cluster",
        "_command_queue": "asyncio.cluster",
        "_annotate_exception": "asyncio.cluster",
    },
    "redis.asyncio.cluster.TransactionStrategy": {"_reinitialize_on_error": "asyncio.cluster"},
    "redis.sentinel.SentinelManagedConnection": {"_connect_retry": "sync.sentinel"},
    "redis.asyncio.sentinel.SentinelManagedConnection": {"_connect_retry": "asyncio.sentinel"},
    "redis.observability.providers.ObservabilityInstance": {
        "_provider_manager": "asyncio.client asyncio.cluster redispy.recording sync.client sync.cluster",
    },
    "redis.observability.recorder": {"_metrics_collector": "redispy.internals"},
    "redis.asyncio.observability.recorder": {"_get_or_create_collector": "redispy.internals"},
    # What redis-py's connections of an event loop consist of.
    "asyncio.StreamReader": {
        "_buffer": "redispy.lifecycle redispy.transports",
        "_eof": "redispy.transports",
        "_exception": "redispy.transports",
    },
    "asyncio.StreamWriter": {"_loop": "redispy.transports", "_transport": "redispy.transports"},
}
"""For each class its private names, and the modules that use them: read, set, call or override them."""


# -- classes, code and modules -----------------------------------------------------------------------------------------

HIREDIS_PARSER, HIREDIS_PARSER_ASYNC = _HiredisParser, _AsyncHiredisParser
"""The parsers whose replies redpool can read as well."""

RESP2_PARSERS: dict[type, type] = {_RESP3Parser: _RESP2Parser, _AsyncRESP3Parser: _AsyncRESP2Parser}
"""For each of redis-py's own parsers of RESP3 the one of RESP2."""

RECORDER: Any = get_observability_instance()
"""Has a `_provider_manager` while redis-py's OpenTelemetry recording is on."""

ONE_COMMAND = redis.client.Redis._execute_command.__code__
"""What takes a connection for one command, and releases it whatever happens."""

ONE_COMMAND_ASYNC = redis.asyncio.client.Redis.execute_command.__code__
"""The same on an event loop."""

CLIENT_MODULE, CLIENT_MODULE_ASYNC = vars(redis.client), vars(redis.asyncio.client)
"""The globals of redis-py's clients, by which frames of theirs are told from others."""

_LEAVING = (PubSub.reset.__code__, AsyncPubSub.aclose.__code__)
_FINALIZERS = (PubSub.__del__.__code__, Pipeline.__del__.__code__)
_DEEPEST = 5

ONE_CALL: dict[str, dict[str, Any]] = {
    "Redis._execute_command": CLIENT_MODULE,
    "Pipeline.execute": CLIENT_MODULE,
    "Pipeline.immediate_execute_command": CLIENT_MODULE,
    "get_connection": vars(redis.cluster),
}
"""Functions that take a connection for one command or pipeline, and then release it; and the module of each.

All other callers may want a dedicated connection. The functions are recognized by name: even where another function
replaces one of them, redis-py's own runs in the end."""

ONE_CALL_ASYNC: dict[str, dict[str, Any]] = {
    "Redis.execute_command": CLIENT_MODULE_ASYNC,
    "Pipeline.execute": CLIENT_MODULE_ASYNC,
    "Pipeline.immediate_execute_command": CLIENT_MODULE_ASYNC,
}
"""The functions of `ONE_CALL` on an event loop."""

CLIENT_METHODS = ("_execute_command", "_send_command_parse_response", "parse_response")
"""The methods by which redis-py's `execute_command` executes a command."""

PIPELINE_METHODS = ("execute", "_execute_pipeline", "_execute_transaction", "parse_response")
"""The methods by which redis-py's pipeline is executed."""

CLUSTER_METHODS = ("_internal_execute_command", "_execute_command", "_determine_nodes", "_determine_slot",
                   "determine_slot", "get_nodes_from_slot", "get_redis_connection", "keyslot",
                   "_process_result")  # fmt: skip
"""The methods by which redis-py's cluster clients find the node of a command, and execute it there."""

CONNECTION_METHODS = ("send_command", "send_packed_command", "_send_packed_command", "pack_command", "pack_commands",
                      "read_response", "check_health")  # fmt: skip
"""The methods by which a connection of redis-py's sends and reads."""

_OWN = ("redis", "redpool")


def collector(asynchronous: bool) -> Any:
    """Return what redis-py's clients for threads, or for event loops, record with; `None` where nothing is recorded."""
    if asynchronous:
        return redis.asyncio.observability.recorder._get_or_create_collector()
    recorder = redis.observability.recorder
    return recorder._metrics_collector if recorder.is_enabled() else None


def policy_resolver(owner: type) -> object:
    """Return what resolves policies of commands for redis-py's class of cluster clients, unless a user gives another.

    It knows of policies of search commands, and for COMMAND.
    """
    return getattr(inspect.signature(owner).parameters.get("policy_resolver"), "default", None)


# -- who calls ---------------------------------------------------------------------------------------------------------


def leaves(frame: FrameType) -> bool:
    """Return whether it is a subscriber's own end that asks for the connection to be closed."""
    return frame.f_code in _LEAVING and not is_finalizer(frame)


def is_finalizer(frame: FrameType | None) -> bool:
    """Return whether redis-py releases a connection for a caller that has dropped what had it."""
    for _ in range(_DEEPEST):
        if frame is None:
            return False
        if frame.f_code in _FINALIZERS:
            return True
        frame = frame.f_back
    return False


def in_finalizer(frame: FrameType | None) -> bool:
    """Return whether a finalizer calls: redis-py's client closes its pool when it is collected, maybe anywhere."""
    for _ in range(_DEEPEST):
        if frame is None:
            return False
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


# -- whether others have replaced a method -----------------------------------------------------------------------------


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
