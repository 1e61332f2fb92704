"""What one process says of its pools: collected for threads and for event loops alike, with one wait for all loops."""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from typing import Any, ClassVar, Protocol, TypeVar

import redis

from ..core.callsite import users_line
from ..core.config import without_credentials
from ..core.record import Record
from ..core.stats import Seen, counted
from ..redispy.naming import program_name
from ..version import __version__
from .encoding import MOST_POOLS, decode, encode
from .model import Borrowed, Calling, PoolReport, ProcessReport, Waiting

__all__ = ["Pool", "decode", "encode", "of_process"]

_SHOWN = 10  # leases, and waiters, of a pool
_LOOK_WITHIN = 0.5  # seconds that a loop has to answer
_AGAIN = 3  # looks at a loop that is stuck, or busy
_LONGEST_SERVICE = 100  # characters
_STARTED = time.time()

_T = TypeVar("_T")

_Look = tuple[asyncio.AbstractEventLoop | None, Callable[[], Seen]]


class Pool(Protocol):
    """A pool for threads or for event loops."""

    asynchronous: ClassVar[bool]
    config: Any
    """a `PoolConfig`"""

    @property
    def connection_kwargs(self) -> Mapping[str, Any]:
        """What its connections are made with."""

    def record(self) -> Record:
        """Return what it was asked for in the last minute."""

    def looks(self) -> Any:
        """Return (loop, what looks at the pool's part there) of each loop."""


def of_process(pools: Iterable[Pool], *, service: str, period: float = 1.0) -> ProcessReport:
    """Return what these pools of this process say now; `period` is how often that is asked, in seconds.

    It may be called in any thread. A loop that doesn't turn is waited for half a second at most, once for all pools;
    then its pools are looked at from outside.
    """
    seen = _look([(pool, look) for pool in pools for look in pool.looks()], min(_LOOK_WITHIN, period))
    names: dict[str, int] = {}
    reports = [_of_pool(pool, at, names) for pool, at in seen]
    return ProcessReport(
        service=service,
        host=host(),
        pid=os.getpid(),
        started=_STARTED,
        at=time.time(),
        period=period,
        redpool=__version__,
        redis_py=redis.__version__,
        python=platform.python_version(),
        pools=tuple(reports[:MOST_POOLS]),
        more_pools=max(0, len(reports) - MOST_POOLS),
    )


def records_of(pools: Iterable[Pool]) -> list[Record]:
    """Return what these pools of this process were asked for in the last minute; it may be called in any thread."""
    found = [_look_outside(pool.record) for pool in pools]
    return [record for record in found if record is not None]


def _look(parts: list[tuple[Pool, _Look]], within: float) -> list[tuple[Pool, Seen]]:
    by_loop: dict[asyncio.AbstractEventLoop, list[Callable[[], Seen]]] = {}
    for _pool, (loop, look) in parts:
        if loop is not None:
            by_loop.setdefault(loop, []).append(look)
    asked = [asked for loop, looks in by_loop.items() if (asked := _ask(loop, looks)) is not None]
    wait(asked, within)
    answers: dict[Callable[[], Seen], Seen] = {}
    for each in asked:
        answers |= _answer(each, within)
    found = [(pool, answers.get(look) or _look_outside(look)) for pool, (_loop, look) in parts]
    return [(pool, seen) for pool, seen in found if seen is not None]


def _ask(
    loop: asyncio.AbstractEventLoop, looks: list[Callable[[], Seen]]
) -> Future[dict[Callable[[], Seen], Seen]] | None:
    """Have a loop that turns in another thread look at all of its pools; the others are looked at from here."""
    if not loop.is_running() or loop is _here():
        return None
    answer: Future[dict[Callable[[], Seen], Seen]] = Future()

    def look() -> None:
        if not answer.set_running_or_notify_cancel():
            return  # none waits any more
        try:
            answer.set_result({look: look() for look in looks})
        except Exception as error:
            answer.set_exception(error)

    try:
        loop.call_soon_threadsafe(look)
    except RuntimeError:  # it was closed meanwhile
        return None
    return answer


def _answer(asked: Future[dict[Callable[[], Seen], Seen]], within: float) -> dict[Callable[[], Seen], Seen]:
    """Return what a loop has seen, nothing where it is stuck: it won't look any more once it turns again."""
    if asked.cancel():
        return {}
    try:
        return asked.result(within)
    except Exception:  # what it looked at has changed meanwhile; it is looked at from here
        return {}


def _here() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _look_outside(look: Callable[[], _T]) -> _T | None:
    for _ in range(_AGAIN):
        try:
            return look()
        except RuntimeError:  # what it looked at has changed meanwhile
            continue
    return None


def _of_pool(pool: Pool, seen: Seen, names: dict[str, int]) -> PoolReport:
    stats, distributions, dump = seen
    name = stats.name
    names[name] = number = names.get(name, 0) + 1
    leases = sorted(dump.leases, key=lambda lease: -lease.age)[:_SHOWN]
    waiters = sorted(dump.waiters, key=lambda waiter: -waiter.age)[:_SHOWN]
    return PoolReport(
        name=name if number == 1 else f"{name}#{number}",
        kind="multiplexed" if hasattr(stats, "in_flight") else "dedicated",
        shell="asyncio" if pool.asynchronous else "threads",
        address=address(pool),
        max_connections=stats.max_connections,
        open=stats.open,
        idle=stats.idle,
        in_use=stats.in_use,
        connecting=stats.connecting,
        waiting=stats.waiting,
        oldest_wait=stats.oldest_wait,
        in_flight=getattr(stats, "in_flight", 0),
        counters=counted(stats),
        closed={reason: count for reason, count in stats.closed.items() if count},
        wait=distributions.wait,
        use=distributions.use,
        connect=distributions.connect,
        borrowed=tuple(
            Borrowed(lease.age, lease.borrower, users_line(lease.taken_at), lease.last_command) for lease in leases
        ),
        waiters=tuple(Waiting(waiter.age, waiter.borrower) for waiter in waiters),
        calls=tuple(
            Calling(call.age, call.command, call.sent, call.borrower, users_line(call.waits_at))
            for call in dump.calls[:_SHOWN]  # the oldest first
        ),
        bounded=pool.config.bounded,
        sizes_itself=pool.config.sizes_itself,
    )


def host() -> str:
    """Return what this machine, or container, is called."""
    return socket.gethostname()


def service_of(pools: Iterable[Pool]) -> str:
    """Return the `service` of the first of these pools, where there is none the program's name."""
    first = next(iter(pools), None)
    name = program_name() if first is None else first.config.service
    return "".join(each for each in name if each.isprintable())[:_LONGEST_SERVICE] or "_"


def checked_service(service: Any) -> str:
    """Return the name of a service. Raises `ValueError` for one that can't be shown."""
    if not isinstance(service, str) or not 0 < len(service) <= _LONGEST_SERVICE or not service.isprintable():
        raise ValueError(f"service={service!r}: must be 1 to {_LONGEST_SERVICE} printable characters")
    return without_credentials(service) or "_"


def address(pool: Pool) -> str:
    """Return the `host:port` that a pool connects to, the path of its Unix socket, or what Sentinel knows it by."""
    options = pool.connection_kwargs
    if "connection_pool" in options:  # Sentinel says where
        master = getattr(pool, "master_address", None)
        return f"{master[0]}:{master[1]}" if master else str(getattr(pool, "service_name", ""))
    if "path" in options:
        return str(options["path"])
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
