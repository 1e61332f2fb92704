"""The part of a pool that redis-py's clients, and libraries that look into pools, touch.

Client-side caching and maintenance notifications are redis-py's own; what is here gives them the pool they expect.
"""

from __future__ import annotations

import secrets
import sys
import weakref
from abc import abstractmethod
from asyncio import Lock as AsyncLock
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

import redis.asyncio.connection
import redis.connection
from redis.cache import CacheFactory, CacheInterface
from redis.exceptions import RedisError

from ..core.config import PoolConfig
from ..core.instrument import Hooks
from ..core.record import Record
from . import internals, lifecycle, maintenance, naming, options, transports
from .factory import CachingFactory, ConnectionFactory
from .internals import (
    CLIENT_MODULE,
    CLIENT_MODULE_ASYNC,
    Encoder,
    HImportRegistry,
    MaintNotificationsConfig,
    has,
    require,
)

if TYPE_CHECKING:
    from ..tuning.advice import Advice

_calling_frame = sys._getframe


class _Surface:
    """What both kinds of pool show."""

    asynchronous: ClassVar[bool]
    _other_clients: ClassVar[Mapping[str, Any]]
    """the module of redis-py's clients of the other kind"""
    _maintained_class: ClassVar[type]
    _maintained_pool: ClassVar[Any]
    _maintenance_feature: ClassVar[str]
    _config_class: ClassVar[type[PoolConfig]] = PoolConfig

    config: PoolConfig
    himport_registry: HImportRegistry
    _server: str
    """what it connects to, for the registry of pools"""
    _hooks: Hooks
    _factory: ConnectionFactory
    _maint_notifications_pool_handler: Any

    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Self:
        """Make a pool from a URL; what the URL says wins over keywords.

        Every option may stand in the URL's query, the pool's own ones too: `redis://host/0?min_idle=2&timeout=0.5`.
        """
        spelled = options.parse_url(url, cls.asynchronous, cls._config_class)
        if "connection_class" in kwargs:
            spelled.pop("connection_class", None)
        return cls(**{**kwargs, **spelled})

    def _take_options(
        self, connection_class: Any, kwargs: dict[str, Any], factory: Callable[[Any, dict[str, Any]], ConnectionFactory]
    ) -> None:
        kwargs.pop("queue_class", None)
        server = options.pool_name(kwargs)
        if kwargs.get("name") is None:
            kwargs["name"] = server
        if kwargs.get("service") is None:
            kwargs["service"] = naming.program_name()
        self.config = self._config_class.take(kwargs)
        self._server = self.config.name if "connection_pool" in kwargs else server  # where Sentinel knows the address
        options.check_class(connection_class, self.asynchronous)
        options.check_names(connection_class, kwargs, self.asynchronous)
        if has("fieldsets") and kwargs.get("himport_registry") is None and options.is_class(connection_class):
            kwargs["himport_registry"] = HImportRegistry()
        registry = kwargs.get("himport_registry")  # one without fieldsets is false
        self.himport_registry = HImportRegistry() if registry is None else registry
        self._factory = factory(connection_class, kwargs)
        self._factory.pool = weakref.ref(self)
        self._factory.namer = naming.namer(self.config.service, self.config.name)
        for name in ("cache_enabled", "client_cache"):  # valkey-py's, for a cache in each connection
            if kwargs.get(name):
                require("client-side caching", name)
        if kwargs.get("event_dispatcher") is not None:
            require("events", "event_dispatcher")
        options.connect_budget(kwargs)  # rejected here where it makes no sense
        self._pool_id = secrets.token_hex(4) if self.asynchronous in internals.POOLS_WITH_ID else ""
        # A caller that brings a dispatcher wants to hear of releases; redis-py's own does nothing that isn't done here.
        self._dispatcher = kwargs.get("event_dispatcher")

    def make_connection(self) -> Any:
        """Return a connection of this pool's kind, not yet connected and not counted."""
        return self._factory.make()

    def _take_maintenance(self, asked: MaintNotificationsConfig | None, kwargs: dict[str, Any]) -> None:
        if asked is not None and asked.enabled:
            require(self._maintenance_feature, "maint_notifications_config")
        self._maint_notifications_pool_handler = None
        if self._maintained_pool is not None:
            self._maintained_pool.__init__(self, maint_notifications_config=self._maintenance(asked), **kwargs)
            maintenance.hold_weakly(self._maint_notifications_pool_handler, self)

    def _maintenance(self, wanted: MaintNotificationsConfig | None) -> MaintNotificationsConfig | None:
        """Return redis-py's configuration of maintenance notifications: off where the connections can't have them."""
        able = options.is_class(self.connection_class) and issubclass(self.connection_class, self._maintained_class)
        if able and "path" not in self.connection_kwargs:
            return wanted
        if wanted is not None and wanted.enabled is True:
            raise RedisError(f"Maintenance notifications are not supported {self._not_maintained()}")
        return MaintNotificationsConfig(enabled=False)

    @abstractmethod
    def _not_maintained(self) -> str:
        """Say, in redis-py's words, with or for what connections there are no maintenance notifications."""

    @property
    def connection_class(self) -> Any:
        """What makes every new connection."""
        return self._factory.connection_class

    @connection_class.setter
    def connection_class(self, value: Any) -> None:
        self._factory.connection_class = value

    @property
    def connection_kwargs(self) -> dict[str, Any]:
        """What every new connection is made with.

        redis-py's clients ask for it when they are made. So it raises `TypeError` to one of the other kind.
        """
        if _calling_frame(1).f_globals is self._other_clients:
            raise options.wrong_client(self.asynchronous)
        return self._factory.arguments

    @connection_kwargs.setter
    def connection_kwargs(self, value: dict[str, Any]) -> None:
        self._factory.arguments = value

    @property
    def timeout(self) -> float | None:
        """Seconds that a caller waits for a connection; `None` for ever."""
        return self.config.timeout

    def get_protocol(self) -> Any:
        """Return the RESP version asked for, `None` where redis-py's default is meant."""
        return self.connection_kwargs.get("protocol")

    def get_encoder(self) -> Encoder:
        """Return an encoder with the pool's `encoding`, `encoding_errors` and `decode_responses`."""
        kwargs = self.connection_kwargs
        make = kwargs.get("encoder_class", Encoder)
        encoder: Encoder = make(
            encoding=kwargs.get("encoding", "utf-8"),
            encoding_errors=kwargs.get("encoding_errors", "strict"),
            decode_responses=kwargs.get("decode_responses", False),
        )
        return encoder

    def set_retry(self, retry: Any) -> None:
        """Use another retry policy, for the connections there are and those to come."""
        (options.check_async if self.asynchronous else options.check_sync)({**self.connection_kwargs, "retry": retry})
        self._factory.set_retry(retry)
        self._connect_retries_changed()
        for connection in (*self._available_connections, *self._in_use_connections):
            lifecycle.set_retry(connection, retry)

    def get_connection_count(self) -> list[tuple[int, dict[str, Any]]]:
        """Return how many connections are idle and in use, each number with the attributes that OpenTelemetry wants."""
        return internals.counted(self, len(self._available_connections), len(self._in_use_connections))

    @abstractmethod
    def record(self) -> Record:
        """Return what the pool was asked for in the last minute."""

    def advice(self, target: float | None = None) -> Advice:
        """Return how large the pool should be for 99 % of its callers to wait `target` seconds at most.

        It replays `record()` against other sizes; `target` is by default the median lease, and at least 2 ms. That is
        up to some seconds of work: on an event loop, say `await asyncio.to_thread(pool.advice)`.

        Raises `ValueError` where no caller came in the last minute, and for a target that makes no sense.
        """
        from ..tuning.advice import advise  # an application: most processes never need it

        return advise(self.record(), target=target)

    def watch(self, instrument: object) -> None:
        """Have another instrument hear of this pool from now on."""
        self._hooks.add(instrument)
        self._hooks_changed()

    def unwatch(self, instrument: object) -> None:
        """Have an instrument hear of this pool no more."""
        self._hooks.remove(instrument)
        self._hooks_changed()

    def _hooks_changed(self) -> None:
        """Find out whether a checkout has more to do than to hand a connection out."""
        config = self.config
        self._watched = bool(config.leak_after is not None or config.warn_wait is not None or self._hooks.acquired)

    def _described(self, state: str, counts: str) -> str:
        made = options.described(self.connection_class, self.connection_kwargs)
        rule = f"retry_sent={self.config.retry_sent!r}"
        return f"<{self.config.name} {state}: {counts}; {rule}; {type(self).__module__}.{type(self).__name__}({made})>"

    def retried_by_client(self) -> None:
        """Have late commands share the retry budget, though the pool tries none again: a cluster's client does."""
        self._factory.client_tries_again = True
        self._connect_retries_changed()

    @abstractmethod
    def _connect_retries_changed(self) -> None:
        """Have callers sit through another number of failed connects from now on."""

    @property
    @abstractmethod
    def _available_connections(self) -> list[Any]:
        """The idle connections: a copy, for those who look."""

    @property
    @abstractmethod
    def _in_use_connections(self) -> set[Any]:
        """The connections on lease: a copy, for those who look."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self.config.name}: a pool can't be pickled: have each process create its own")

    def __del__(self) -> None:
        """Do nothing: a finalizer must not take a lock, and what was open goes with its engine."""

    def _get_free_connections(self) -> Iterable[Any]:
        return self._available_connections

    def _get_in_use_connections(self) -> Iterable[Any]:
        return self._in_use_connections


class SyncSurface(_Surface, redis.connection.ConnectionPool):  # type: ignore[override]  # attributes there
    """The part of a pool for threads that redis-py's clients touch.

    It inherits from redis-py's class for `isinstance` and for type checkers only: it has none of that class's state,
    and defines all of its public methods anew.
    """

    asynchronous = False
    _other_clients = CLIENT_MODULE_ASYNC
    _maintained_class = internals.MAINTAINED
    _maintained_pool = internals.MAINTAINED_POOL
    _maintenance_feature = "maintenance notifications"
    _factory: CachingFactory

    def _prepare(
        self,
        connection_class: Any,
        cache_factory: Any,
        asked: MaintNotificationsConfig | None,
        kwargs: dict[str, Any],
    ) -> None:
        options.check_sync(kwargs)
        make_cache = _cache_maker(kwargs, cache_factory)
        self._take_options(connection_class, kwargs, partial(CachingFactory, make_cache=make_cache))
        self._take_maintenance(asked, kwargs)

    def _not_maintained(self) -> str:
        return f"with {self.connection_class!r}"

    @property
    def cache(self) -> CacheInterface | None:
        """The client-side cache, if the user wants one."""
        return self._factory.cache

    @cache.setter
    def cache(self, value: CacheInterface | None) -> None:
        self._factory.cache = value

    @property
    def _lock(self) -> Any:  # type: ignore[override]  # redis-py only enters it
        return self._factory.lock

    def _get_pool_lock(self) -> Any:
        return self._factory.lock

    def _update_maint_notifications_configs_for_connections(self, *_handlers: Any, **_named: Any) -> None:
        """Have handlers of notifications that are set later, as a cluster's client does, known to all connections.

        redis-py would disconnect idle ones, which a caller may be about to use, and before 8.1 it fails where one is in
        use. Here new connections replace them all.
        """
        self.drain()

    @abstractmethod
    def drain(self) -> None:
        """Replace every connection."""

    def update_connections_settings(self, *args: Any, **settings: Any) -> None:
        """Set the options of all connections, as in redis-py; after a move later connects go to the new address."""
        self.connection_kwargs.update(maintenance.new_address(settings))
        super().update_connections_settings(*args, **settings)

    def _announce(self, connection: Any) -> None:
        """Tell the user's dispatcher of a release; a listener may talk over the connection, to re-authenticate."""
        assert self._dispatcher is not None
        try:
            self._dispatcher.dispatch(internals.AfterConnectionReleasedEvent(connection))
        except BaseException:
            lifecycle.close(connection)
            lifecycle.logger.warning("%s: closed a connection: a listener failed", self.config.name, exc_info=True)


class AsyncSurface(_Surface, redis.asyncio.connection.ConnectionPool):  # type: ignore[override]  # attributes there
    """The part of a pool for event loops that redis-py's clients touch.

    It inherits from redis-py's class for `isinstance` and for type checkers only, as `SyncSurface` does.
    """

    asynchronous = True
    _other_clients = CLIENT_MODULE
    _maintained_class = internals.MAINTAINED_ASYNC
    _maintained_pool = internals.MAINTAINED_POOL_ASYNC
    _maintenance_feature = "maintenance notifications on event loops"

    def _prepare(self, connection_class: Any, asked: MaintNotificationsConfig | None, kwargs: dict[str, Any]) -> None:
        options.check_async(kwargs)
        if kwargs.pop("cache", None) is not None or kwargs.pop("cache_config", None) is not None:
            raise RedisError("Client caching is not supported on event loops: redis-py has it for threads only")
        self._take_options(connection_class, kwargs, ConnectionFactory)
        self._lock = AsyncLock()
        self._take_maintenance(asked, kwargs)

    def _not_maintained(self) -> str:
        if "path" in self.connection_kwargs:
            return "for Unix domain socket connections"
        return f"for connection class {getattr(self.connection_class, '__name__', self.connection_class)}"

    def _get_pool_lock(self) -> AsyncLock:
        return self._lock

    async def _on_close(self) -> None:
        if self._maint_notifications_pool_handler is not None:
            await self._maint_notifications_pool_handler.cancel_scheduled_tasks()

    def _update_connections_settings_without_locking(self, *args: Any, **settings: Any) -> None:
        self.connection_kwargs.update(maintenance.new_address(settings))
        super()._update_connections_settings_without_locking(*args, **settings)

    async def _update_maint_notifications_configs_for_connections(self, *_handlers: Any, **_named: Any) -> None:
        """Replace all connections, as a pool for threads does."""
        self.drain()

    async def _run_proactive_reconnect_without_locking(self, moving_address_src: str | None = None) -> None:
        for connection in self._get_in_use_connections():
            if self._should_update_connection(connection, "connected_address", moving_address_src):
                connection.mark_for_reconnect()
        self.drain()

    @abstractmethod
    def drain(self) -> None:
        """Replace every connection."""

    async def _announce(self, connection: Any) -> None:
        """Tell the user's dispatcher of a release; a listener may talk over the connection, to re-authenticate."""
        assert self._dispatcher is not None
        try:
            await self._dispatcher.dispatch_async(internals.AsyncAfterConnectionReleasedEvent(connection))
        except BaseException as error:
            transports.close_now(connection)
            if not isinstance(error, Exception):
                raise
            lifecycle.logger.warning("%s: closed a connection: a listener failed", self.config.name, exc_info=True)

    def get_available_connection(self) -> NoReturn:
        """Raise `NotImplementedError`: half of a checkout, which this pool doesn't have."""
        raise NotImplementedError("use get_connection()")


def _cache_maker(kwargs: dict[str, Any], factory: Any) -> Callable[[], CacheInterface | None]:
    """Return what makes the client-side cache that the options ask for, and take those out: connections lack them."""
    cache, config = kwargs.pop("cache", None), kwargs.pop("cache_config", None)
    if cache is None and config is None:
        return lambda: None
    require("client-side caching", "cache_config" if cache is None else "cache")
    if not internals.check_protocol_version(kwargs.get("protocol"), 3):
        raise RedisError("Client caching is only supported with RESP version 3: say protocol=3")
    if cache is not None:
        if not isinstance(cache, CacheInterface):
            raise ValueError(f"Cache must implement CacheInterface of redis.cache, not {cache!r}")
        return lambda: cache
    if factory is not None:
        return lambda: internals.CacheProxy(factory.get_cache())
    return lambda: CacheFactory(config).get_cache()
