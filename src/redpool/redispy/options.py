"""What users pass to a pool for redis-py's sake: connection options, URLs, retry policies, credential providers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, TypeGuard
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis.asyncio.connection
import redis.cluster
import redis.connection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.connection import AbstractConnection
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError
from redis.retry import Retry as SyncRetry

from ..core.config import PoolConfig, suggest
from ..core.connector import Failure
from . import no_tls
from .internals import ASYNC_CREDENTIALS, DEFAULT_TIMEOUT, FAMILY, is_theirs, require, retries_of

# Parts of an option's name, or of the one that was probably meant, which say that its value is a secret.
_TELLING = ("pass", "pwd", "secret", "token", "credential", "user", "auth")
# Options of a connection that redis-py has added, not the user.
_INJECTED = frozenset({"himport_registry", "maint_notifications_config", "maint_notifications_pool_handler",
                       "orig_host_address", "orig_socket_timeout", "orig_socket_connect_timeout"})  # fmt: skip


class _Shell(NamedTuple):
    """What users know a shell by."""

    users: str
    client: str
    redpool: str


_HOME = "redpool" if FAMILY == "redis" else f"redpool.{FAMILY}"
_SHELLS = _Shell("threads", FAMILY, _HOME), _Shell("event loops", f"{FAMILY}.asyncio", f"{_HOME}.asyncio")

OWN_CACHE = tuple(each for each in inspect.signature(AbstractConnection.__init__).parameters if "cache" in each)
"""The options of the cache that a connection has for itself: one of valkey-py's has."""


class ConnectRetries(NamedTuple):
    """How many failed connects a caller waits through, and which errors count."""

    failures: float
    errors: tuple[type[BaseException], ...]


def pool_name(options: Mapping[str, Any]) -> str:
    """Return `host:port/db`, or `path/db` for a Unix socket; never a password."""
    if "path" in options:
        return f"{options['path']}/{options.get('db', 0)}"
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}/{options.get('db', 0)}"


def connect_retries(options: Mapping[str, Any]) -> ConnectRetries:
    """Return the part of the user's retry policy that concerns connects, as redis-py's connections read it."""
    retry = options.get("retry")
    if retry is None:
        asked = bool(options.get("retry_on_error") or options.get("retry_on_timeout"))
        return ConnectRetries(1 if asked else 0, (redis.ConnectionError, redis.TimeoutError))
    failures = retries_of(retry)
    return ConnectRetries(failures if failures >= 0 else math.inf, (*retry._supported_errors,))


def server_is_full(error: BaseException) -> bool:
    """Return whether a connect failed because the server has as many clients as its `maxclients` allows.

    Only the text says so: "max number of clients reached", or "max number of clients + cluster connections reached".
    Over TLS the server hangs up without a text.
    """
    return "max number of clients" in str(error)


def failure(error: BaseException) -> Failure:
    """Return what a failed connect says of the server."""
    if server_is_full(error):
        return Failure.FULL
    if isinstance(error, AuthenticationError | AuthorizationError | NoPermissionError):
        return Failure.DENIED
    return Failure.NO_TLS if no_tls.rejected(error) else Failure.DOWN


def connect_budget(options: Mapping[str, Any]) -> float:
    """Return the seconds that one connect may take, the handshake included; infinity where unbounded."""
    read = options.get("socket_timeout", DEFAULT_TIMEOUT)
    connect = options.get("socket_connect_timeout", read)
    if read is None:
        return math.inf
    connect = read if connect is None else connect
    for name, value in (("socket_timeout", read), ("socket_connect_timeout", connect)):
        if not isinstance(value, int | float):
            raise TypeError(f"{name}={value!r} is not a number of seconds")
    return float(connect + read)


def check_sync(options: Mapping[str, Any]) -> None:
    """Reject options that work on an event loop only. Raises `TypeError` with the option's name."""
    _check_retry(options.get("retry"), SyncRetry)
    provider = options.get("credential_provider")
    get = getattr(type(provider), "get_credentials", None)
    if provider is not None and (get is CredentialProvider.get_credentials or inspect.iscoroutinefunction(get)):
        raise TypeError(f"credential_provider={_type_of(provider)} is asynchronous; this pool is for threads")
    name = "redis_connect_func"
    if inspect.iscoroutinefunction(options.get(name)):
        raise TypeError(f"{name} is a coroutine function; this pool is for threads")


def check_async(options: Mapping[str, Any]) -> None:
    """Reject options that an event loop can't use. Raises `TypeError` with the option's name."""
    _check_retry(options.get("retry"), AsyncRetry)
    provider = options.get("credential_provider")
    if provider is None:
        return
    if not hasattr(provider, ASYNC_CREDENTIALS):
        raise TypeError(f"credential_provider={_type_of(provider)} has no {ASYNC_CREDENTIALS}")
    if inspect.iscoroutinefunction(getattr(type(provider), "get_credentials", None)):
        require("asynchronous credentials", "credential_provider")


def check_class(connection_class: object, asynchronous: bool) -> None:
    """Reject a connection class of redis-py's that is for the other kind of pool. Raises `TypeError`."""
    others = (redis.connection if asynchronous else redis.asyncio.connection).AbstractConnection
    if is_class(connection_class) and issubclass(connection_class, others):
        shell, other = _SHELLS[asynchronous], _SHELLS[not asynchronous]
        raise TypeError(
            f"connection_class={_name_of(connection_class)} is for {other.users}, and this pool for {shell.users}: "
            f"use a pool of {other.redpool}, or a class of {shell.client}"
        )


def wrong_client(asynchronous: bool) -> TypeError:
    """Return what the wrong client gets of a pool: one for threads of a pool for event loops, or the reverse."""
    shell, other = _SHELLS[asynchronous], _SHELLS[not asynchronous]
    return TypeError(
        f"this pool is for {shell.users}, and the client for {other.users}: "
        f"use a pool of {other.redpool}, or a client of {shell.client}"
    )


def check_names(connection_class: object, options: Mapping[str, Any], asynchronous: bool) -> None:
    """Reject an option that looks misspelled or needs another class, at once and by name. Raises `TypeError`.

    Other unknown options go to the connection class all the same, as in redis-py, which rejects them.
    """
    known = _accepted(connection_class)
    if known is None:
        return
    unknown = options.keys() - known
    wants_tls = sorted(name for name in unknown if name == "ssl" or name in _tls_names())
    if wants_tls:
        if asynchronous and wants_tls == ["ssl_password"]:
            require("passwords of TLS keys on event loops", "ssl_password")
        raise TypeError(
            f"{wants_tls[0]}: a pool has TLS by a URL that begins with rediss://, "
            f"or by connection_class={_SHELLS[asynchronous].client}.SSLConnection"
        )
    _check_spelling(unknown, known, options)


def check_cluster_names(options: Mapping[str, Any], ours: frozenset[str]) -> None:
    """Reject an option of a cluster's client that looks misspelled: redis-py would drop it. Raises `TypeError`."""
    # What only its other clients take redis-py drops: an application may have one set of options for all.
    theirs = (inspect.signature(each.__init__).parameters for each in (redis.RedisCluster, redis.Redis))
    known = ours.union(*theirs, redis.cluster.REDIS_ALLOWED_KEYS)
    _check_spelling(options.keys() - known, known, options)


def described(connection_class: Any, options: Mapping[str, Any]) -> str:
    """Return the user's options without secrets: `<redis.connection.Connection(host=...,password=<REDACTED>)>`."""
    shown = [
        f"{name}={'<REDACTED>' if any(word in name for word in _TELLING) else value}"
        for name, value in options.items()
        if name not in _INJECTED
    ]
    name = getattr(connection_class, "__name__", repr(connection_class))
    return f"<{connection_class.__module__}.{name}({','.join(shown)})>"


def is_class(connection_class: object) -> TypeGuard[type]:
    """Return whether a class creates the connections; any other callable may, too."""
    return isinstance(connection_class, type)


def as_redis(url: str) -> str:
    """Return a URL as redis-py knows it, which begins with `redis` where it says `valkey`."""
    scheme, colon, rest = url.partition(":")
    return {"valkey": "redis", "valkeys": "rediss"}.get(scheme.lower(), scheme) + colon + rest


def readable(url: str) -> str:
    """Return a URL as redis-py knows it. Raises `ValueError` where it can't be read, and quotes no password."""
    known = as_redis(url)
    if not known.startswith(("redis://", "rediss://", "unix://")):
        shown = repr(url) if {"@", "?"}.isdisjoint(url) else "a URL that begins otherwise"  # it may have a password
        raise ValueError(f"url must begin with redis://, rediss://, valkey://, valkeys:// or unix://, not {shown}")
    _check_address(known.partition("?")[0])
    return known


def parse_url(url: str, asynchronous: bool, config: type[PoolConfig]) -> dict[str, Any]:
    """Return the options in a URL, the pool's and those that redis-py reads.

    It begins with `redis://`, `rediss://`, `valkey://`, `valkeys://` or `unix://`. Raises `ValueError`, without a
    password in it, where it can't be read.
    """
    base, _, text = readable(url).partition("?")
    query = parse_qsl(text, keep_blank_values=True)
    ours = config.from_strings({name: value for name, value in query if name in config.names()})
    theirs = urlencode([(name, value) for name, value in query if name not in ours])
    parse = redis.asyncio.connection.parse_url if asynchronous else redis.connection.parse_url
    return {**parse(f"{base}?{theirs}" if theirs else base), **ours}


def _check_address(base: str) -> None:
    """Raise `ValueError` where the host or port of a URL can't be read; Python's own error may quote the password."""
    try:
        _ = base.startswith("unix:") or urlsplit(base).port
    except ValueError:
        raise ValueError(
            "the URL's host and port can't be read: write redis://user:password@host:6379/0, with the password as "
            "urllib.parse.quote(password, safe='') returns it"
        ) from None


def _check_retry(retry: object, wanted: type[Any]) -> None:
    if retry is not None and not isinstance(retry, wanted):
        raise TypeError(f"retry must be a {_name_of(wanted)}, not {_type_of(retry)}")


def _check_spelling(unknown: AbstractSet[str], known: frozenset[str], options: Mapping[str, Any]) -> None:
    for name in unknown - _elsewhere():
        if hint := suggest(name, known):
            shown = "<hidden>" if any(word in name + hint for word in _TELLING) else repr(options[name])
            raise TypeError(f"unexpected option {name}={shown}{hint}")


def _type_of(thing: object) -> str:
    return _name_of(type(thing))


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _tls_names() -> frozenset[str]:
    names = _accepted(redis.connection.SSLConnection) or frozenset()
    return frozenset(name for name in names if name.startswith("ssl_"))


def _elsewhere() -> frozenset[str]:
    """Return the keywords of redis-py's own connection classes: correct names, if not for the class at hand."""
    classes = (redis.connection.SSLConnection, redis.connection.UnixDomainSocketConnection)
    # Sentinel's connections take this out of their keywords.
    return frozenset({"connection_pool"}).union(*(_accepted(each) or frozenset() for each in classes))


def _accepted(connection_class: object) -> frozenset[str] | None:
    """Return the keywords that a class and its bases take; `None` where that is unknown."""
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
        if not is_theirs(base):
            return None  # a class of the user's may take keywords that its bases don't know
    return None
