"""The pool for threads: what users hold. An `Engine` beneath drives the core; a reset or a fork begins a new one."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Self, Unpack, overload

from redis.client import Redis
from redis.connection import Connection, UnixDomainSocketConnection
from redis.exceptions import RedisError, ResponseError

from ..core.callsite import take_site
from ..core.config import MaxConnections
from ..core.histogram import Distributions
from ..core.instrument import Hooks
from ..core.record import Record
from ..core.slot import Reason, State
from ..core.stats import PoolDump, PoolStats, Seen
from ..core.waiters import Ticket
from ..deadline import current, deadline
from ..errors import no_connection_in_time
from ..forks import begin_in_child, same_process
from ..redispy import internals, lifecycle
from ..redispy.internals import MaintNotificationsConfig, closes_client, in_finalizer
from ..redispy.keywords import ThreadOptions, ThreadUrlOptions
from ..redispy.reference import Reference
from ..redispy.surface import SyncSurface
from ..registry import note
from .engine import Engine, Overflow

logger = logging.getLogger("redpool")

_monotonic = time.monotonic
_thread = threading.get_ident
_intact = lifecycle.intact
_LEASED = State.LEASED
_same_process = same_process

_calling_frame = sys._getframe
# Its caller gives the connection back whatever happens, so where it was taken need not be noted.
_ONE_COMMAND = internals.ONE_COMMAND
# The modules whose frames say nothing of where a connection was taken.
_THEIRS, _OURS = internals.CLIENT_MODULE, globals()


class ConnectionPool(SyncSurface):
    """A pool of connections to Redis or Valkey, for threads: fair, bounded, observable.

    It takes the place of `redis.ConnectionPool` and of `redis.BlockingConnectionPool`:

        pool = redpool.ConnectionPool(host="localhost", port=6379, db=0)
        r = redis.Redis(connection_pool=pool)

    Options, all times in seconds (any other keyword goes to the connection class):

    - `max_connections` (50): the most connections open at once; with "auto" the pool sizes itself.
    - `limits` (`None`): the least and the most that "auto" allows, `(2, 50)` if not said.
    - `timeout` (5.0): how long a caller waits for a connection; `None` for ever; 0 never waits in the queue.
    - `max_waiting` (`None`): the most callers in the queue; one more gets `PoolFull` at once.
    - `shed` (`None`): with "codel", callers are turned away with `PoolOverloaded` while more come than are served.
    - `reserved` (`None`): connections that are kept for classes of callers (`redpool.priority`): `{"interactive": 4}`.
    - `budget` (`None`): a `redpool.Budget`, of which the pool has a share: a number of connections for many processes.
    - `min_idle` (0): connections kept ready, connected in the background.
    - `max_idle_time` (300.0): idle connections above `min_idle` are closed after this long; `None` never.
    - `max_lifetime` (3600.0): the age at which a connection is replaced; `None` never.
    - `lifetime_jitter` (0.1): the share by which each lifetime is randomly shortened.
    - `max_connecting` (4): connects under way at once.
    - `break_after` (`None`): after this many failed connects in a row callers fail at once, until one succeeds.
    - `validate_after_idle` (0.0): a connection that was idle for this long has its socket probed, without a round trip,
      before a caller gets it; 0: at every checkout.
    - `ping_after_idle` (30.0): a connection that was idle for this long has to answer a PING first, in the background
      where possible; `None` never.
    - `order` ("lifo"): which idle connection a caller gets: "lifo", "fifo" or "random".
    - `leak_after` (`None`): a lease that lasts longer is reported once, with the stack that took the connection.
    - `warn_wait` (`None`): a wait that lasts longer is logged once, with who has the connections.
    - `retry_sent` ("safe"): what the `retry` policy may send again once it may have reached the server: "safe" only
      commands that may run twice without a difference, "all", or "none". For other commands the caller gets
      `ReplyLost`.
    - `name` ("host:port/db"): the pool's name in stats, logs and metrics.
    - `service` (the program's name): what the server's CLIENT LIST calls the program.
    - `instruments` (`()`): objects with any of the methods of `redpool.Instrument`.

    Raises `TypeError` or `ValueError` for a wrong option.
    """

    @overload
    def __init__(
        self,
        connection_class: type[Connection | UnixDomainSocketConnection] = ...,
        max_connections: MaxConnections = ...,
        cache_factory: Any = ...,
        maint_notifications_config: MaintNotificationsConfig | None = ...,
        **kwargs: Unpack[ThreadOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        connection_class: Callable[..., Any],
        max_connections: MaxConnections = ...,
        cache_factory: Any = ...,
        maint_notifications_config: MaintNotificationsConfig | None = ...,
        **kwargs: Any,
    ) -> None: ...
    def __init__(
        self,
        connection_class: Any = Connection,
        max_connections: MaxConnections = None,
        cache_factory: Any = None,
        maint_notifications_config: MaintNotificationsConfig | None = None,
        **kwargs: Any,
    ) -> None:
        if not _same_process[0]:
            begin_in_child()
        kwargs["max_connections"] = max_connections
        self._prepare(connection_class, cache_factory, maint_notifications_config, kwargs)
        self._hooks = Hooks(self.config.instruments, _log_hook_fault)
        self._hooks_changed()
        self._engine = self._new_engine(self.config.max_connections)
        self._engine.arm()
        note(self, self._server)

    @overload  # type: ignore[override]  # it refuses what would fail
    @classmethod
    def from_url(cls, url: str, **kwargs: Unpack[ThreadUrlOptions]) -> Self: ...
    @overload
    @classmethod
    def from_url(cls, url: str, *, connection_class: Callable[..., Any], **kwargs: Any) -> Self: ...
    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Self:
        """Make a pool from a URL; what the URL says wins over keywords.

        It begins with `redis://`, `valkey://`, `unix://`, or with `rediss://` or `valkeys://` for TLS.
        Every option may stand in the URL's query, the pool's own ones too: `redis://host/0?min_idle=2&timeout=0.5`.
        """
        return super().from_url(url, **kwargs)

    # -- checkout and release ----------------------------------------------------------------------------------------

    def get_connection(self, command_name: Any = None, *keys: Any, **unused: Any) -> Any:
        """Check out a connection, waiting for one for `timeout` seconds at most; the arguments are ignored.

        Raises `PoolTimeout`, `PoolFull`, `PoolOverloaded`, `PoolClosed` or `DeadlineExceeded`, or the connect's error
        where the server can't be reached.
        """
        if not _same_process[0]:
            begin_in_child()
        while True:
            engine, got = self._engine, None
            if engine.reentered():
                return engine.overflow_connection()
            limit = current()
            if limit is not None and limit.reached():
                raise no_connection_in_time(self.config.name, limit.seconds)
            try:
                with engine.guard:
                    core = engine.core
                    try:
                        got = core.acquire(_monotonic())
                        if type(got) is Ticket:
                            engine.give_waker(got)
                        else:
                            got.borrower = _thread()
                            connection, got.connection = got.connection, None
                    except BaseException:
                        core.inconsistent = True
                        core.repair(_monotonic())
                        raise
                if engine.inbox or core.wake_at < engine.armed:
                    engine.flush()
                if type(got) is Ticket:
                    slot = engine.wait(got)
                    if slot is None:
                        break
                    connection, slot.connection = slot.connection, None
                    slot.borrower = got.borrower
                else:
                    slot = got
                if slot.needs_validation is not None:
                    readable = connection.readable
                    if slot is not got:
                        readable = getattr(connection, "readable_in_crowd", None) or readable
                    if (slot.needs_validation == "ping" or readable(0)) and not engine.settle(slot, connection):
                        continue
                frame = _calling_frame(1)
                if frame.f_code is not _ONE_COMMAND:
                    plumbing = frame.f_globals is _THEIRS or frame.f_globals is _OURS
                    slot.taken = take_site(frame) if plumbing else (frame.f_code, frame.f_lasti)
                if self._watched:
                    engine.watch(slot, got, frame)
                return connection
            except BaseException:
                # Should this be interrupted, too, the caller that comes next sees to it.
                engine.inbox.append((engine.hand_on, got, got))
                engine.abandon(got)
                raise
        raise engine.error_of(got, limit)

    def release(self, connection: Any) -> None:
        """Release a connection: it goes to the longest-waiting caller, or is closed where it isn't clean.

        Releasing a connection twice, or one of another pool, has no effect but a warning. A connection that a finalizer
        releases as part of the garbage that is being collected is closed.
        """
        if not _same_process[0]:
            begin_in_child()
        try:
            reference: Any = connection._redpool
        except AttributeError:
            reference = None
        if (reference is None or reference.engine is not self._engine) and not self._reachable(reference, connection):
            return
        engine, slot = reference.engine, reference.slot
        lease, since = slot.lease, slot.since
        if slot.connection is not None or slot.reference is not reference or reference() is None:
            self._not_on_lease(reference, connection)
            return
        try:
            if self._dispatcher is not None:
                self._announce(connection)
            if engine.inbox and not engine.reentered():
                engine.flush()
            if engine.reentered():
                fault = None if _intact(connection) else Reason.ERROR
                engine.apply_later(engine.take_back, slot, lease, fault, connection)
                return
            if _intact(connection):
                # Only under the guard is the connection of a lease in its slot again: where it is found there
                # otherwise, its caller was interrupted (`repair`).
                with engine.guard:
                    core, now = engine.core, _monotonic()
                    try:
                        if slot.state is _LEASED and slot.lease == lease:  # not taken back already
                            slot.connection = connection
                            core.release(slot, now)
                    except BaseException:
                        core.inconsistent = True
                        core.repair(now)
                        raise
                    actions = core.take_actions() if core.outbox else None
                if actions:
                    engine.carry_out(actions)
            else:
                now = _monotonic()
                engine.release_unsound(slot, lease, connection)
        except BaseException:
            # Interrupted, perhaps before the core knew: then the next call takes it in, or maintenance. It is
            # closed, since redis-py may release it once more: by then it might be another borrower's.
            engine.core.inconsistent = True
            engine.apply_later(engine.take_back, slot, lease, Reason.ERROR, connection)
            raise
        if self._hooks.released:
            self._hooks.fire("released", self.config.name, now - since)

    @contextlib.contextmanager
    def connection(self) -> Iterator[Any]:
        """Check out a connection for a block, and release it: `with pool.connection() as conn:`.

        A connection that the block leaves with a reply unread is closed.
        """
        connection = self.get_connection()
        try:
            yield connection
        finally:
            self.release(connection)

    def owns_connection(self, connection: Any) -> bool:
        """Return whether this pool, in this process, opened the connection."""
        reference: Any = getattr(connection, "_redpool", None)
        return reference is not None and reference.engine is self._engine_here()

    def _not_on_lease(self, reference: Reference, connection: Any) -> None:
        """Deal with a release of what is not on lease, or not any more."""
        if reference() is not None:
            warnings.warn(f"{connection!r} was released twice to {self!r}", RuntimeWarning, stacklevel=3)
            return
        # The collector clears the weak references to all that it has found before it runs the first finalizer: so this
        # connection is garbage, and its socket is finalized in the same pass. Its slot is freed as that of any
        # connection that was dropped.
        lifecycle.close(connection)

    def _reachable(self, reference: Reference | None, connection: Any) -> bool:
        """Return whether a release may go on; if not, it was dealt with."""
        engine = None if reference is None else reference.engine
        if isinstance(engine, Overflow):
            lifecycle.close(connection)
            return False
        if engine is None or engine.owner() is not self:
            warnings.warn(f"{connection!r} is not of {self!r}; it was not released", RuntimeWarning, stacklevel=3)
            return False
        if engine.inherited:
            lifecycle.forget(connection)
        return not engine.inherited

    # -- the whole pool ----------------------------------------------------------------------------------------------

    def warm_up(self, n: int | None = None, timeout: float | None = 30.0) -> None:
        """Connect until `n` connections (default `min_idle`) are open, within `timeout` seconds.

        A pool that sizes itself allows so many, up to its upper limit, and shrinks again where they aren't needed.

        Raises the error of a failed connect, `PoolTimeout` where time runs out, and `ValueError` where `n` is more than
        `max_connections` or the upper limit.
        """
        self._engine_here().warm_up(self.config.min_idle if n is None else n, timeout)

    def resize(self, max_connections: int) -> None:
        """Allow `max_connections` from now on; surplus connections close, those in use when they are released.

        Raises `ValueError` where `max_connections` is below 1 or below `min_idle`.
        """
        engine = self._engine_here()
        engine.do(engine.core.resize, max_connections)

    @property
    def max_connections(self) -> int:  # type: ignore[override]  # an attribute in redis-py
        """The most connections open at once."""
        return self._engine_here().core.max_connections

    def drain(self) -> None:
        """Replace every connection: idle ones now, those in use when they are released."""
        engine = self._engine_here()
        engine.do(engine.core.drain)

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections, and with `inuse_connections` cut those in use. The next checkout connects again.

        Callers whose connections are cut get a `redis.ConnectionError`. Without `inuse_connections` those in use close
        when they are released.
        """
        if closes_client(_calling_frame(1)):
            self.close()
            return
        engine = self._engine_here()
        engine.disconnect()
        if inuse_connections:
            engine.cut_leases()

    def disconnect_free_connections(self, moving_address_src: str | None = None) -> None:
        """Replace every connection, as `drain` does; redis-py calls it when the server moves."""
        self.drain()

    def re_auth_callback(self, token: Any) -> None:
        """Replace every connection by one with the new credentials; redis-py calls it when these change."""
        self.drain()

    def reset(self) -> None:
        """Begin anew without connections, also after a shutdown: idle ones close now, others when they are released."""
        before = self._engine_here()
        self._engine = self._new_engine(before.core.asked)
        before.do(before.core.shutdown)
        self._engine.arm()

    def close(self) -> None:
        """Close idle connections now, and those in use when they are released. The next checkout connects again.

        This waits for nothing. Subscribers and monitors end at once: they get a `redis.ConnectionError`. redis-py's
        clients call it when they are closed, and when they are collected: then maintenance closes idle connections, and
        subscribers go on.
        """
        if in_finalizer(_calling_frame(1)):
            if same_process[0]:  # a child has nothing open as long as it hasn't asked
                self._engine.close_later()
            return
        engine = self._engine_here()
        engine.close()
        engine.end_listeners()

    def shutdown(self, timeout: float | None = 5.0, force: bool = False) -> None:
        """End the pool: from now on a checkout raises `PoolClosed`. Waiters get it, too; idle connections close.

        Connections in use close when they are released; this waits for them, for `timeout` seconds at most (`None`:
        without end). It closes those that the calling thread itself has; subscribers and monitors end at once. With
        `force` it cuts all, and their users get a `redis.ConnectionError`.
        """
        engine = self._engine_here()
        engine.do(engine.core.shutdown)
        engine.end_listeners()
        if force:
            engine.cut_leases()
        engine.emptied(timeout)
        engine.cut_leases(others=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.shutdown()

    # -- what can be seen --------------------------------------------------------------------------------------------

    def stats(self) -> PoolStats:
        """Return the pool's state at this moment, and its counters since it was created or reset."""
        engine = self._engine_here()
        engine.catch_up()
        with engine.guard:
            return engine.core.stats(_monotonic())

    def distributions(self) -> Distributions:
        """Return how long callers waited and used connections, and how long connects took, as counts that add up."""
        engine = self._engine_here()
        with engine.guard:
            return engine.core.distributions()

    def record(self) -> Record:
        """Return what the pool was asked for in the last minute, to replay it: see `redpool tune`."""
        engine = self._engine_here()
        engine.look_around()
        with engine.guard:
            return engine.core.record(_monotonic())

    def dump(self) -> PoolDump:
        """Return who has which connection and who waits, each with its age, thread and call site."""
        return self._engine_here().dump()

    def looks(self) -> list[tuple[None, Callable[[], Seen]]]:
        """Return what looks at all of the pool; a pool for event loops has a part for each loop."""
        return [(None, lambda: Seen(self.stats(), self.distributions(), self.dump()))]

    def healthy(self, timeout: float = 1.0) -> bool:
        """Return whether the server answers a PING within so many seconds; for health checks.

        The PING goes the way of any command. So it is False, too, where the pool was shut down, and where no connection
        comes free in that time. An error of the server's is an answer, unless it says that the server can't serve yet.
        """
        try:
            with deadline(timeout):
                return bool(Redis(connection_pool=self).ping())
        except ResponseError:  # the user may not be allowed to PING
            return True
        except (RedisError, OSError):
            return False

    def __repr__(self) -> str:
        core = self._engine_here().core
        state = "shut down" if core.closed else "open"
        return self._described(state, core.counts(_monotonic()))

    def _new_engine(self, max_connections: int) -> Engine:
        engine = Engine(self, self.config, self._hooks, self._factory, max_connections)
        engine.multiplexed = self.make_multiplexed()
        return engine

    def open_now(self) -> tuple[int, int]:
        """Return how many connections are idle and in use."""
        engine = self._engine_here()
        with engine.guard:
            return engine.core.idle.ready, engine.core.in_use

    def make_multiplexed(self) -> Any:
        """Return what a new engine shares: nothing."""
        return None

    def _connect_retries_changed(self) -> None:
        self._engine.retries_changed()

    @property
    def _available_connections(self) -> list[Any]:  # type: ignore[override]  # an attribute in redis-py
        engine = self._engine_here()
        with engine.guard:
            return engine.core.idle_connections()

    @property
    def _in_use_connections(self) -> set[Any]:  # type: ignore[override]  # an attribute in redis-py
        engine = self._engine_here()
        return {connection for _, connection in engine.leases()} - {None}

    @property
    def _created_connections(self) -> int:  # type: ignore[override]  # an attribute in redis-py
        return self._engine_here().core.open

    def _engine_here(self) -> Engine:
        """Return the engine of this process."""
        if not _same_process[0]:
            begin_in_child()
        return self._engine

    def begin_in_child(self) -> None:
        """After a fork, in the child: start empty. Other threads are gone, and what they held may be half-changed."""
        parents = self._engine
        parents.inherited = True
        inherited = [slot.current for slot in parents.core.slots if slot.current is not None]
        fresh = Engine(self, self.config, self._hooks, self._factory, parents.core.asked)
        if parents.multiplexed is not None:
            parents.multiplexed.begin_in_child()
            self.sharing = False  # until the first call has found that callers may
            fresh.multiplexed = parents.multiplexed
        self._factory.begin_in_child()
        if parents.core.closed:
            fresh.core.shutdown(_monotonic())
        for connection in inherited:
            lifecycle.forget(connection)
        if inherited:
            fresh.core.counters.closed[Reason.FORK] += len(inherited)
        if self._engine is parents:  # else a signal handler or a finalizer has begun anew meanwhile
            self._engine = fresh


def _log_hook_fault(hook: object, error: BaseException) -> None:
    logger.error("dropped the hook %r, which raised", hook, exc_info=error)
