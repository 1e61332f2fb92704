"""redis-py's clients: made with a pool of ours; which calls go the shorter way, and whether others look at them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import redis.client
from redis.exceptions import ReadOnlyError

from ..wire.commands import PLAIN
from . import packing, sharing
from .exchange import suspended
from .internals import CLIENT_METHODS, has, original, untouched, watch_pipelines
from .options import OWN_CACHE

# What redis-py's own pool has put among its connections' options; ours puts its own there.
_OF_ITS_POOL = frozenset({"himport_registry", "maint_notifications_pool_handler", "orig_host_address",
                          "orig_socket_timeout", "orig_socket_connect_timeout"})  # fmt: skip


class _NullDispatcher:
    """A dispatcher without listeners."""

    def dispatch(self, event: object) -> None:
        """No caller hears of it."""


# Where `connection_pool` stands among the positional arguments.
PLACE_OF_POOL = list(inspect.signature(redis.client.Redis.__init__).parameters).index("connection_pool") - 1


def beside_pool(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a client still needs which is given its pool."""
    names = ("single_connection_client", "credential_provider", "event_dispatcher")
    return {name: kwargs[name] for name in names if name in kwargs}


def make_pool(client_class: Any, pool_class: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Make a pool of ours from a redis-py client's arguments; take the pool's own options out of `kwargs`.

    redis-py itself reads its arguments: for a client that opens nothing, and goes again.
    """
    ours = {
        name: kwargs.pop(name) for name in pool_class.option_names() if name in kwargs and name != "max_connections"
    }
    silent = {**kwargs, "single_connection_client": False}
    if kwargs.get("max_connections") == "auto":  # which redis-py doesn't know
        silent["max_connections"] = None
    if has("events"):
        silent["event_dispatcher"] = _NullDispatcher()
    with suspended():  # the template's pool is redis-py's, after `redpool.install()`, too
        template = client_class(*args, **silent).connection_pool
    read = {name: value for name, value in template.connection_kwargs.items() if name not in _OF_ITS_POOL}
    for name in ("cache", "cache_config", "maint_notifications_config", *OWN_CACHE):
        read.pop(name, None)
        if kwargs.get(name) is not None:
            ours[name] = kwargs[name]
    asked = kwargs.get("max_connections")
    return pool_class(template.connection_class, max_connections=asked, **read, **ours)


OF_OTHERS = frozenset({*CLIENT_METHODS, "connection", "connection_pool"})
"""What others may set of a client that the shorter way passes by."""


class _Nowhere:
    """What takes no ordinary call."""

    turn = only = None

    def in_turn(self) -> bool:
        """Return false: none has found its way."""
        return False

    def all_there_are(self) -> tuple[()]:
        """Return no connection."""
        return ()

    def ask(self, args: tuple[Any, ...]) -> None:
        """Queue nothing."""


class _NoWay:
    """A pool, as far as ordinary calls go, that has no connection for them yet."""

    sharing = False
    multiplexed = _Nowhere()


NO_WAY = _NoWay()


class Watched:
    """What shows whether others look at the calls of redis-py's clients: these go redis-py's way then."""

    def __init__(self, client: Any, pipeline: Any) -> None:
        """Remember redis-py's own methods of its class of clients, and of its class of pipelines."""
        self.client, self._pipeline = client, pipeline
        self.look_again()

    def look_again(self) -> None:
        """Remember them anew; what redpool has put around them counts as redis-py's own."""
        self.execute, self.parse = original(self.client, "execute_command"), original(self.client, "parse_response")
        self._pipeline_replaced = watch_pipelines(self._pipeline)

    def others_look(self) -> bool:
        """Return whether a method of the client or of the pipeline was replaced."""
        return (
            self.client.execute_command is not self.execute
            or self.client.parse_response is not self.parse
            or self._pipeline_replaced()
        )


class ShortcutClient:
    """What the clients of both shells decide alike: whether their commands go the shorter way."""

    _pool_class: ClassVar[Any]

    connection_pool: Any
    response_callbacks: Any
    connection: Any

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied, the pool first: it says what to do instead of pickling a client."""
        return {"connection_pool": self.connection_pool, **vars(self)}

    def _find_way(self) -> None:
        """Find out whether commands may go the shorter way: not where this client has methods of others' making."""
        pool = self.connection_pool
        shares = (
            isinstance(pool, self._pool_class)
            and hasattr(pool, "sharing_names")  # a double that knows the class alone has none
            and getattr(self, "connection", None) is None  # not set yet while redis-py makes the client
            and not getattr(self, "single_connection_client", False)  # on an event loop it has no connection yet
            and untouched(type(self), CLIENT_METHODS)
            and all(self._is_of_class(name) for name in CLIENT_METHODS)
        )
        # The pool may be exchanged later: commands take the longer way then.
        self._shared_pool: Any = pool if shares else None
        self._names: frozenset[str] = pool.sharing_names if shares else PLAIN
        self._way: Any = pool if shares else NO_WAY
        self._ordinary: frozenset[str] = packing.of_one_word(self._names)

    def _is_of_class(self, name: str) -> bool:
        """Return whether a method is the class's, not the client's own.

        This asks the method: to ask for the client's `__dict__` would slow each later look at its attributes down.
        """
        method = getattr(self, name, None)
        is_bound_here = getattr(method, "__self__", self) is self  # else it is another client's
        return is_bound_here and getattr(method, "__func__", None) is getattr(type(self), name, None)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in OF_OTHERS:
            self._find_way()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        if name in OF_OTHERS:
            self._find_way()

    @classmethod
    def from_pool(cls, connection_pool: Any) -> Self:
        """As in redis-py, which says that it returns one of its own clients."""
        theirs: Any = super()
        client: Self = theirs.from_pool(connection_pool)
        return client


class ShortcutPipeline:
    """What the pipelines of both shells decide alike: whether one may share, and what its caller gets."""

    _pool_class: ClassVar[Any]

    connection_pool: Any
    watching: Any
    connection: Any
    scripts: Any

    def _may_share(self, stack: Sequence[Any], commands: Sequence[Any]) -> bool:
        pool = self.connection_pool
        return (
            isinstance(pool, self._pool_class)
            and bool(stack)
            and (pool.sharing or pool.may_share())
            and not (self.watching or self.connection or self.scripts)
            and packing.share(commands, pool.sharing_names, pool.decodes)
            and packing.usual(stack)
        )

    def _made(self, make: Any, stack: Sequence[Any], replies: list[Any], raise_on_error: bool) -> list[Any]:
        """Return what the caller gets. Where a replica has refused a write, the connections are replaced."""
        try:
            results: list[Any] = make(self, stack, replies, raise_on_error)
        except ReadOnlyError:
            self.connection_pool.starts_over(None)
            raise
        if not raise_on_error and sharing.refused(results):
            self.connection_pool.starts_over(None)
        return results
