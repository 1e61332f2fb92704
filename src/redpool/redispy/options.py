"""What users pass to a pool for redis-py's sake: connection options, URLs, retry policies, credential providers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard
from urllib.parse import parse_qsl, urlencode

import redis.asyncio.connection
import redis.connection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError
from redis.retry import AbstractRetry
from redis.retry import Retry as SyncRetry

from ..core.config import PoolConfig, suggest
from ..core.connector import Failure

# What hints, in the name of an option or in the one that was probably meant, that its value is a secret.
_TELLING = ("pass", "pwd", "secret", "token", "credential", "user", "auth")
# Put among the connection's options by redis-py, not by the user.
_INJECTED = frozenset({"himport_registry", "maint_notifications_config", "maint_notifications_pool_handler",
                       "orig_host_address", "orig_socket_timeout", "orig_socket_connect_timeout"})  # fmt: skip


class ConnectRetries(NamedTuple):
    """How many failed connects a caller sits through, and which errors count."""

    failures: float
    errors: tuple[type[BaseException], ...]


def pool_name(options: Mapping[str, Any]) -> str:
    """`host:port/db`, or `path/db` for a Unix socket; never a password."""
    if "path" in options:
        return f"{options['path']}/{options.get('db', 0)}"
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}/{options.get('db', 0)}"


def connect_retries(options: Mapping[str, Any]) -> ConnectRetries:
    """The part of the user's retry policy that concerns connects, read as redis-py's connections read it."""
    retry = options.get("retry")
    if retry is None:
        asked = bool(options.get("retry_on_error") or options.get("retry_on_timeout"))
        return ConnectRetries(1 if asked else 0, (redis.ConnectionError, redis.TimeoutError))
    failures = retry.get_retries()
    return ConnectRetries(failures if failures >= 0 else math.inf, tuple(retry._supported_errors))


def server_is_full(error: BaseException) -> bool:
    """Whether a connect failed because the server has as many clients as its `maxclients` allows.

    It says so in words only: "max number of clients reached", or "max number of clients + cluster connections reached".
    Over TLS it says nothing and hangs up.
    """
    return "max number of clients" in str(error)


def failure(error: BaseException) -> Failure:
    """Return what a failed connect says of the server."""
    if server_is_full(error):
        return Failure.FULL
    denied = isinstance(error, AuthenticationError | AuthorizationError | NoPermissionError)
    return Failure.DENIED if denied else Failure.DOWN


def connect_budget(options: Mapping[str, Any]) -> float:
    """Seconds that one connect may take in all: connecting and, on top, the handshake; infinity where unbounded."""
    read = options.get("socket_timeout", 5.0)
    connect = options.get("socket_connect_timeout", read)
    if read is None:
        return math.inf
    connect = read if connect is None else connect
    for name, value in (("socket_timeout", read), ("socket_connect_timeout", connect)):
        if not isinstance(value, int | float):
            raise TypeError(f"{name}={value!r} is not a number of seconds")
    return float(connect + read)


def check_sync(options: Mapping[str, Any]) -> None:
    """Refuse what only works on an event loop. Raises `TypeError` with the option's name."""
    _check_retry(options.get("retry"), SyncRetry, "redis.retry.Retry")
    provider = options.get("credential_provider")
    get = getattr(type(provider), "get_credentials", None)
    if provider is not None and (get is CredentialProvider.get_credentials or inspect.iscoroutinefunction(get)):
        raise TypeError(f"credential_provider={_type_of(provider)} is asynchronous; this pool is for threads")
    if inspect.iscoroutinefunction(options.get("redis_connect_func")):
        raise TypeError("redis_connect_func is a coroutine function; this pool is for threads")


def check_async(options: Mapping[str, Any]) -> None:
    """Refuse what an event loop can't use. Raises `TypeError` with the option's name."""
    _check_retry(options.get("retry"), AsyncRetry, "redis.asyncio.retry.Retry")
    provider = options.get("credential_provider")
    if provider is not None and not hasattr(provider, "get_credentials_async"):
        raise TypeError(f"credential_provider={_type_of(provider)} has no get_credentials_async")


def check_names(connection_class: object, options: Mapping[str, Any]) -> None:
    """Refuse an option that looks misspelt, at once and by name.

    What the connection class doesn't take otherwise goes to it all the same, as in redis-py, and is refused there.
    """
    known = _accepted(connection_class)
    if known is None:
        return
    for name in options.keys() - known - _elsewhere():
        if hint := suggest(name, known):
            shown = "<hidden>" if any(word in name + hint for word in _TELLING) else repr(options[name])
            raise TypeError(f"unexpected option {name}={shown}{hint}")


def described(connection_class: Any, options: Mapping[str, Any]) -> str:
    """`<redis.connection.Connection(host=...,password=<REDACTED>)>`: what the user asked for, and no secret."""
    said = [
        f"{name}={'<REDACTED>' if any(word in name for word in _TELLING) else value}"
        for name, value in options.items()
        if name not in _INJECTED
    ]
    name = getattr(connection_class, "__name__", repr(connection_class))
    return f"<{connection_class.__module__}.{name}({','.join(said)})>"


def is_class(connection_class: object) -> TypeGuard[type]:
    """Whether connections are made by a class; any other callable will do, too."""
    return isinstance(connection_class, type)


def parse_url(url: str, asynchronous: bool, config: type[PoolConfig]) -> dict[str, Any]:
    """The options that a `redis://`, `rediss://` or `unix://` URL spells: the pool's, and those that redis-py reads."""
    base, _, text = url.partition("?")
    query = parse_qsl(text, keep_blank_values=True)
    ours = config.from_strings({name: value for name, value in query if name in config.names()})
    theirs = urlencode([(name, value) for name, value in query if name not in ours])
    parse = redis.asyncio.connection.parse_url if asynchronous else redis.connection.parse_url
    return {**parse(f"{base}?{theirs}" if theirs else base), **ours}


def _check_retry(retry: object, wanted: type[AbstractRetry[Any]], name: str) -> None:
    if retry is not None and not isinstance(retry, wanted):
        raise TypeError(f"retry must be a {name}, not {_type_of(retry)}")


def _type_of(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _elsewhere() -> frozenset[str]:
    """The keywords of redis-py's own connection classes: right in themselves, if not for the class at hand."""
    classes = (redis.connection.SSLConnection, redis.connection.UnixDomainSocketConnection)
    # Sentinel's connections take this out of their keywords.
    return frozenset({"connection_pool"}).union(*(_accepted(each) or frozenset() for each in classes))


def _accepted(connection_class: object) -> frozenset[str] | None:
    """The keywords that a class and its bases take; `None` where that can't be told."""
    if not is_class(connection_class):
        return None
    names: set[str] = set()
    for base in connection_class.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        names.update(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return frozenset(names)
        if not base.__module__.startswith("redis."):
            return None  # a class of the user's may take out of its keywords what its bases don't know
    return None
