"""All that redpool relies on inside redis-py: what has no place in its documentation, and may change in any release.

What not every supported version has is imported from here, too, with a stand-in where a version lacks it: no other
module asks for the version. Private attributes that code elsewhere reads by itself, since it is on the hot path
or in a class derived from redis-py's, are listed in `PRIVATE`; ruff reports any other private name that is read.
tests/unit/test_internals.py walks the list on the installed redis-py.

Tracers, test doubles and users' own classes replace methods of redis-py's. Where they have, calls go redis-py's way,
which runs those methods: redpool's shorter ways would bypass them.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import math
import socket
import sys
import threading
import time
from _thread import LockType
from collections.abc import Callable, Iterable, Mapping
from functools import partial, reduce
from types import FrameType, FunctionType
from typing import Any, NamedTuple

import hiredis
import redis.asyncio.client
import redis.asyncio.cluster
import redis.asyncio.connection as aio
import redis.client
import redis.cluster
from redis._parsers import Encoder as Encoder
from redis._parsers import _AsyncRESP2Parser, _AsyncRESP3Parser, _RESP2Parser, _RESP3Parser
from redis._parsers.hiredis import NOT_ENOUGH_DATA as NOT_ENOUGH_DATA
from redis._parsers.hiredis import _AsyncHiredisParser, _HiredisParser
from redis._parsers.socket import SERVER_CLOSED_CONNECTION_ERROR as SERVER_CLOSED_CONNECTION_ERROR
from redis.asyncio.client import PubSub as AsyncPubSub
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.client import Pipeline, PubSub
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry as SyncRetry

from ..version import __version__

logger = logging.getLogger("redpool")

# -- what this version of redis-py has ---------------------------------------------------------------------------------

FAMILY = redis.client.Redis.__module__.partition(".")[0]
"""`redis`; `valkey` in `redpool.valkey`, where what is imported from redis-py is valkey-py's."""

NEWEST_TESTED = {"redis": (8, 1), "valkey": (6, 2)}[FAMILY]
"""The newest minor version whose inside is known."""


def check_version(version: tuple[int, ...]) -> None:
    """Log that redis-py is newer than what redpool was tested with: its inside may differ."""
    if version[:2] > NEWEST_TESTED:
        tested, found = ".".join(map(str, NEWEST_TESTED)), ".".join(map(str, version))
        newer = "%s-py %s is newer than %s, the newest that this redpool was tested with"
        logger.info(newer, FAMILY, found, tested)


check_version(redis.VERSION)


def _find(name: str, stand_in: Any = None) -> Any:
    """Return what redis-py has by this name, `module:name`; the stand-in where this version lacks it."""
    module, _, path = name.partition(":")
    try:
        # Not by importlib: in `redpool.valkey`, redis-py is valkey-py to those who import it.
        return reduce(getattr, path.split(".") if path else (), __import__(module, fromlist=("_",)))
    except (ImportError, AttributeError):
        return stand_in


class Feature(NamedTuple):
    """Something that users can ask for, and that not every supported version of redis-py has."""

    since: str
    """the first version that has it, for messages"""
    shown_by: str
    """what is there exactly where the feature is"""


FEATURES = {
    "asynchronous credentials": Feature("5.3", "redis.event:EventDispatcher"),
    "events": Feature("5.3", "redis.event:EventDispatcher"),
    "load balancing strategies": Feature("5.3", "redis.cluster:LoadBalancingStrategy"),
    "retries by default": Feature("6.0", "redis.retry:Retry.get_retries"),
    "pushes apart from replies": Feature("6.2", "redis._parsers.hiredis:_HiredisParser.handle_push_response"),
    "cluster pipelines by strategies": Feature("6.2", "redis.asyncio.cluster:PipelineStrategy"),
    "maintenance notifications": Feature("7.0", "redis.maint_notifications:MaintNotificationsConfig"),
    "transactions of a cluster that are tried again": Feature(
        "7.0", "redis.maint_notifications:MaintNotificationsConfig"
    ),
    "client-side caching": Feature("7.2", "redis.cache:CacheProxy"),
    "clusters that keep a node that failed": Feature(
        "7.2", "redis.cluster:NodesManager.move_node_to_end_of_cached_nodes"
    ),
    "policies of a cluster's commands": Feature("7.1", "redis.cluster:StaticPolicyResolver"),
    "passwords of TLS keys on event loops": Feature("7.2", "redis.driver_info:DriverInfo"),  # of the same version
    "driver information": Feature("7.2", "redis.driver_info:DriverInfo"),
    "OpenTelemetry recording": Feature("7.2", "redis.observability.recorder:record_csc_request"),
    "OpenTelemetry recording on event loops": Feature("7.3", "redis.asyncio.observability.recorder"),
    "OpenTelemetry counts of connections": Feature("7.4", "redis.observability.recorder:record_connection_count"),
    "clusters that know a full pool": Feature("7.4", "redis.connection:ConnectionPool.SENSITIVE_REPR_KEYS"),
    "timeouts and keepalive by default": Feature("8.0", "redis.connection:AbstractConnection.is_connected"),
    "RESP3 by default": Feature("8.0", "redis.connection:AbstractConnection.is_connected"),
    "subscribers of a cluster on event loops": Feature("8.0", "redis.asyncio.cluster:RedisCluster.pubsub"),
    "maintenance notifications on event loops": Feature("8.1", "redis.asyncio.maint_notifications"),
    "closing a Sentinel": Feature("8.1", "redis.sentinel:Sentinel.close"),
    "fieldsets": Feature("8.1", "redis.himport:HImportRegistry"),
}
"""By their names in messages, in the docs, and in the tests' markers."""

_LACKING = frozenset(name for name, feature in FEATURES.items() if _find(feature.shown_by) is None)


def has(feature: str) -> bool:
    """Return whether the installed redis-py has one of `FEATURES`."""
    return feature in FEATURES and feature not in _LACKING


def require(feature: str, option: str) -> None:
    """Raise `RedisError` where an option asks for a feature that the installed redis-py lacks."""
    if has(feature):
        return
    if FAMILY == "valkey":
        raise RedisError(f"{option}: {feature} needs redis-py; redpool.valkey doesn't have it")
    since = FEATURES[feature].since
    raise RedisError(f"{option}: {feature} needs redis-py {since} or newer, and {redis.__version__} is installed")


# -- stand-ins for what this version lacks -----------------------------------------------------------------------------

try:
    from redis.maint_notifications import MaintenanceState as MaintenanceState
    from redis.maint_notifications import MaintNotificationsConfig as MaintNotificationsConfig
    from redis.maint_notifications import MaintNotificationsPoolHandler as MaintNotificationsPoolHandler
except ImportError:

    class MaintNotificationsConfig:  # type: ignore[no-redef]  # what it stands in for
        """What no connection is made with: only to be off."""

        def __init__(self, enabled: bool | str = "auto", **_unused: Any) -> None:
            self.enabled = enabled

    class MaintNotificationsPoolHandler:  # type: ignore[no-redef]  # as above
        """What no connection has."""

    class MaintenanceState:  # type: ignore[no-redef]  # as above
        """What no connection is in."""

        MOVING = "moving"


try:
    from redis.asyncio.maint_notifications import (
        AsyncMaintNotificationsPoolHandler as AsyncMaintNotificationsPoolHandler,
    )
except ImportError:

    class AsyncMaintNotificationsPoolHandler:  # type: ignore[no-redef]  # as above
        """What no connection of an event loop has."""


try:
    from redis.himport import HImportRegistry as HImportRegistry
except ImportError:

    class HImportRegistry:  # type: ignore[no-redef]  # as above
        """A registry in which there is no fieldset."""

        revision = 0


class _Absent:
    """Stands for a class from which none of this version's is derived."""


class _NoRecorder:
    """Stands for an OpenTelemetry recorder that is off."""

    _provider_manager = None


SENTINEL: Any = _find("redis.utils:SENTINEL", object())
"""What an option is that was not given."""

_DEFAULTS = {name: each.default for name, each in inspect.signature(AbstractConnection.__init__).parameters.items()}

DEFAULT_TIMEOUT: float | None = _DEFAULTS["socket_timeout"]
"""The `socket_timeout` of a connection that was given none."""

_OF_CLIENTS = inspect.signature(redis.client.Redis.__init__).parameters

KEEPALIVE_UNSET: tuple[Any, Any] = tuple(
    _OF_CLIENTS[name].default for name in ("socket_keepalive", "socket_keepalive_options")
)
"""The two options about keepalive as clients pass them on that were given none."""

_READS_IN_TIME = "timeout" in inspect.signature(AbstractConnection.read_response).parameters


def listens(timeout: Any, own: float | None) -> bool:
    """Return whether a read for a push, with this timeout over a connection with a timeout of its own, is for ever."""
    return timeout is None if _READS_IN_TIME else timeout is SENTINEL and own is None


def listens_async(timeout: float | None, own: float | None) -> bool:
    """Return the same on an event loop."""
    return timeout == math.inf if _READS_IN_TIME else timeout is None and own is None


MAINTAINED: type = _find("redis.connection:MaintNotificationsAbstractConnection", _Absent)
"""What a connection is derived from that understands maintenance notifications."""

MAINTAINED_ASYNC: type = _find("redis.asyncio.connection:AsyncMaintNotificationsAbstractConnection", _Absent)
"""The same on an event loop."""

MAINTAINED_POOL: Any = _find("redis.connection:MaintNotificationsAbstractConnectionPool")
"""What a pool is derived from whose connections understand maintenance notifications; `None` where there is none."""

MAINTAINED_POOL_ASYNC: Any = _find("redis.asyncio.connection:AsyncMaintNotificationsAbstractConnectionPool")
"""The same on an event loop."""

DriverInfo: Any = _find("redis.driver_info:DriverInfo")
CacheProxy: Any = _find("redis.cache:CacheProxy")
check_protocol_version: Any = _find("redis.utils:check_protocol_version")
record_csc_request: Any = _find("redis.observability.recorder:record_csc_request")
CSCResult: Any = _find("redis.observability.attributes:CSCResult")
AfterConnectionReleasedEvent: Any = _find("redis.event:AfterConnectionReleasedEvent")
AsyncAfterConnectionReleasedEvent: Any = _find("redis.event:AsyncAfterConnectionReleasedEvent")

ASYNC_CREDENTIALS = "get_credentials_async" if has("asynchronous credentials") else "get_credentials"
"""What an event loop's connections call of a credential provider."""

health_clock: Callable[[], float] = _find("redis.connection:time.monotonic", time.time)
"""The clock by which redis-py's connections of threads know when the next health check is due."""


def checkout(pool: Any) -> Any:
    """Return what checks out a connection of any pool: before 5.3 redis-py's own want to know for which command."""
    named = inspect.signature(pool.get_connection).parameters.get("command_name")
    return partial(pool.get_connection, "_") if named and named.default is named.empty else pool.get_connection


LIBRARY_OPTION = "lib_name" if DriverInfo is None else "driver_info"
"""The option of a connection by which the server learns which library it serves."""


def library(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return that option, with redpool named beside redis-py; a library's name that the user has given stays.

    With it a connection needn't find out redis-py's version by itself either, which it reads from disk.
    """
    if DriverInfo is None:
        name, default = options.get("lib_name", _DEFAULTS["lib_name"]), _DEFAULTS["lib_name"]
        return {"lib_name": f"{name}(redpool_v{__version__})" if name == default else name}
    resolve, unset = _find("redis.driver_info:resolve_driver_info"), _DEFAULTS["driver_info"]
    asked = (options.get(name, unset) for name in ("driver_info", "lib_name", "lib_version"))
    info = resolve(*asked)
    if info is not None and info.name == DriverInfo(lib_version=None).name:
        info = DriverInfo(info.name, info.lib_version, list(info.upstream_drivers))
        info.add_upstream_driver("redpool", __version__)
    return {"driver_info": info}


_OLD_NAMES = ("lib_name", "lib_version")


def node_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cluster's options for the pool of a node, without those that would only have redis-py warn.

    On event loops 7.2's clusters pass the old names for `driver_info` on that were not given, and its connections warn
    that these are deprecated.
    """
    return {name: value for name, value in options.items() if value is not SENTINEL or name not in _OLD_NAMES}


_ATTRIBUTES = _find("redis.observability.attributes")

CONNECTION_STATES: tuple[Any, ...] = (
    () if _ATTRIBUTES is None else (_ATTRIBUTES.ConnectionState.IDLE, _ATTRIBUTES.ConnectionState.USED)
)
"""What redis-py's recorder calls connections that are idle, and in use."""

CLOSED_BY_APPLICATION: Any = _find("redis.observability.metrics:CloseReason.APPLICATION_CLOSE")
"""What redis-py's recorder calls the reason for which a connection was closed in order."""
CLOSED_BY_ERROR: Any = _find("redis.observability.metrics:CloseReason.ERROR")
"""What it calls the reason where an error has ended it."""


POOLS_WITH_ID = tuple(
    asynchronous
    for asynchronous, pool in ((False, redis.connection.ConnectionPool), (True, aio.ConnectionPool))
    if "_pool_id" in pool.__init__.__code__.co_names
)
"""Whose pools have an identity in that name: those for threads (`False`), those for event loops (`True`)."""


def recorded_name(pool: Any) -> str:
    """Return what redis-py's recorder calls a pool."""
    return str(_ATTRIBUTES.get_pool_name(pool))


def counted(pool: Any, idle: int, used: int) -> list[tuple[int, dict[str, Any]]]:
    """Return numbers of connections, each with the attributes that OpenTelemetry wants."""
    if _ATTRIBUTES is None:
        return [(idle, {}), (used, {})]
    common = _ATTRIBUTES.AttributeBuilder.build_base_attributes()
    common[_ATTRIBUTES.DB_CLIENT_CONNECTION_POOL_NAME] = recorded_name(pool)
    state, states = _ATTRIBUTES.DB_CLIENT_CONNECTION_STATE, _ATTRIBUTES.ConnectionState
    return [(idle, {**common, state: states.IDLE.value}), (used, {**common, state: states.USED.value})]


# -- retry policies ----------------------------------------------------------------------------------------------------

ONE_TRY, ONE_TRY_ASYNC = SyncRetry(NoBackoff(), 0), AsyncRetry(NoBackoff(), 0)
"""The policies of a connection that is opened while another decides whether that is tried again."""


def retries_of(policy: Any) -> int:
    """Return how often a policy tries again; a negative number is for ever."""
    retries: int = policy.get_retries() if hasattr(policy, "get_retries") else policy._retries
    return retries


_ASKS, _ASKS_ASYNC = (
    "with_failure_count" in inspect.signature(policy.call_with_retry).parameters for policy in (SyncRetry, AsyncRetry)
)


def call_with_retry(
    policy: Any, kind: Any, do: Any, fail: Any, may_try: Callable[[Exception], bool], with_failure_count: bool
) -> Any:
    """Call `do` by a policy, as a class of policies does; again only where `may_try` says that this is right, too."""
    if _ASKS:
        return kind.call_with_retry(policy, do, fail, may_try, with_failure_count)

    failures = itertools.count(1)

    def failed(error: Exception) -> Any:
        try:
            if not may_try(error):
                raise error
            return fail(error, next(failures)) if with_failure_count else fail(error)
        finally:
            del error  # else it and this frame would keep each other, and the pool

    return kind.call_with_retry(policy, do, failed)


async def call_with_retry_async(
    policy: Any, kind: Any, do: Any, fail: Any, may_try: Callable[[Exception], bool], with_failure_count: bool
) -> Any:
    """Do on an event loop what `call_with_retry` does."""
    if _ASKS_ASYNC:
        return await kind.call_with_retry(policy, do, fail, may_try, with_failure_count)

    failures = itertools.count(1)

    async def failed(error: Exception) -> None:
        try:
            if not may_try(error):
                raise error
            await (fail(error, next(failures)) if with_failure_count else fail(error))
        finally:
            del error  # as above

    return await kind.call_with_retry(policy, do, failed)


# -- what connections of this version can't do, mixed in below redpool's own -------------------------------------------


class _AskedToReconnect:
    """A mark for a connection that is to be replaced, before 7.0."""

    _should_reconnect = False

    def mark_for_reconnect(self) -> None:
        self._should_reconnect = True

    def should_reconnect(self) -> bool:
        return self._should_reconnect

    def reset_should_reconnect(self) -> None:
        self._should_reconnect = False


class _ConnectTriedAgain(AbstractConnection):
    """A connect that the policy tries again as a whole, its handshake included, before 7.2."""

    def connect(self) -> None:
        self.retry.call_with_retry(self._connect_once, lambda _error: self.disconnect())

    def _connect_once(self) -> None:
        policy, self.retry = self.retry, ONE_TRY
        try:
            super().connect()
        finally:
            self.retry = policy


_HAS_ONE_WAY = hasattr(AbstractConnection, "connect_check_health")


class _ConnectWithoutHealthCheck(AbstractConnection):
    """One way for each connect, with or without a health check, before 6.4.

    A class of the user's or Sentinel's may connect in a way of its own, which ends in redis-py's. From 6.0 on that
    calls `connect_check_health` itself.
    """

    _connecting = False

    def connect(self) -> None:
        self.connect_check_health()

    def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:  # noqa: ARG002  redis-py's signature
        if self._connecting and _HAS_ONE_WAY:
            AbstractConnection.connect_check_health(self, check_health)
            return
        self._connecting = True
        try:
            super().connect()
        finally:
            self._connecting = False


class _HandshakeWithoutHealthCheck(AbstractConnection):
    """One way for each handshake, before 6.0."""

    def on_connect(self) -> None:
        self.on_connect_check_health()

    def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: ARG002  redis-py's signature
        super().on_connect()


class _NoPushHandler(AbstractConnection):
    """A parser of hiredis's that takes a push, which before 6.2 it takes for a reply; only a subscriber's reads one."""

    def set_parser(self, parser_class: Any) -> None:
        super().set_parser(parser_class)
        parser: Any = self._parser
        if not hasattr(parser, "handle_push_response"):
            parser.handle_push_response = _ignore_push

    def read_response(self, *args: Any, push_request: bool | None = False, **options: Any) -> Any:
        while True:
            response = super().read_response(*args, push_request=push_request, **options)
            if push_request or not isinstance(response, hiredis.PushNotification):
                return response


def _ignore_push(push: Any) -> Any:
    return push


class _ReadInTime(AbstractConnection):
    """Reads with a timeout of their own, and a look at the socket that takes nothing away, before 8.0."""

    # A socket whose timeout is 0 doesn't time out: it fails otherwise.
    _LEAST = 1e-6

    @property
    def is_connected(self) -> bool:
        return self._sock is not None

    def read_response(
        self,
        disable_decoding: bool = False,
        *,
        timeout: Any = SENTINEL,
        disconnect_on_error: bool = True,
        push_request: bool = False,
    ) -> Any:
        # What has its default is left out: a class of others' may not know it.
        options: dict[str, Any] = {"disable_decoding": True} if disable_decoding else {}
        options |= {} if disconnect_on_error else {"disconnect_on_error": False}
        options |= {"push_request": True} if push_request else {}
        me: Any = self
        sock = me._sock
        if timeout is SENTINEL or not isinstance(sock, socket.socket):  # a double of one may have no timeouts
            return super().read_response(**options)
        sock.settimeout(None if timeout is None else max(timeout, self._LEAST))
        try:
            return super().read_response(**options)
        finally:
            if me._sock is sock:
                # hiredis's parser knows to which timeout the socket is set back.
                sock.settimeout(getattr(me._parser, "_socket_timeout", self.socket_timeout))

    def register_connect_callback(self, callback: Any) -> None:
        """Register a subscriber's callback; it subscribes under a lock that its sender has, which may connect anew."""
        subscriber: Any = getattr(callback, "__self__", None)
        if type(getattr(subscriber, "_lock", None)) is LockType:
            subscriber._lock = threading.RLock()
        super().register_connect_callback(callback)

    def can_read(self, timeout: float | None = 0) -> bool:
        """Return whether there is something to read; redis-py's takes a whole reply from where it is looked for."""
        me: Any = self
        parser = me._parser
        reader = getattr(parser, "_reader", None)  # hiredis's
        if reader is None or not isinstance(me._sock, socket.socket):
            return bool(super().can_read(timeout))  # type: ignore[arg-type]  # None is for ever
        if reader.has_data():
            return True
        try:
            return bool(parser.read_from_socket(timeout=timeout, raise_on_timeout=False))
        except OSError as error:
            self.disconnect()
            raise RedisConnectionError(f"Error while reading from {self._host_error()}: {error.args}") from error


class _AsyncConnectTriedAgain(aio.AbstractConnection):
    """A connect of an event loop's that is tried again as a whole, as that of threads."""

    async def connect(self) -> None:
        await self.retry.call_with_retry(self._connect_once, lambda _error: self.disconnect())

    async def _connect_once(self) -> None:
        policy, self.retry = self.retry, ONE_TRY_ASYNC
        try:
            await super().connect()
        finally:
            self.retry = policy


class _AsyncConnectWithoutHealthCheck(aio.AbstractConnection):
    """One way for each connect of an event loop's, as that of threads."""

    _connecting = False

    async def connect(self) -> None:
        await self.connect_check_health()

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:  # noqa: ARG002  redis-py's signature
        if self._connecting and _HAS_ONE_WAY:
            await aio.AbstractConnection.connect_check_health(self, check_health)
            return
        self._connecting = True
        try:
            await super().connect()
        finally:
            self._connecting = False


class _AsyncHandshakeWithoutHealthCheck(aio.AbstractConnection):
    """One way for each handshake of an event loop's, as that of threads."""

    async def on_connect(self) -> None:
        await self.on_connect_check_health()

    async def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: ARG002  redis-py's signature
        await super().on_connect()


class _AsyncNoPushHandler(aio.AbstractConnection):
    """A parser of an event loop's that takes a push, as that of threads."""

    def set_parser(self, parser_class: Any) -> None:
        super().set_parser(parser_class)
        parser: Any = self._parser
        if not hasattr(parser, "handle_push_response"):
            parser.handle_push_response = _ignore_push_async

    async def read_response(self, *args: Any, push_request: bool | None = False, **options: Any) -> Any:
        while True:
            response = await super().read_response(*args, push_request=push_request, **options)
            if push_request or not isinstance(response, hiredis.PushNotification):
                return response


async def _ignore_push_async(push: Any) -> Any:
    return push


def _takes(function: Any, parameter: str) -> bool:
    return function is not None and parameter in inspect.signature(function).parameters


def _stand_ins(
    owner: Any, again: type, connect: type, handshake: type, pushes: type, *in_time: type
) -> tuple[type, ...]:
    """Return the classes with what a class of connections lacks."""
    chosen = [] if _READS_IN_TIME else [*in_time]
    if not has("driver information"):  # of the same version
        chosen.append(again)
    if not has("pushes apart from replies"):
        chosen.append(pushes)
    if not _takes(getattr(owner, "connect_check_health", None), "retry_socket_connect"):
        chosen.append(connect)
    if not hasattr(owner, "on_connect_check_health"):
        chosen.append(handshake)
    if not hasattr(owner, "reset_should_reconnect"):
        chosen.append(_AskedToReconnect)
    return tuple(chosen)


STAND_INS = _stand_ins(
    AbstractConnection,
    _ConnectTriedAgain,
    _ConnectWithoutHealthCheck,
    _HandshakeWithoutHealthCheck,
    _NoPushHandler,
    _ReadInTime,
) + _find("redis.complements:STAND_INS", ())  # of `redpool.valkey`
"""What has what this version's connections of threads lack: nothing in the newest."""

STAND_INS_ASYNC = _stand_ins(
    aio.AbstractConnection,
    _AsyncConnectTriedAgain,
    _AsyncConnectWithoutHealthCheck,
    _AsyncHandshakeWithoutHealthCheck,
    _AsyncNoPushHandler,
) + _find("redis.complements:STAND_INS", ())
"""The same for an event loop's."""


# -- a cluster's connections, which nodes of event loops don't look after before 7.2 -----------------------------------


class _LeavesWhenAnswered:
    """Leaves what it has, once all is read: no node of redis-py's asks between two calls whether anything is left."""

    _to_read = 0
    _packed: tuple[Any, list[Any]] | None = None  # as in what it is mixed into

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        me: Any = self
        self._to_read = 1 if type(command) is tuple or self._packed is None else len(self._packed[1])
        try:
            await super().send_packed_command(command, check_health)  # type: ignore[misc]  # of what it is mixed into
        except BaseException:
            await me.disconnect()
            raise

    async def read_response(self, *args: Any, **options: Any) -> Any:
        me: Any = self
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]  # as above
        except Exception:
            raise
        except BaseException:
            self._to_read = 0  # whatever else was to be read is read by no caller
            raise
        finally:
            self._to_read -= 1
            if self._to_read <= 0 and me.should_reconnect():
                await me.disconnect()


def kept_by_nodes(kind: type) -> Any:
    """Return the class of the connections that nodes of a cluster's client for event loops keep."""
    if hasattr(redis.asyncio.cluster.ClusterNode, "disconnect_if_needed"):
        return kind
    return type(kind.__name__, (_LeavesWhenAnswered, kind), {"__module__": kind.__module__})


def renew_locks(client: Any) -> None:
    """Give a cluster's client of threads other locks, in a forked child: a parent's thread may have had those it has.

    What they guard is replaced as a whole, or an entry of a dictionary at a time.
    """
    nodes = client.nodes_manager
    for owner in (client, nodes, getattr(nodes, "read_load_balancer", None)):
        for name in ("_lock", "_initialization_lock"):
            if hasattr(owner, name):
                setattr(owner, name, threading.RLock())


# -- a cluster's pipelines, which have strategies from 6.1 or 6.2 on ---------------------------------------------------

try:
    PipelineStrategy = redis.cluster.PipelineStrategy
    TransactionStrategy = redis.cluster.TransactionStrategy
except AttributeError:

    class PipelineStrategy:  # type: ignore[no-redef]  # as above
        """Takes over what a pipeline does by itself."""

        def __init__(self, pipe: Any) -> None:
            self._pipe, self._class = pipe, type(pipe)
            pipe.send_cluster_commands = self.send_cluster_commands
            pipe._send_cluster_commands = self._send_cluster_commands
            pipe.parent_execute_command = partial(redis.cluster.RedisCluster.execute_command, pipe)

        def send_cluster_commands(self, *args: Any) -> Any:
            """Send as the pipeline itself does."""
            return self._class.send_cluster_commands(self._pipe, *args)

        def _send_cluster_commands(self, *args: Any) -> Any:
            return self._class._send_cluster_commands(self._pipe, *args)

        def _raise_first_error(self, stack: Any) -> None:
            self._pipe.raise_first_error(stack)

    class TransactionStrategy:  # type: ignore[no-redef]  # as above
        """There are no transactions."""

        def __init__(self, pipe: Any) -> None:
            """Take a pipeline."""


try:
    AsyncPipelineStrategy = redis.asyncio.cluster.PipelineStrategy
    AsyncTransactionStrategy = redis.asyncio.cluster.TransactionStrategy
except AttributeError:

    class _Ended(Exception):
        """Carries an error past a pipeline that would try again."""

    class AsyncPipelineStrategy:  # type: ignore[no-redef]  # as above
        """Leaves to a pipeline what it does by itself, but for trying again where an error is settled."""

        def __init__(self, pipe: Any) -> None:
            self._class = type(pipe)
            pipe.execute, pipe._execute = partial(self._whole, pipe), partial(self._once, pipe)

        def is_settled(self, error: object) -> bool:
            """Return whether no other node is to be asked after this error."""
            raise NotImplementedError

        async def _whole(self, pipe: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return await self._class.execute(pipe, *args, **kwargs)
            except _Ended as ended:
                error = ended.args[0]
            try:
                raise error
            finally:
                del error  # else it and this frame would keep each other

        async def _once(self, pipe: Any, client: Any, stack: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return await self._class._execute(pipe, client, stack, *args, **kwargs)
            except pipe.ERRORS_ALLOW_RETRY as error:
                for each in (error, *(command.result for command in stack)):
                    if self.is_settled(each):
                        raise _Ended(each) from None
                raise

    AsyncTransactionStrategy: Any = AsyncPipelineStrategy  # type: ignore[no-redef]  # there are no transactions


def raise_first_error(strategy: PipelineStrategy, stack: Any, begun: float) -> None:
    """Raise the first error among the results of a cluster's pipeline, if there is one."""
    timed = "start_time" in inspect.signature(strategy._raise_first_error).parameters
    strategy._raise_first_error(stack, *([begun] if timed else []))


# -- what code elsewhere reads by itself -------------------------------------------------------------------------------

PRIVATE: dict[str, dict[str, str]] = {
    "redis.connection.Connection": {
        "_sock": "redispy.internals redispy.lifecycle redispy.pubsub redispy.streams redispy.tracking_sync "
        "sync.connection",
        "_parser": "doctor.pools redispy.internals redispy.hello redispy.lifecycle redispy.multiplexed redispy.naming "
        "redispy.pubsub redispy.sharing redispy.tracking_sync",
        "_command_packer": "redispy.sharing redispy.tracking_sync",
        "_should_reconnect": "redispy.lifecycle",
        "_connect": "redispy.tracking_sync testing.scripted",
        "_connect_callbacks": "redispy.lifecycle",
        "_send_ping": "redispy.tracking_sync",
        "_host_error": "redispy.caching redispy.hello redispy.routing redispy.sharing redispy.tracking_sync "
        "testing.scripted",
        "_get_parser": "redispy.caching",
        "_maint_notifications_connection_handler": "redispy.lifecycle",
        "_maint_notifications_pool_handler": "redispy.lifecycle",
    },
    "redis.asyncio.connection.Connection": {
        "_reader": "redispy.lifecycle redispy.pubsub redispy.tracking_async redispy.transports testing.scripted",
        "_writer": "redispy.lifecycle redispy.pubsub redispy.tracking_async redispy.transports testing.scripted",
        "_parser": "doctor.pools redispy.hello redispy.lifecycle redispy.multiplexed redispy.naming redispy.pubsub "
        "redispy.sharing redispy.tracking_async redispy.transports",
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
    "redis._parsers._RESP3Parser": {"_buffer": "redispy.internals redispy.lifecycle redispy.tracking"},
    "redis._parsers.socket.SocketBuffer": {"_read_from_socket": "redispy.lifecycle"},
    "redis._parsers._AsyncRESP3Parser": {"_buffer": "redispy.tracking"},
    "redis.connection.ConnectionPool": {
        "_available_connections": "redispy.surface sync.pool",
        "_in_use_connections": "redispy.surface sync.pool",
        "_created_connections": "sync.pool",
        "_lock": "redispy.surface",
        "_pool_id": "redispy.internals redispy.surface",
        "_get_free_connections": "redispy.surface",
        "_get_in_use_connections": "redispy.surface",
        "_get_pool_lock": "redispy.surface",
        "_maint_notifications_pool_handler": "redispy.surface",
        "_update_maint_notifications_configs_for_connections": "redispy.surface",
    },
    "redis.asyncio.connection.ConnectionPool": {
        "_available_connections": "asyncio.pool doctor.pools redispy.surface",
        "_in_use_connections": "asyncio.pool doctor.pools redispy.surface",
        "_lock": "redispy.surface",
        "_on_close": "redispy.surface asyncio.pool",
        "_get_free_connections": "redispy.surface",
        "_get_in_use_connections": "redispy.surface",
        "_get_pool_lock": "redispy.surface",
        "_maint_notifications_pool_handler": "redispy.surface",
        "_run_proactive_reconnect_without_locking": "redispy.surface",
        "_should_update_connection": "redispy.surface",
        "_update_connections_settings_without_locking": "redispy.surface",
        "_update_maint_notifications_configs_for_connections": "redispy.surface",
    },
    "redis.client.PubSub": {"_lock": "redispy.internals"},
    "redis.client.Redis": {"_execute_command": "redispy.internals"},
    "redis.retry.Retry": {
        "_retries": "redispy.internals",
        "_backoff": "redispy.retry",
        "_supported_errors": "redispy.options redispy.retry",
    },
    "redis.asyncio.retry.Retry": {
        "_retries": "redispy.internals",
        "_backoff": "redispy.retry",
        "_supported_errors": "redispy.options redispy.retry",
    },
    "redis.cluster.RedisCluster": {
        "_oss_cluster_maint_notifications_handler": "sync.cluster",
        "_policy_resolver": "redispy.cluster",
        "_record_command_metric": "sync.cluster",
        "_execute_command": "sync.cluster",
    },
    "redis.asyncio.cluster.RedisCluster": {
        "_policy_resolver": "redispy.cluster",
        "_record_command_metric": "asyncio.cluster",
        "_execute_command": "asyncio.cluster",
        "_initialize": "asyncio.cluster",
    },
    "redis.cluster.ClusterPipeline": {"_execution_strategy": "sync.cluster"},
    "redis.cluster.PipelineStrategy": {
        "_pipe": "sync.cluster",
        "_send_cluster_commands": "redispy.internals sync.cluster",
        "_raise_first_error": "redispy.internals",
    },
    "redis.cluster.TransactionStrategy": {"_reinitialize_on_error": "sync.cluster"},
    "redis.asyncio.cluster.ClusterPipeline": {"_execution_strategy": "asyncio.cluster"},
    "redis.asyncio.cluster.PipelineStrategy": {
        "_execute": "redispy.internals",
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

HIREDIS_PARSER, HIREDIS_PARSERS_ASYNC = (
    _HiredisParser,
    frozenset({_AsyncHiredisParser, _find("redis.asyncio.cluster:ClusterParser", _AsyncHiredisParser)}),
)
"""The parsers whose replies redpool can read as well: before 6.0, connections to a cluster had one of their own."""

RESP2_PARSERS: dict[type, type] = {_RESP3Parser: _RESP2Parser, _AsyncRESP3Parser: _AsyncRESP2Parser}
"""For each of redis-py's own parsers of RESP3 the one of RESP2."""

RECORDER: Any = _find("redis.observability.providers:get_observability_instance", _NoRecorder)()
"""Has a `_provider_manager` while redis-py's OpenTelemetry recording is on."""

_EXECUTE = "_execute_command" if hasattr(redis.client.Redis, "_execute_command") else "execute_command"

ONE_COMMAND = getattr(redis.client.Redis, _EXECUTE).__code__
"""What takes a connection for one command, and releases it whatever happens."""

ONE_COMMAND_ASYNC = redis.asyncio.client.Redis.execute_command.__code__
"""The same on an event loop."""

CLIENT_MODULE, CLIENT_MODULE_ASYNC, _CLUSTER_MODULE = (
    vars(sys.modules[each.__module__])
    for each in (redis.client.Redis, redis.asyncio.client.Redis, redis.cluster.RedisCluster)
)
"""The globals of redis-py's clients, by which frames of theirs are told from others."""

# Before 8.1 they have the pool disconnect, which cuts what others use.
_CLOSES = tuple(
    close.__code__
    for close in (redis.client.Redis.close, redis.asyncio.client.Redis.aclose)
    if "disconnect" in close.__code__.co_names
)

_LEAVING = (PubSub.reset.__code__, AsyncPubSub.aclose.__code__)
_FINALIZERS = (PubSub.__del__.__code__, Pipeline.__del__.__code__)
_DEEPEST = 5

ONE_CALL: dict[str, dict[str, Any]] = {
    f"{redis.client.Redis.__name__}.{_EXECUTE}": CLIENT_MODULE,
    "Pipeline.execute": CLIENT_MODULE,
    "Pipeline.immediate_execute_command": CLIENT_MODULE,
    "get_connection": _CLUSTER_MODULE,
}
"""Functions that take a connection for one command or pipeline, and then release it; and the module of each.

All other callers may want a dedicated connection. The functions are recognized by name: even where another function
replaces one of them, redis-py's own runs in the end."""

ONE_CALL_ASYNC: dict[str, dict[str, Any]] = {
    f"{redis.asyncio.client.Redis.__name__}.execute_command": CLIENT_MODULE_ASYNC,
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

_OWN = (FAMILY, "redpool")


_RECORDER = _find("redis.observability.recorder")
_RECORDER_ASYNC = _find("redis.asyncio.observability.recorder")


def collector(asynchronous: bool) -> Any:
    """Return what redis-py's clients for threads, or for event loops, record with; `None` where nothing is recorded."""
    recorder = _RECORDER_ASYNC if asynchronous else _RECORDER
    if recorder is None:
        return None
    if asynchronous:
        return recorder._get_or_create_collector()
    return recorder._metrics_collector if recorder.is_enabled() else None


def policy_resolver(owner: type) -> object:
    """Return what resolves policies of commands for redis-py's class of cluster clients, unless a user gives another.

    It knows of policies of search commands, and for COMMAND.
    """
    return getattr(inspect.signature(owner).parameters.get("policy_resolver"), "default", None)


# -- who calls ---------------------------------------------------------------------------------------------------------


def unread(parser: Any) -> bool:
    """Return whether a parser of threads has bytes that no reply was made of."""
    reader = getattr(parser, "_reader", None)  # hiredis's
    return bool(parser._buffer.unread_bytes() if reader is None else reader.has_data())


def leaves(frame: FrameType) -> bool:
    """Return whether it is a subscriber's own end that asks for the connection to be closed."""
    return frame.f_code in _LEAVING and not is_finalizer(frame)


def closes_client(frame: FrameType) -> bool:
    """Return whether it is a client's own end that asks for the pool to be disconnected: it is to be closed."""
    return frame.f_code in _CLOSES


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


def is_theirs(owner: type) -> bool:
    """Return whether it is redis-py that has defined a class."""
    return owner.__module__.startswith(f"{FAMILY}.")


def is_own(function: object) -> bool:
    """Return whether redis-py or redpool has defined this function, not a third party."""
    return type(function) is FunctionType and _is_of_own(function.__globals__.get("__name__"))


def is_own_class(owner: type) -> bool:
    """Return whether redis-py or redpool has defined this class, not a third party."""
    return _is_of_own(owner.__module__)


def _is_of_own(module: object) -> bool:
    return str(module).partition(".")[0] in _OWN


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
