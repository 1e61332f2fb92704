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
    from redis.cluster import LoadBalancingStrategy
    from redis.commands.policies import AsyncPolicyResolver, PolicyResolver
    from redis.credentials import CredentialProvider
    from redis.driver_info import DriverInfo
    from redis.event import EventDispatcherInterface
    from redis.himport import HImportRegistry
    from redis.maint_notifications import MaintNotificationsConfig
    from redis.retry import Retry

    from ..core.config import MaxConnections, Order, RetrySent, Shed
    from ..core.shares import Budgeted


class OwnOptions(TypedDict, total=False):
    """A pool's own, but for its `timeout`, which has a place among a `BlockingConnectionPool`'s arguments."""

    max_waiting: int | None
    shed: Shed | None
    reserved: Mapping[str, int] | None
    limits: tuple[int, int] | None
    budget: Budgeted | None
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
    service: str | None
    warn_wait: float | None
    retry_sent: RetrySent
    name: str | None
    instruments: Iterable[object]


class PoolOptions(OwnOptions, total=False):
    """A pool's own, as `PoolConfig` has them."""

    timeout: float | None


class SharingOptions(TypedDict, total=False):
    """Those that a pool has whose connections are shared, as `MultiplexedConfig` has them."""

    shared_connections: int
    max_in_flight: int
    shareable_commands: Iterable[str]
    slow_after: float | None


class _Anywhere(TypedDict, total=False):
    """Those of redis-py's connections that its clients for clusters hand on, too."""

    db: int | str
    username: str | None
    password: str | None
    credential_provider: CredentialProvider | None
    client_name: str | None
    socket_timeout: float | None
    socket_connect_timeout: float | None
    socket_keepalive: bool | None
    socket_keepalive_options: Mapping[int, int | bytes] | object
    socket_read_size: int
    protocol: int | None
    legacy_responses: bool
    encoding: str
    encoding_errors: str
    decode_responses: bool
    lib_name: str | object | None
    lib_version: str | object | None
    driver_info: DriverInfo | object | None
    event_dispatcher: EventDispatcherInterface | None
    ssl_keyfile: str | None
    ssl_certfile: str | None
    ssl_cert_reqs: str | ssl.VerifyMode
    ssl_include_verify_flags: list[ssl.VerifyFlags] | None
    ssl_exclude_verify_flags: list[ssl.VerifyFlags] | None
    ssl_ca_certs: str | None
    ssl_ca_data: str | None
    ssl_check_hostname: bool


class _WhereFound(_Anywhere, total=False):
    """Those of redis-py's connections in both shells that don't say where the server is, with those for TLS."""

    socket_type: int
    health_check_interval: float
    retry_on_timeout: bool
    retry_on_error: Iterable[type[Exception]] | object
    encoder_class: Any
    parser_class: Any
    himport_registry: HImportRegistry | None
    ssl_password: str | None
    ssl_ca_path: str | None
    ssl_min_version: ssl.TLSVersion | None
    ssl_ciphers: str | None


class _Place(TypedDict, total=False):
    """Where the server is."""

    host: str
    port: int | str
    path: str


class _OfThreads(TypedDict, total=False):
    """Those of redis-py's connections for threads alone, and of its cache."""

    retry: Retry | None
    redis_connect_func: Callable[..., object] | None
    command_packer: Any
    cache: CacheInterface | None
    cache_config: CacheConfig | None
    ssl_validate_ocsp: bool
    ssl_validate_ocsp_stapled: bool
    ssl_ocsp_context: Any
    ssl_ocsp_expected_cert: str | None


class _Thread(_WhereFound, _Place, _OfThreads, total=False):
    """Those of redis-py's connections for threads."""


class _OfLoops(TypedDict, total=False):
    """Those of redis-py's connections for event loops alone."""

    retry: AsyncRetry | None
    redis_connect_func: Callable[..., Awaitable[object] | object] | None


class _Loop(_WhereFound, _Place, _OfLoops, total=False):
    """Those of redis-py's connections for event loops."""


class _Ignored(TypedDict, total=False):
    """What redis-py's blocking pools have asked for."""

    queue_class: object


class ThreadOptions(PoolOptions, _Thread, _Ignored, total=False):
    """All of a pool for threads."""


class LoopOptions(PoolOptions, _Loop, _Ignored, total=False):
    """All of a pool for event loops."""


class BlockingThreadOptions(OwnOptions, _Thread, total=False):
    """All of a `BlockingConnectionPool` for threads that have no place among its arguments."""

    cache_factory: Any
    maint_notifications_config: MaintNotificationsConfig | None


class BlockingLoopOptions(OwnOptions, _Loop, total=False):
    """All of a `BlockingConnectionPool` for event loops that have no place among its arguments."""

    maint_notifications_config: MaintNotificationsConfig | None


class _Named(TypedDict, total=False):
    """What has a place among the arguments of a pool, where it has none."""

    max_connections: MaxConnections
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


class _Service(PoolOptions, SharingOptions, _WhereFound, _Named, total=False):
    """What `Sentinel`, its `master_for` and its `slave_for` hand on to a pool that asks where the server is."""

    check_connection: bool
    ssl: bool


class SentinelOptions(_Service, _OfThreads, total=False):
    """All of `Sentinel` for threads that have no place among its arguments."""


class LoopSentinelOptions(_Service, _OfLoops, total=False):
    """All of `Sentinel` for event loops that have no place among its arguments."""


class _Cluster(PoolOptions, SharingOptions, _Anywhere, _Named, total=False):
    """What clients for clusters have in both shells."""

    cluster_error_retry_attempts: int
    require_full_coverage: bool
    reinitialize_steps: int
    read_from_replicas: bool
    load_balancing_strategy: LoadBalancingStrategy | None
    dynamic_startup_nodes: bool
    address_remap: Callable[[tuple[str, int]], tuple[str, int]] | None
    ssl: bool


class ClusterUrlOptions(_Cluster, _Ignored, total=False):
    """What a URL of a cluster's client for threads may be accompanied by."""

    retry: Retry | None
    retry_on_timeout: bool
    redis_connect_func: Callable[..., object] | None
    connection_class: Any
    cache: CacheInterface | None
    cache_config: CacheConfig | None
    policy_resolver: PolicyResolver
    ssl_ca_path: str | None
    ssl_password: str | None


class ClusterOptions(ClusterUrlOptions, total=False):
    """All of a cluster's client for threads, but for its nodes."""

    url: str | None


class LoopClusterOptions(_Cluster, total=False):
    """All of a cluster's client for event loops, but for its nodes."""

    retry: AsyncRetry | None
    retry_on_error: list[type[Exception]] | None
    health_check_interval: float
    path: str | None
    policy_resolver: AsyncPolicyResolver
    ssl_min_version: ssl.TLSVersion | None
    ssl_ciphers: str | None
