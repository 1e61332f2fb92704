"""The pool for event loops: what users hold. Each loop that it is used on has an `Engine` of its own beneath."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable
from functools import partial
from random import Random
from typing import Any, Self, Unpack, overload

from redis.asyncio.client import Redis
from redis.asyncio.connection import Connection, UnixDomainSocketConnection
from redis.exceptions import RedisError, ResponseError

from ..core.callsite import take_site
from ..core.config import MOST_CONNECTIONS, MaxConnections, refuse_to_resize, whole_number
from ..core.histogram import Distributions
from ..core.instrument import Hooks
from ..core.pool import PoolCore
from ..core.record import Record
from ..core.stats import PoolDump, PoolStats, Seen
from ..core.waiters import Ticket
from ..deadline import current, deadline
from ..errors import no_connection_in_time
from ..forks import begin_in_child, same_process
from ..redispy import internals, lifecycle
from ..redispy.internals import MaintNotificationsConfig, closes_client
from ..redispy.keywords import LoopOptions, LoopUrlOptions
from ..redispy.reference import Reference
from ..redispy.surface import AsyncSurface
from ..redispy.transports import close_now, quiet
from ..registry import note
from .engine import Engine

logger = logging.getLogger("redpool")

_monotonic = time.monotonic
_running_loop = asyncio.get_running_loop
_current_task = asyncio.current_task
_intact = lifecycle.intact_async
_quiet = quiet
_same_process = same_process

_calling_frame = sys._getframe
# Its caller gives the connection back whatever happens, so where it was taken need not be noted.
_ONE_COMMAND = internals.ONE_COMMAND_ASYNC
# The modules whose frames say nothing of where a connection was taken.
_THEIRS, _OURS = internals.CLIENT_MODULE_ASYNC, globals()


class ConnectionPool(AsyncSurface):
    """A pool of connections to Redis or Valkey, for event loops: fair, bounded, observable.

    It takes the place of `redis.asyncio.ConnectionPool` and of `redis.asyncio.BlockingConnectionPool`:

        pool = redpool.asyncio.ConnectionPool(host="localhost", port=6379, db=0)
        r = redis.asyncio.Redis(connection_pool=pool)

    The options are those of `redpool.ConnectionPool`. One pool serves several event loops, one after the other or side
    by side in threads. Each loop has its own connections, up to `max_connections` of them; the pool drops those of a
    closed loop.
    """

    @overload
    def __init__(
        self,
        connection_class: type[Connection | UnixDomainSocketConnection] = ...,
        max_connections: MaxConnections = ...,
        maint_notifications_config: MaintNotificationsConfig | None = ...,
        **kwargs: Unpack[LoopOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        connection_class: Callable[..., Any],
        max_connections: MaxConnections = ...,
        maint_notifications_config: MaintNotificationsConfig | None = ...,
        **kwargs: Any,
    ) -> None: ...
    def __init__(
        self,
        connection_class: Any = Connection,
        max_connections: MaxConnections = None,
        maint_notifications_config: MaintNotificationsConfig | None = None,
        **kwargs: Any,
    ) -> None:
        if not _same_process[0]:
            begin_in_child()
        kwargs["max_connections"] = max_connections
        self._prepare(connection_class, maint_notifications_config, kwargs)
        self._hooks = Hooks(self.config.instruments, _log_hook_fault)
        self._hooks_changed()
        self._closed = False  # shut down
        self._max_connections = self.config.max_connections
        self._by_loop: dict[asyncio.AbstractEventLoop, Engine] = {}
        self._entering = threading.Lock()
        self._here: Engine | None = None  # of the loop that used the pool last
        note(self, self._server)

    @overload  # type: ignore[override]  # it refuses what would fail
    @classmethod
    def from_url(cls, url: str, **kwargs: Unpack[LoopUrlOptions]) -> Self: ...
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

    async def get_connection(self, command_name: Any = None, *keys: Any, **unused: Any) -> Any:
        """Check out a connection, waiting for one for `timeout` seconds at most; the arguments are ignored.

        Raises `PoolTimeout`, `PoolFull`, `PoolOverloaded`, `PoolClosed` or `DeadlineExceeded`, or the connect's error
        where the server can't be reached.
        """
        if not _same_process[0]:
            begin_in_child()
        here = self._here
        if here is None or here.loop is not _running_loop():
            here = self._enter()
        while True:
            limit = current()
            if limit is not None and limit.reached():
                raise no_connection_in_time(self.config.name, limit.seconds)
            try:
                got = here.core.acquire(_monotonic())
            except BaseException:
                here.repair()
                raise
            slot = await here.wait(got) if type(got) is Ticket else got
            slot.borrower = _current_task(here.loop)
            connection, slot.connection = slot.connection, None
            try:
                if here.core.wake_at < here.armed:
                    here.carry_out()
                # What the loop has read is looked at in any case, as that costs no system call. The loop may not have
                # turned for long, so that its memory is the past: the socket knows better.
                # One that was just opened for this caller is taken as it is.
                needs_validation = slot.needs_validation
                unsure = (needs_validation is not None or slot is got) and (
                    needs_validation == "ping"
                    or not _quiet(connection)
                    or (needs_validation is not None and connection.readable(0))
                )
                if unsure and not await here.settle(slot, connection):
                    continue
                frame = _calling_frame(1)
                if frame.f_code is not _ONE_COMMAND:
                    plumbing = frame.f_globals is _THEIRS or frame.f_globals is _OURS
                    slot.taken = take_site(frame) if plumbing else (frame.f_code, frame.f_lasti)
                if self._watched:
                    here.watch(slot, got, frame)
            except BaseException:
                here.abandon(slot)
                raise
            return connection

    async def release(self, connection: Any) -> None:
        """Release a connection: it goes to the longest-waiting caller, or is closed where it isn't clean.

        This awaits nothing, so that no cancellation can come in between. Releasing a connection twice, or one of
        another pool, has no effect but a warning. A connection that the garbage collector has found meanwhile is
        closed.
        """
        try:
            if self._dispatcher is not None:
                await self._announce(connection)
        finally:
            self._release_now(connection)

    def _release_now(self, connection: Any) -> None:
        if not _same_process[0]:
            begin_in_child()
        reference: Any = getattr(connection, "_redpool", None)
        if (reference is None or reference.engine is not self._here) and not self._reachable(reference, connection):
            return
        here, slot = reference.engine, reference.slot
        if slot.connection is not None or slot.reference is not reference or reference() is None:
            self._not_on_lease(reference, connection)
            return
        now = _monotonic()
        used = now - slot.since
        try:
            if _intact(connection):
                slot.connection = connection
                here.core.release(slot, now)
                if here.core.outbox:
                    here.carry_out()
            else:
                here.release_unsound(slot, slot.lease, connection)
        except BaseException:
            here.repair()
            raise
        if self._hooks.released:
            self._hooks.fire("released", self.config.name, used)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Check out a connection for a block, and release it: `async with pool.connection() as conn:`.

        A connection that the block leaves with a reply unread is closed.
        """
        connection = await self.get_connection()
        try:
            yield connection
        finally:
            await self.release(connection)

    def owns_connection(self, connection: Any) -> bool:
        """Return whether this pool opened the connection, on a loop that it still serves."""
        if not _same_process[0]:
            begin_in_child()
        reference: Any = getattr(connection, "_redpool", None)
        return reference is not None and reference.engine in self._by_loop.values()

    def _not_on_lease(self, reference: Reference, connection: Any) -> None:
        """Deal with a release of what is not on lease, or not any more."""
        if reference() is not None:
            warnings.warn(f"{connection!r} was released twice to {self!r}", RuntimeWarning, stacklevel=4)
            return
        # The collector clears the weak references to all that it has found before it runs the first finalizer: so this
        # connection is garbage, and its transport is finalized in the same pass. Its slot is freed as that of any
        # connection that was dropped.
        close_now(connection)

    def _reachable(self, reference: Reference | None, connection: Any) -> bool:
        """Return whether a release may go on here and now; if not, it was dealt with."""
        here = None if reference is None else reference.engine
        if here is None or here.owner() is not self:
            warnings.warn(f"{connection!r} is not of {self!r}; it was not released", RuntimeWarning, stacklevel=4)
        elif here.inherited:
            return False
        elif here.loop.is_closed():
            here.discard()
        elif here.loop is _running_loop():
            return True
        else:
            here.loop.call_soon_threadsafe(here.loop.create_task, self.release(connection))
        return False

    # -- one pool, several loops -------------------------------------------------------------------------------------

    def _enter(self) -> Engine:
        """Return the part of this pool that lives on the running loop."""
        if not _same_process[0]:
            begin_in_child()
        loop = _running_loop()
        with self._entering:
            self._forget_closed_loops()
            here = self._by_loop.get(loop)
            if here is None:
                about = self.config, self._hooks, self._factory, self._max_connections
                here = self._by_loop[loop] = Engine(self, *about, loop)
                here.multiplexed = self.make_multiplexed(here)
                if self._closed:
                    here.core.shutdown(_monotonic())
                    if here.multiplexed is not None:
                        here.multiplexed.shutdown()
            self._here = here
        return here

    def _forget_closed_loops(self) -> None:
        for closed in [each for each in list(self._by_loop) if each.is_closed()]:
            here = self._by_loop.pop(closed, None)
            if here is not None:  # else the pool was reset just now
                here.discard()

    def _view(self) -> Engine | None:
        """Return the part on the running loop, else the one used last."""
        if not _same_process[0]:
            begin_in_child()
        try:
            return self._by_loop.get(_running_loop(), self._here)
        except RuntimeError:
            return self._here

    # -- the whole pool ----------------------------------------------------------------------------------------------

    async def warm_up(self, n: int | None = None, timeout: float | None = 30.0) -> None:
        """Connect until `n` connections (default `min_idle`) are open on the running loop, within `timeout` seconds.

        A pool that sizes itself allows so many, up to its upper limit, and shrinks again where they aren't needed.

        Raises the error of a failed connect, `PoolTimeout` where time runs out, and `ValueError` where `n` is more than
        `max_connections` or the upper limit.
        """
        await self._enter().warm_up(self.config.min_idle if n is None else n, timeout)

    def resize(self, max_connections: int) -> None:
        """Allow `max_connections` from now on; surplus connections close, those in use when they are released.

        Raises `ValueError` where `max_connections` is below 1 or below `min_idle`.
        """
        whole_number("max_connections", max_connections, at_least=max(1, self.config.min_idle))
        refuse_to_resize(self.config, max_connections)
        self._max_connections = min(max_connections, MOST_CONNECTIONS)
        self._each(lambda here: here.core.resize(max_connections, _monotonic()))

    @property
    def max_connections(self) -> int:  # type: ignore[override]  # an attribute in redis-py
        """The most connections open at once, on each loop; of a pool that sizes itself, what it allows on this one."""
        here = self._view() if self.config.limits or self.config.budget else None
        return self._max_connections if here is None else here.core.max_connections

    def drain(self) -> None:
        """Replace every connection: idle ones now, those in use when they are released."""
        self._each(lambda here: here.core.drain(_monotonic()))

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections, and with `inuse_connections` cut those in use. The next checkout connects again.

        Callers whose connections are cut get a `redis.ConnectionError`. Without `inuse_connections` those in use close
        when they are released.
        """
        if closes_client(_calling_frame(1)):
            await self.aclose()
            return
        self._each(Engine.disconnect)
        if inuse_connections:
            self._each(Engine.cut_leases)
        await asyncio.sleep(0)

    async def re_auth_callback(self, token: Any) -> None:
        """Replace every connection by one with the new credentials; redis-py calls it when these change."""
        self.drain()

    def reset(self) -> None:
        """Begin anew without connections, also after a shutdown: idle ones close now, others when they are released."""
        self._each(lambda here: here.core.shutdown(_monotonic()))
        self._by_loop.clear()
        self._here = None
        self._closed = False

    async def aclose(self) -> None:
        """Close idle connections now, and those in use when they are released. The next checkout connects again.

        This waits for nothing. Subscribers and monitors end at once: they get a `redis.ConnectionError`.
        """
        await self._on_close()
        self._each(Engine.close)
        self._each(Engine.end_listeners)
        await asyncio.sleep(0)  # transports close in the loop's next turn; the caller may be about to end the loop

    close = aclose

    async def shutdown(self, timeout: float | None = 5.0, force: bool = False) -> None:
        """End the pool: from now on a checkout raises `PoolClosed`. Waiters get it, too; idle connections close.

        Connections in use close when they are released; this waits for them, for `timeout` seconds at most (`None`:
        without end). It closes those that the calling task itself has; subscribers and monitors end at once. With
        `force` it cuts all, and their users get a `redis.ConnectionError`.
        """
        await self._on_close()
        self._closed = True
        self._each(lambda here: here.core.shutdown(_monotonic()))
        self._each(Engine.end_listeners)
        if force:
            self._each(Engine.cut_leases)
        here = self._by_loop.get(_running_loop())
        if here is not None:
            await here.emptied(timeout)
            here.cut_leases(others=False)
            await asyncio.sleep(0)

    def _each(self, act: Any) -> None:
        """Do something to the part on every loop, on its own loop."""
        if not _same_process[0]:
            begin_in_child()
        for here in list(self._by_loop.values()):
            here.on_its_loop(act)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.shutdown()

    # -- what can be seen --------------------------------------------------------------------------------------------

    def stats(self) -> PoolStats:
        """Return the state and the counters of the pool on the running loop; outside of one, on the loop used last."""
        here = self._view()
        return self._stats_of(None) if here is None else here.look(self._stats_of)

    def distributions(self) -> Distributions:
        """Return how long callers waited and used connections, and how long connects took, as counts that add up."""
        here = self._view()
        if here is not None:
            return here.look(lambda here: here.core.distributions())
        return self._core().distributions()

    def record(self) -> Record:
        """Return what the pool was asked for in the last minute, to replay it: see `redpool tune`."""
        here = self._view()
        if here is not None:
            return here.look(lambda here: here.core.record(_monotonic()))
        return self._core().record(_monotonic())

    def dump(self) -> PoolDump:
        """Return who has which connection and who waits, each with its age, task and call site."""
        here = self._view()
        return self._dump_of(None) if here is None else here.look(self._dump_of)

    def looks(self) -> list[tuple[asyncio.AbstractEventLoop | None, Callable[[], Seen]]]:
        """Return for each loop that has used the pool what looks at its part; without a loop where none has.

        It is to be called on that loop. Where the loop is stuck another thread may call it: what it sees may change
        meanwhile, and then it may raise `RuntimeError`.
        """
        if not _same_process[0]:
            begin_in_child()
        parts = [here for here in list(self._by_loop.values()) if not here.loop.is_closed()]
        return [(here.loop, partial(self._look_at, here)) for here in parts] or [(None, partial(self._look_at, None))]

    def _look_at(self, here: Engine | None) -> Seen:
        core = self._unused() if here is None else here.core
        return Seen(self._stats_of(here), core.distributions(), self._dump_of(here))

    def _stats_of(self, here: Engine | None) -> PoolStats:
        return (self._unused() if here is None else here.core).stats(_monotonic())

    def _dump_of(self, here: Engine | None) -> PoolDump:
        return PoolDump(self.config.name, (), ()) if here is None else here.dump()

    async def healthy(self, timeout: float = 1.0) -> bool:
        """Return whether the server answers a PING within so many seconds; for health checks.

        The PING goes the way of any command. So it is False, too, where the pool was shut down, and where no connection
        comes free in that time. An error of the server's is an answer, unless it says that the server can't serve yet.
        """
        try:
            with deadline(timeout):
                return bool(await Redis(connection_pool=self).ping())
        except ResponseError:  # the user may not be allowed to PING
            return True
        except (RedisError, OSError):
            return False

    def _core(self) -> PoolCore:
        here = self._view()
        return self._unused() if here is None else here.core

    def _unused(self) -> PoolCore:
        unused = PoolCore(self.config, _monotonic(), Random())
        if not self.config.limits:
            unused.resize(self._max_connections, _monotonic())
        return unused

    def __repr__(self) -> str:
        state = "shut down" if self._closed else "open"
        return self._described(state, self._core().counts(_monotonic()))

    def open_now(self) -> tuple[int, int]:
        """Return how many connections are idle and in use, on all loops together."""
        cores = [here.core for here in list(self._by_loop.values()) if not here.loop.is_closed()]
        return sum(core.idle.ready for core in cores), sum(core.in_use for core in cores)

    def make_multiplexed(self, _engine: Engine) -> Any:
        """Return what a new engine shares: nothing."""
        return None

    def _connect_retries_changed(self) -> None:
        for here in list(self._by_loop.values()):
            here.retries_changed()

    @property
    def _available_connections(self) -> list[Any]:  # type: ignore[override]  # an attribute in redis-py
        return self._core().idle_connections()

    @property
    def _in_use_connections(self) -> set[Any]:  # type: ignore[override]  # an attribute in redis-py
        return {slot.current for slot in self._core().leased()} - {None}

    @property
    def _created_connections(self) -> int:
        return self._core().open

    def begin_in_child(self) -> None:
        """After a fork, in the child: start empty. The parent's transports share its selector, so none is touched."""
        _parked_for_exit.extend((here, here.leave_to_parent()) for here in self._by_loop.values())
        self._by_loop = {}
        self._here = None
        self._entering = threading.Lock()


def _log_hook_fault(hook: object, error: BaseException) -> None:
    logger.error("dropped the hook %r, which raised", hook, exc_info=error)


# What a forked child inherited must not even be finalized: closing a transport would take it out of the selector that
# the child shares with its parent.
_parked_for_exit: list[Any] = []
