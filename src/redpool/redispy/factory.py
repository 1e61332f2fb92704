"""What makes a pool's connections: redis-py's class with the tracking mixed in, its arguments, its retry policy.

It knows the pool by a weak reference at most, so that whatever connects for a pool doesn't keep it.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Any

import redis.asyncio.connection as aio
from redis.cache import CacheInterface
from redis.connection import AbstractConnection, SSLConnection

from . import hello, internals, no_tls, options, recording, retry, sockets
from .caching import CachingConnection
from .internals import watch_connections
from .tracking import Tracked
from .tracking_async import TrackedAsync
from .tracking_sync import TrackedSync

# Where a class keeps what was made of it, so that both go together.
_MADE = "_redpool_tracking"
_OVER_TLS = (SSLConnection, aio.SSLConnection)


class ConnectionFactory:
    """What makes the connections of one pool.

    The user may change their class, their arguments and their retry policy at any time: whatever is made from then on
    has the new ones.
    """

    def __init__(self, connection_class: Any, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        """what every new connection is made with: a dictionary that the user may change, and redis-py's own handlers"""
        self.connection_class = connection_class
        self.retries = options.connect_retries(arguments)
        """how many failed connects a caller sits through, and of which kind"""
        self.client_tries_again = False
        """whether late commands are tried again by what is above the pool: the client of a cluster"""
        self.pool: Callable[[], Any] = _none
        """returns the pool, `None` once it is gone: the user may have given it another `make_connection`"""
        self.namer: Callable[[], str] | None = None
        """returns what the server calls connections that their user has given no name"""
        self._without_hello: set[Any] = set()  # endpoints that were found to refuse it
        self._tls_proof = no_tls.Proof()  # whether the server speaks TLS

    @property
    def connection_class(self) -> Any:
        """What the user has asked for: a class, or anything else that makes a connection."""
        return self._connection_class

    @connection_class.setter
    def connection_class(self, value: Any) -> None:
        self._connection_class, self.tracking_class = value, tracking(value)
        self._library_asked: Any = ...
        self._library = library_option(value, self.arguments)

    def look_again(self) -> Any:
        """Return the class of the next connections: a method may have been replaced since the last look.

        redis-py's recorder may have been switched on since then, too.
        """
        recording.look_at(self.pool())
        self.tracking_class = tracking(self._connection_class)
        return self.tracking_class

    @property
    def connect_budget(self) -> float:
        """Seconds that one connect may take in all."""
        return options.connect_budget(self.arguments)

    def sits_through(self, error: BaseException) -> bool:
        """Return whether the user's retry policy has callers wait on after a connect has failed with this."""
        return isinstance(error, self.retries.errors)

    def set_retry(self, policy: Any) -> None:
        """Have the connections to come made with another retry policy."""
        self.arguments["retry"] = policy
        self.retries = options.connect_retries(self.arguments)

    def connection(self) -> Any:
        """Return a connection that is to be connected, made the way the user's pool makes them."""
        pool = self.pool()
        recording.look_at(pool)
        return self.make() if pool is None else pool.make_connection()

    def make(self) -> Any:
        """Return a connection that tracks what is sent over it, not yet connected."""
        connection = tracked(self.tracking_class(**{**self.arguments, **self._library_option()}))
        retry.guard_retries(connection)
        sockets.watch(connection, self.arguments)
        if isinstance(connection, Tracked) and hello.may_speak_resp2(self.arguments):
            connection.without_hello = self._without_hello
        if isinstance(connection, Tracked) and self.arguments.get("client_name") is None:
            connection.namer = self.namer
        if isinstance(connection, _OVER_TLS) and isinstance(connection, Tracked):
            connection.tls_proof = self._tls_proof
        return connection

    def _library_option(self) -> dict[str, Any]:
        """Return what tells the server which library it serves; the user may say otherwise at any time."""
        asked = self.arguments.get(internals.LIBRARY_OPTION, ...)
        if asked is not self._library_asked:
            self._library_asked, self._library = asked, library_option(self._connection_class, self.arguments)
        return self._library


def _none() -> None:
    """Return no pool."""


class CachingFactory(ConnectionFactory):
    """The same for threads, where redis-py has client-side caching."""

    def __init__(
        self, connection_class: Any, arguments: dict[str, Any], make_cache: Callable[[], CacheInterface | None]
    ) -> None:
        super().__init__(connection_class, arguments)
        self._make_cache = make_cache
        self.cache = make_cache()
        # Serializes redis-py's maintenance and cache handlers, which do I/O under it; it guards nothing of the pool.
        self.lock = threading.RLock()

    def make(self) -> Any:
        """Return a connection that tracks and, if the user wants that, caches; not yet connected."""
        connection = super().make()
        if self.cache is None:
            return connection
        connection.cached, connection.without_hello = True, None
        return CachingConnection(connection, self.cache, self.lock)

    def begin_in_child(self) -> None:
        """After a fork: no caller here will invalidate what the parent's connections have cached; locks may be held."""
        self.lock = threading.RLock()
        if self.cache is not None:
            self.cache = self._make_cache()


def tracking(connection_class: Any) -> Any:
    """`connection_class` with the counting mixed in; anything that isn't a connection class of redis-py, as it is.

    Whether it is `usual` is found out anew each time: a method may have been replaced since.
    """
    if not isinstance(connection_class, type) or issubclass(connection_class, Tracked):
        return connection_class
    if issubclass(connection_class, AbstractConnection):
        mixin: type[Tracked] = TrackedSync
    elif issubclass(connection_class, aio.AbstractConnection):
        mixin = TrackedAsync
    else:
        return connection_class
    made: Any = vars(connection_class).get(_MADE) or _make(mixin, connection_class)
    made.look_at_methods()
    return made


def _make(mixin: type[Tracked], connection_class: type) -> type[Tracked]:
    names = {
        "made_of": connection_class,
        "replaced": staticmethod(watch_connections(connection_class)),
        "__module__": connection_class.__module__,
        "__qualname__": connection_class.__qualname__,
        # To all that compare classes, a pool's connections are of the class that its user has asked for.
        "__class__": property(lambda _self: connection_class),
    }
    stand_ins = internals.STAND_INS if mixin is TrackedSync else internals.STAND_INS_ASYNC
    made: type[Tracked] = type(connection_class.__name__, (mixin, *stand_ins, connection_class), names)
    setattr(connection_class, _MADE, made)
    return made


def library_option(connection_class: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells the server which library a connection of this class serves, where that takes it.

    Left to itself, each one reads the version of redis-py from its package's metadata, on disk.
    """
    name = internals.LIBRARY_OPTION
    if options.get(name, ...) is None or not _takes(connection_class, name):
        return {}
    try:
        return internals.library(options)
    except OSError:  # no file can be opened just now
        return {}


def _takes(connection_class: Any, option: str) -> bool:
    """Return whether a class is redis-py's, or a user's that takes what redis-py's take."""
    for base in getattr(connection_class, "__mro__", ()):
        if internals.is_theirs(base):
            return issubclass(base, AbstractConnection | aio.AbstractConnection)
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            if not any(each.kind is each.VAR_KEYWORD or each.name == option for each in parameters):
                return False
    return False


def tracked(connection: Any) -> Any:
    """Return a new connection, made to count where it is of a class of redis-py's that a factory has made."""
    if isinstance(connection, Tracked):
        tracking(connection.__class__)
    elif (counts := tracking(type(connection))) is not type(connection):
        connection.__class__ = counts
    return connection
