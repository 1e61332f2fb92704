"""The pools of this process that are still there, in the order in which they were made.

What must stay true: each step here is one operation on a dictionary or a deque, which nothing interrupts. So pools may
be made, collected and listed at once, in any thread, in signal handlers and in finalizers. There is no lock, which a
forked child might find locked. `list(_pools.items())` is no such step: see `tests/docs/test_copies.py`.
"""

from __future__ import annotations

import itertools
import sys
import time
import weakref
from collections import deque
from types import CodeType
from typing import Any, NamedTuple, Protocol

from .core.callsite import shown, take_site

_monotonic = time.monotonic

# Far more of one server's than a program has use for: one of threads and one of event loops for each of a few roles.
_CROWD = 20
# So many of one server's, made within so many seconds but not at once, are made for each request or task.
_STEADY, _SECONDS, _AT_ONCE = 20, 60.0, 1.0
_REMEMBERED = 256  # pools made of late, of all servers


class Pool(Protocol):
    """What a pool has that is noted here."""

    config: Any
    """with its `name`"""

    def begin_in_child(self) -> None:
        """Start empty in a forked child, without sending anything to the server. An interrupted call is repeated."""


class _Made(NamedTuple):
    """How a pool was made."""

    reference: weakref.ref[Any]
    server: str
    at: float
    site: tuple[CodeType, int]


class LivingPool(NamedTuple):
    """A pool of this process, as `redpool.pools()` found it."""

    pool: Any
    """a pool for threads or for event loops"""
    name: str
    server: str
    """what it connects to: `host:port/db`, `path/db`, or what a Sentinel knows it by"""
    number: int
    """how many pools this process had made when this one was made, itself included; no two pools have the same"""
    age: float
    """seconds since it was made"""
    made_at: str
    """the line of code that made it, as tracebacks show it"""


_numbers = itertools.count(1)
_pools: dict[int, _Made] = {}
# Of each pool made of late: its server, when and where it was made. They say so though the pools are gone.
_lately: deque[tuple[str, float, tuple[CodeType, int]]] = deque(maxlen=_REMEMBERED)


def note(pool: Pool, server: str) -> None:
    """Note a new pool, which connects to this server; its constructor calls. A forked child begins anew with it."""
    number, now, site = next(_numbers), _monotonic(), take_site(sys._getframe(1))
    _lately.append((server, now, site))
    _pools[number] = _Made(weakref.ref(pool, lambda _: _pools.pop(number, None)), server, now, site)


def noted() -> list[Any]:
    """Return the pools that are still there."""
    return [pool for made in list(_pools.values()) if (pool := made.reference()) is not None]


def pools() -> list[LivingPool]:
    """Return the pools of this process that are still there, in the order in which they were made.

    Those for threads and for event loops, those of clusters' nodes and of `redpool.valkey` are among them. What is
    returned keeps them alive.
    """
    now = _monotonic()
    return [
        LivingPool(pool, pool.config.name, made.server, number, now - made.at, shown(made.site).strip())
        for number, made in _pools.copy().items()
        if (pool := made.reference()) is not None
    ]


def crowd_advice(pool: object) -> str:
    """Return what to tell a caller of a pool where there are suspiciously many of its server; else nothing."""
    now, all_made = _monotonic(), list(_pools.values())
    server = next((made.server for made in all_made if made.reference() is pool), None)
    living = [made.site for made in all_made if made.server == server]
    lately = [(at, site) for of, at, site in list(_lately) if of == server and now - at <= _SECONDS]
    if len(living) <= _CROWD and not _steady([at for at, _ in lately], now):
        return ""
    sites = [*living, *(site for _, site in lately)]
    most = shown(max(sites, key=sites.count)).strip()
    count = f"{len(living)} pool{'' if len(living) == 1 else 's'} of {server}"
    return (
        f"this process has {count}, and made {len(lately)} within the last minute, "
        f"most of them here: {most}: make one, and share it"
    )


def _steady(times: list[float], now: float) -> bool:
    """Return whether pools were made one after the other until now; those that a program starts with come at once."""
    if len(times) < _STEADY or now - times[0] < _AT_ONCE:
        return False
    late = sum(at > (times[0] + now) / 2 for at in times)
    return len(times) <= 4 * late <= 3 * len(times)
