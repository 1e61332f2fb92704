"""The keywords of `redpool.valkey`'s pools and clients, with their types, for editors and type checkers.

What a pool has of its own is as with redis-py; what its connections take is valkey-py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from ..redispy.keywords import OwnOptions, PoolOptions, SharingOptions

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from typing import Any

    import valkey.asyncio.connection
    import valkey.connection
    from valkey.asyncio.retry import Retry as AsyncRetry
    from valkey.credentials import CredentialProvider
    from valkey.retry import Retry

    from ..core.config import MaxConnections


class ConnectionOptions(TypedDict, total=False):
    """Those of valkey-py's connections in both shells, with those for TLS and for Unix sockets."""

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
    socket_keepalive_options: Mapping[int, int | bytes] | None
    socket_type: int
    socket_read_size: int
    health_check_interval: float
    retry_on_timeout: bool
    retry_on_error: Iterable[type[Exception]] | None
    protocol: int | None
    encoding: str
    encoding_errors: str
    decode_responses: bool
    encoder_class: Any
    parser_class: Any
    lib_name: str | None
    lib_version: str | None
    ssl_keyfile: str | None
    ssl_certfile: str | None
    ssl_cert_reqs: str | ssl.VerifyMode
    ssl_ca_certs: str | None
    ssl_ca_data: str | None
    ssl_check_hostname: bool
    ssl_min_version: ssl.TLSVersion | None
    ssl_ciphers: str | None
    path: str


class BlockingThreadOptions(OwnOptions, ConnectionOptions, total=False):
    """All of a `BlockingConnectionPool` for threads that have no place among its arguments."""

    retry: Retry | None
    valkey_connect_func: Callable[..., object] | None
    command_packer: Any
    ssl_ca_path: str | None
    ssl_password: str | None
    ssl_validate_ocsp: bool
    ssl_validate_ocsp_stapled: bool
    ssl_ocsp_context: Any
    ssl_ocsp_expected_cert: str | None


class BlockingLoopOptions(OwnOptions, ConnectionOptions, total=False):
    """All of a `BlockingConnectionPool` for event loops that have no place among its arguments."""

    retry: AsyncRetry | None
    valkey_connect_func: Callable[..., Awaitable[object] | object] | None


class ThreadOptions(PoolOptions, BlockingThreadOptions, total=False):
    """All of a pool for threads."""


class LoopOptions(PoolOptions, BlockingLoopOptions, total=False):
    """All of a pool for event loops."""


class _Most(TypedDict, total=False):
    """What has a place among the arguments of a pool, where it has none."""

    max_connections: MaxConnections


class SharedThreadOptions(ThreadOptions, SharingOptions, total=False):
    """All of a pool for threads whose connections are shared."""


class SharedLoopOptions(LoopOptions, SharingOptions, total=False):
    """All of a pool for event loops whose connections are shared."""


class ThreadUrlOptions(ThreadOptions, _Most, total=False):
    """What a URL of a pool for threads may be accompanied by."""


class LoopUrlOptions(LoopOptions, _Most, total=False):
    """What a URL of a pool for event loops may be accompanied by."""


class SharedThreadUrlOptions(SharedThreadOptions, _Most, total=False):
    """What a URL of a pool for threads may be accompanied by whose connections are shared."""


class SharedLoopUrlOptions(SharedLoopOptions, _Most, total=False):
    """What a URL of a pool for event loops may be accompanied by whose connections are shared."""


class ClientUrlOptions(SharedThreadUrlOptions, total=False):
    """What a URL of a client for threads may be accompanied by."""

    single_connection_client: bool


class LoopClientUrlOptions(SharedLoopUrlOptions, total=False):
    """What a URL of a client for event loops may be accompanied by."""

    single_connection_client: bool
    auto_close_connection_pool: bool | None


class ClientOptions(ClientUrlOptions, total=False):
    """All of a client for threads."""

    connection_pool: valkey.connection.ConnectionPool | None
    unix_socket_path: str | None
    ssl: bool


class LoopClientOptions(LoopClientUrlOptions, total=False):
    """All of a client for event loops."""

    connection_pool: valkey.asyncio.connection.ConnectionPool | None
    unix_socket_path: str | None
    ssl: bool
