"""Connection classes of redis-py, with what counts mixed in."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import redis.asyncio.connection as aio
from redis.connection import AbstractConnection
from redis.driver_info import resolve_driver_info
from redis.utils import SENTINEL

from .internals import watch_connections
from .tracking import Tracked
from .tracking_async import TrackedAsync
from .tracking_sync import TrackedSync

# Where a class keeps what was made of it, so that both go together.
_MADE = "_redpool_counting"


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
        "__class__": property(lambda self: connection_class),
    }
    made: type[Tracked] = type(connection_class.__name__, (mixin, connection_class), names)
    setattr(connection_class, _MADE, made)
    return made


def driver_options(connection_class: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells a connection of this class which library it serves, so that it needn't find out by itself.

    Left to itself, each one reads the version of redis-py from its package's metadata, on disk.
    """
    if "driver_info" in options or not _takes_driver_info(connection_class):
        return {}
    try:
        named = {name: options.get(name, SENTINEL) for name in ("lib_name", "lib_version")}
        return {"driver_info": resolve_driver_info(SENTINEL, **named)}
    except OSError:  # no file can be opened just now
        return {}


def _takes_driver_info(connection_class: Any) -> bool:
    """Return whether a class is redis-py's, or a user's that takes what redis-py's take."""
    for base in getattr(connection_class, "__mro__", ()):
        if base.__module__.startswith("redis."):
            return issubclass(base, AbstractConnection | aio.AbstractConnection)
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            if not any(each.kind is each.VAR_KEYWORD or each.name == "driver_info" for each in parameters):
                return False
    return False


def tracked(connection: Any) -> Any:
    """A new connection; one of a class of redis-py's that a factory has made gets the counting here."""
    if isinstance(connection, Tracked):
        tracking(connection.__class__)
    elif (counts := tracking(type(connection))) is not type(connection):
        connection.__class__ = counts
    return connection
