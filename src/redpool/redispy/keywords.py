"""The keywords of pools and clients, with their types, for editors and type checkers; `options` checks what is passed.

What a connection class takes is here for the classes of redis-py's own. A class of the user's may take others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from typing import Any

    import redis.asyncio.connection
    import redis.connection
    from redis.asyncio.retry import Retry as AsyncRetry
    from redis.cache import CacheConfig, CacheInterface
    from redis.credentials import CredentialProvider
    from redis.driver_info import DriverInfo
    from redis.event import EventDispatcherInterface
    from redis.himport import HImportRegistry
    from redis.maint_notifications import MaintNotificationsConfig
    from redis.retry import Retry

    from ..core.config import Order, RetrySent


class _Pool(TypedDict, total=False):
    """A pool's own, but for its `timeout`, which has a place among a `BlockingConnectionPool`'s arguments."""

    max_waiting: int | None
    min_idle: int
    max_idle_time: float | None
    max_lifetime: float | None
    lifetime_jitter: float
    max_connecting: int
    break_after: int | None
    validate_after_idle: float
    ping_after_idle: float | None
    order: Order
    leak_after: float | None
    retry_sent: RetrySent
    name: str | None
    instruments: Iterable[object]


class PoolOptions(_Pool, total=False):
    """A pool's own, as `PoolConfig` has them."""

    timeout: float | None


class SharingOptions(TypedDict, total=False):
    """Those that a pool has whose connections are shared, as `MultiplexedConfig` has them."""

    shared_connections: int
    max_in_flight: int
    shareable_commands: Iterable[str]


class ConnectionOptions(TypedDict, total=False):
    """Those of redis-py's connections in both shells, with those for TLS and for Unix sockets."""

    host: str
    port: int | str
    db: int | str
    username: str | None
    password: str | None
    credential_provider: CredentialProvider | None
    client_name: str | None
    socket_timeout: float | None
    socket_connect_timeout: float | None
    socket_keepalive: bool | None
    socket_keepalive_options: Mapping[int, int | bytes] | object
    socket_type: int
    socket_read_size: int
    health_check_interval: float
    retry_on_timeout: bool
    retry_on_error: Iterable[type[Exception]] | object
    protocol: int | None
    legacy_responses: bool
    encoding: str
    encoding_errors: str
    decode_responses: bool
    encoder_class: Any
    parser_class: Any
    lib_name: str | object | None
    lib_version: str | object | None
    driver_info: DriverInfo | object | None
    event_dispatcher: EventDispatcherInterface | None
    himport_registry: HImportRegistry | None
    ssl_keyfile: str | None
    ssl_certfile: str | None
    ssl_password: str | None
    ssl_cert_reqs: str | ssl.VerifyMode
    ssl_include_verify_flags: list[ssl.VerifyFlags] | None
    ssl_exclude_verify_flags: list[ssl.VerifyFlags] | None
    ssl_ca_certs: str | None
    ssl_ca_path: str | None
    ssl_ca_data: str | None
    ssl_check_hostname: bool
    ssl_min_version: ssl.TLSVersion | None
    ssl_ciphers: str | None
    path: str


class _Thread(ConnectionOptions, total=False):
    """Those of redis-py's connections for threads, and of its cache."""

    retry: Retry | None
    redis_connect_func: Callable[..., object] | None
    command_packer: Any
    cache: CacheInterface | None
    cache_config: CacheConfig | None
    ssl_validate_ocsp: bool
    ssl_validate_ocsp_stapled: bool
    ssl_ocsp_context: Any
    ssl_ocsp_expected_cert: str | None


class _Loop(ConnectionOptions, total=False):
    """Those of redis-py's connections for event loops."""

    retry: AsyncRetry | None
    redis_connect_func: Callable[..., Awaitable[object] | object] | None


class _Ignored(TypedDict, total=False):
    """What redis-py's blocking pools have asked for."""

    queue_class: object


class ThreadOptions(PoolOptions, _Thread, _Ignored, total=False):
    """All of a pool for threads."""


class LoopOptions(PoolOptions, _Loop, _Ignored, total=False):
    """All of a pool for event loops."""


class BlockingThreadOptions(_Pool, _Thread, total=False):
    """All of a `BlockingConnectionPool` for threads that have no place among its arguments."""

    cache_factory: Any
    maint_notifications_config: MaintNotificationsConfig | None


class BlockingLoopOptions(_Pool, _Loop, total=False):
    """All of a `BlockingConnectionPool` for event loops that have no place among its arguments."""

    maint_notifications_config: MaintNotificationsConfig | None


class _Named(TypedDict, total=False):
    """What has a place among the arguments of a pool, where it has none."""

    max_connections: int | None
    maint_notifications_config: MaintNotificationsConfig | None


class SharedThreadOptions(ThreadOptions, SharingOptions, total=False):
    """All of a pool for threads whose connections are shared."""


class SharedLoopOptions(LoopOptions, SharingOptions, total=False):
    """All of a pool for event loops whose connections are shared."""


class ThreadUrlOptions(ThreadOptions, _Named, total=False):
    """What a URL of a pool for threads may be accompanied by."""

    cache_factory: Any


class LoopUrlOptions(LoopOptions, _Named, total=False):
    """What a URL of a pool for event loops may be accompanied by."""


class SharedThreadUrlOptions(ThreadUrlOptions, SharingOptions, total=False):
    """What a URL of a pool for threads may be accompanied by whose connections are shared."""


class SharedLoopUrlOptions(LoopUrlOptions, SharingOptions, total=False):
    """What a URL of a pool for event loops may be accompanied by whose connections are shared."""


class _Client(TypedDict, total=False):
    """What only clients have."""

    single_connection_client: bool
    unix_socket_path: str | None
    ssl: bool


class ClientUrlOptions(SharedThreadUrlOptions, total=False):
    """What a URL of a client for threads may be accompanied by."""

    single_connection_client: bool


class LoopClientUrlOptions(SharedLoopUrlOptions, total=False):
    """What a URL of a client for event loops may be accompanied by."""

    single_connection_client: bool
    auto_close_connection_pool: bool | None


class ClientOptions(SharedThreadOptions, _Named, _Client, total=False):
    """All of a client for threads."""

    connection_pool: redis.connection.ConnectionPool | None


class LoopClientOptions(SharedLoopOptions, _Named, _Client, total=False):
    """All of a client for event loops."""

    connection_pool: redis.asyncio.connection.ConnectionPool | None
    auto_close_connection_pool: bool | None
