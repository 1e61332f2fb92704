"""The pool for threads whose requests go over a few connections, by pipelining."""

from __future__ import annotations

import sys
import weakref
from dataclasses import fields
from typing import Any, ClassVar

from ..core.callsite import take_site
from ..core.config import MultiplexedConfig, PoolConfig
from ..core.histogram import Summary
from ..core.pool import PoolCore
from ..core.stats import MultiplexedPoolStats
from ..errors import PoolClosed, PoolTimeout
from ..redispy import sharing
from ..redispy.internals import ONE_CALL
from ..redispy.retry import RetryGuard, guarded_copy
from ..wire.commands import undone_where_refused
from ..wire.pipeline import Request
from .connections import MultiplexedConnections
from .pool import ConnectionPool
from .virtual import VirtualConnection

# What the dump names as the borrower of a multiplexed connection.
_ALL = "all who share it"

_calling_frame = sys._getframe
_one_call = ONE_CALL.get


class MultiplexedConnectionPool(ConnectionPool):
    """A pool whose connections are shared: many threads' commands go over one of them, each without waiting.

    It takes the place of any pool for threads, under redis-py's own clients and under `redpool.Redis`::

        pool = redpool.MultiplexedConnectionPool(host="localhost", port=6379, db=0)
        r = redis.Redis(connection_pool=pool)

    What can't share (a command that blocks, WATCH, a subscription, an unknown command), and a caller that takes a
    connection by itself, gets one of its own from the same pool.

    Options: those of `ConnectionPool`, and

    - `shared_connections` (1): connections that callers share; the one with the least to do is taken. Of
      `max_connections` they are a part.
    - `max_in_flight` (4096): commands awaiting a reply on one of them; more callers wait for their turn, `timeout`
      seconds at most.
    - `shareable_commands` (`()`): names of further commands that may share, of modules for instance.
      Take only such as never block and leave the connection as it is: `("JSON.GET", "FT.SEARCH")`.

    Raises `ValueError` or `TypeError` where an option makes no sense.
    """

    _config_class: ClassVar[type[PoolConfig]] = MultiplexedConfig
    _multiplexed_class: ClassVar[type[MultiplexedConnections]] = MultiplexedConnections
    _virtual_class: ClassVar[type[VirtualConnection]] = VirtualConnection
    config: MultiplexedConfig
    retry_guard: RetryGuard
    sharing = False
    """whether callers share, as `may_share` has found it last: at the first call, and by maintenance"""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        template = self.make_connection()
        self.retry_guard = RetryGuard(guarded_copy(getattr(template, "retry", None)))
        self._virtual = self._virtual_class.of(template, self.retry_guard)
        self.decodes = self.get_encoder().decode_responses
        self.sharing_names = sharing.sharing_names(self.config.shareable_commands)
        self._template = template

    @classmethod
    def option_names(cls) -> frozenset[str]:
        """The names of the pool's own options."""
        return cls._config_class.names()

    def make_multiplexed(self) -> MultiplexedConnections:
        """Return what a new engine shares."""
        me = weakref.ref(self)

        def connect(beside: bool) -> Any:
            pool = me()
            if pool is None:
                raise PoolClosed("the pool is gone")
            return pool._take_shared(beside)

        def release(connection: Any) -> None:
            pool = me()
            if pool is not None:
                ConnectionPool.release(pool, connection)
            else:
                connection._redpool.engine.reclaim(connection)

        def core() -> PoolCore | None:
            pool = me()
            return None if pool is None else pool._engine.core

        def may_share() -> bool:
            pool = me()
            return pool is not None and pool.may_share()

        def wake() -> None:
            pool = me()
            if pool is not None:
                pool._engine.wake_maintenance()

        def stand_in() -> None:
            pool = me()
            if pool is not None:
                pool._engine.stand_in()

        def reentered() -> bool:
            pool = me()
            return pool is not None and pool._engine.reentered()

        return self._multiplexed_class(self.config, connect, release, core, may_share, wake, stand_in, reentered)

    def may_share(self) -> bool:
        """Find out anew whether callers share connections: not where others have a say in what is sent and read."""
        self._factory.look_again()
        self.sharing = self.cache is None and self._class_shares() and sharing.shareable(self._template)
        return self.sharing

    def _class_shares(self) -> bool:
        return bool(getattr(self._factory.tracking_class, "usual", False))

    def _take_shared(self, beside: bool) -> Any:
        core = self._engine.core
        if beside and not core.idle and core.open >= core.max_connections - 1:
            raise PoolTimeout(f"{self.config.name}: no slot is left for a further multiplexed connection")
        connection = ConnectionPool.get_connection(self)
        connection._redpool.slot.borrower = _ALL
        return connection

    # -- checkout and release ----------------------------------------------------------------------------------------

    def get_connection(self, command_name: Any = None, *keys: Any, **unused: Any) -> Any:
        """Return what a client needs for one call: a virtual connection. All others get one of their own.

        Raises `PoolClosed`, and what `ConnectionPool.get_connection` raises.
        """
        frame = _calling_frame(1)
        if _one_call(frame.f_code.co_qualname) is not frame.f_globals or not (self.sharing or self.may_share()):
            return self.take_own()
        multiplexed = self._engine.multiplexed
        if multiplexed.closed:
            raise PoolClosed(f"{self.config.name}: the pool was shut down")
        return self._virtual(self, multiplexed)

    def take_own(self) -> Any:
        """Check out a connection for what can't share."""
        engine = self._engine_here()
        core = engine.core
        if not core.idle and core.open >= core.max_connections:
            engine.multiplexed.make_room()
        connection = ConnectionPool.get_connection(self)
        slot = connection._redpool.slot
        if slot is not None:  # not one that was made beside the pool
            slot.taken = take_site(_calling_frame(1))
        return connection

    def release(self, connection: Any) -> None:
        """Release a connection. Releasing one twice, or one that isn't this pool's, does nothing but warn."""
        if not isinstance(connection, VirtualConnection):
            ConnectionPool.release(self, connection)
            return
        if connection.simple and connection.request is None:
            return
        connection.leave()
        own, connection.bound = connection.bound, None
        if own is not None:
            ConnectionPool.release(self, own)

    def starts_over(self, request: Request | None) -> bool:
        """Return whether a request goes over a new connection, as a replica has refused to write: all are replaced.

        A single command does, of which nothing was done, if the connections are replaced by it, or were by another one
        while it was under way. What is in a pipeline or a transaction, `None`, doesn't.
        """
        replaced = self._engine.refused_write(None, False)
        if request is None or type(request.commands) is not tuple:
            return False
        return (replaced or request.outdated) and undone_where_refused(request.commands)

    def owns_connection(self, connection: Any) -> bool:
        """Return whether the connection is this pool's."""
        if isinstance(connection, VirtualConnection):
            return connection.pool is self
        return super().owns_connection(connection)

    # -- the whole pool ----------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Replace every connection: idle and shared ones now, used ones as they come back."""
        super().drain()
        self._engine.multiplexed.retire_all()

    def reset(self) -> None:
        """Begin anew, with no connection, also after a shutdown: idle ones close now, others once they are done."""
        before = self._engine_here().multiplexed
        super().reset()
        before.shutdown()

    def shutdown(self, timeout: float | None = 5.0, force: bool = False) -> None:
        """End the pool (`PoolClosed` from now on); what is in flight is still answered, for `timeout` seconds at most.

        Subscribers and monitors are ended at once. With `force` all connections are cut: their users see a
        `redis.ConnectionError`.
        """
        self._engine_here().multiplexed.shutdown()
        super().shutdown(timeout, force)

    def set_retry(self, retry: Any) -> None:
        """Use another retry policy, for the connections there are and those to come."""
        super().set_retry(retry)
        template = self.make_connection()
        self.retry_guard = RetryGuard(guarded_copy(getattr(template, "retry", None)))
        self._virtual = self._virtual_class.of(template, self.retry_guard)

    def stats(self) -> MultiplexedPoolStats:
        """The pool at this moment, and its counters since it was created (or reset)."""
        multiplexed: MultiplexedConnections = self._engine.multiplexed
        own = super().stats()
        values: dict[str, Any] = {field.name: getattr(own, field.name) for field in fields(own)}
        counts = multiplexed.counts()
        values["waiting"] += counts.pop("waiting")
        values["oldest_wait"] = max(own.oldest_wait, multiplexed.oldest_wait())
        writes, commands = sum(multiplexed.batches), sum(n * count for n, count in enumerate(multiplexed.batches))
        batch = Summary.of_counts(multiplexed.batches)
        return MultiplexedPoolStats(**values | counts, commands=commands, writes=writes, batch=batch)
