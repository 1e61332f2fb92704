"""redis-py's client-side caching, for a pool whose connections change hands.

The server sends invalidations to the connection that read a key, so before a cached value is believed, what has come
in over that connection must be read. redis-py reads it there and then; but another thread may be using the connection,
and would lose its reply. So a connection is only read from while it is set aside, and what can't be set aside is a
miss. A key that a caller is about to cache is a miss for everybody else, too.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from redis.cache import CacheEntry, CacheEntryStatus, CacheInterface, CacheKey
from redis.connection import CacheProxyConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.utils import compare_versions, str_if_bytes

from .internals import SENTINEL, CSCResult, record_csc_request
from .sockets import Readable

_OLDEST_VALKEY = "8.0.0"


class CachingConnection(CacheProxyConnection):
    """A connection that serves what is cached, and caches what it reads."""

    def __init__(self, connection: Any, cache: CacheInterface, lock: Any) -> None:
        super().__init__(connection, cache, lock)
        self._hit: CacheEntry | None = None
        self._current_command_cache_key: CacheKey | None = None  # type: ignore[assignment]  # None in redis-py, too

    @property
    def readable(self) -> Readable:
        """Called with 0: whether there is anything to receive over its socket."""
        readable: Readable = self._conn.readable  # type: ignore[attr-defined]  # it is a `Tracked`
        return readable

    def _get_parser(self) -> Any:
        return self._conn._get_parser()  # type: ignore[attr-defined]  # every connection has it

    def connect(self) -> None:
        """Connect to a server of which redis-py says that it is able to, or to a Valkey that is as able."""
        self._conn.connect()
        said = {str_if_bytes(key): value for key, value in self._conn.handshake_metadata.items()}
        server, version = str_if_bytes(said.get("server", "unknown")), str_if_bytes(said.get("version", "0"))
        oldest = {self.DEFAULT_SERVER_NAME: self.MIN_ALLOWED_VERSION, "valkey": _OLDEST_VALKEY}.get(server)
        if oldest is None or compare_versions(version, oldest) == 1:
            where = self._conn._host_error()  # type: ignore[attr-defined]  # every connection has it
            raise RedisConnectionError(
                f"client-side caching needs Redis {self.MIN_ALLOWED_VERSION}, Valkey {_OLDEST_VALKEY}, or a later one; "
                f"{where} is {server} {version}"
            )

    def send_command(self, *args: Any, **kwargs: Any) -> None:
        """Send a command, unless its answer is cached and still true."""
        self._hit = self._current_command_cache_key = None
        self._process_pending_invalidations()
        if self._cache.is_cachable(CacheKey(command=args[0], redis_keys=(), redis_args=())):
            if kwargs.get("keys") is None:
                raise ValueError(f"{args[0]} can't be cached without keys=")
            self._look_up(CacheKey(command=args[0], redis_keys=tuple(kwargs["keys"]), redis_args=args))
        if self._hit is None:
            self._conn.send_command(*args, **kwargs)

    def _look_up(self, key: CacheKey) -> None:
        """Find a hit; or announce that this connection will cache the key, if no other caller has."""
        with self._pool_lock:
            entry = self._cache.get(key)
            if entry is not None and entry.status is CacheEntryStatus.VALID and self._is_true(entry):
                self._hit = entry
            elif self._cache.get(key) is None:
                progress = CacheEntryStatus.IN_PROGRESS
                self._cache.set(CacheEntry(key, self.DUMMY_CACHE_VALUE, progress, self._conn))
                self._current_command_cache_key = key

    def _is_true(self, entry: CacheEntry) -> bool:
        """Return whether no invalidation of the entry has come in."""
        reader = entry.connection_ref
        if reader is not self._conn:
            with _set_aside(reader) as alone:
                if not alone or not _read_invalidations(reader):
                    return False
        return self._cache.get(entry.cache_key) is entry

    def read_response(
        self,
        disable_decoding: bool = False,
        *,
        timeout: Any = SENTINEL,
        disconnect_on_error: bool = True,
        push_request: bool = False,
    ) -> Any:
        """Return the answer, from the cache or from the server."""
        hit, self._hit = self._hit, None
        if hit is not None:
            record_csc_request(result=CSCResult.HIT)
            return copy.deepcopy(hit.cache_value)
        key, self._current_command_cache_key = self._current_command_cache_key, None
        response = None
        try:
            response = self._conn.read_response(
                disable_decoding=disable_decoding,
                timeout=timeout,
                disconnect_on_error=disconnect_on_error,
                push_request=push_request,
            )
        finally:
            if key is not None:
                record_csc_request(result=CSCResult.MISS)
                self._cache_answer(key, response)
        return response

    def _cache_answer(self, key: CacheKey, response: Any) -> None:
        """Keep the answer, unless it was invalidated while it was on its way."""
        with self._pool_lock:
            entry = self._cache.get(key)
            if entry is None or entry.connection_ref is not self._conn:
                return
            if response is None:  # no value, or no answer
                self._cache.delete_by_cache_keys([key])
                return
            entry.cache_value = response
            entry.status = CacheEntryStatus.VALID
            self._cache.set(entry)


def _set_aside(connection: Any) -> AbstractContextManager[bool]:
    """Keep an idle connection from being handed out; yields False where it isn't idle."""
    reference = getattr(connection, "_redpool", None)
    none: AbstractContextManager[bool] = nullcontext(False)
    return none if reference is None else reference.engine.set_aside(reference.slot)


def _read_invalidations(connection: Any) -> bool:
    """Read what has come in. False: the connection is dead, and what it might have said is unknown."""
    try:
        while connection.can_read():
            connection.read_response(push_request=True, timeout=0, disconnect_on_error=False)
    except RedisTimeoutError:
        return True
    except (RedisError, OSError):
        return False
    return True
