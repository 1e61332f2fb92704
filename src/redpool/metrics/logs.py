"""Pools in the log: a line of key=value pairs at intervals, for applications that have logs only."""

from __future__ import annotations

import json
import logging
import re
import threading
import weakref
from collections.abc import Callable

from ..alarm import Alarm
from ..core.stats import PoolStats
from .pools import HasStats

logger = logging.getLogger("redpool.stats")

_PLAIN = re.compile(r"[^\s\"=]+")


def stats_line(stats: PoolStats) -> str:
    """Return the stats as one line: `pool=localhost:6379/0 open=3 idle=2 in_use=1 ...`; times are in seconds.

    Only a pool's name can contain a space; such a name is quoted as in JSON.
    """
    pairs: dict[str, object] = {"pool": stats.name if _PLAIN.fullmatch(stats.name) else json.dumps(stats.name)}
    for name, value in stats.to_dict().items():
        if name == "closed":
            pairs |= {f"closed_{reason.replace(' ', '_')}": count for reason, count in sorted(value.items())}
        elif isinstance(value, dict):
            pairs |= {f"{name}_{part}": _plain(of_it) for part, of_it in value.items() if part != "count"}
        elif name != "name":
            pairs[name] = _plain(value)
    return " ".join(f"{key}={value}" for key, value in pairs.items())


def log_stats(pool: HasStats, every: float = 60.0, logger: logging.Logger = logger) -> Callable[[], None]:
    """Log the pool's stats every `every` seconds, at level INFO, from a daemon thread, and return what ends that.

    The thread has only a weak reference to the pool, and ends with it, or when the returned function is called. Raises
    `ValueError` where `every` isn't a number of seconds above 0.
    """
    if not 0 < every <= threading.TIMEOUT_MAX:
        raise ValueError(f"every={every!r}: must be a number of seconds above 0")
    end = Alarm()
    held = weakref.ref(pool, end.ring)
    thread = threading.Thread(
        target=_log, args=(held, every, logger, end), name=f"redpool {pool.stats().name} stats", daemon=True
    )
    thread.start()
    return end.ring


def _log(held: weakref.ref[HasStats], every: float, logger: logging.Logger, end: Alarm) -> None:
    while not end.sleep(every):
        pool = held()
        if pool is None:
            return
        line = stats_line(pool.stats())
        del pool  # else this thread would keep it alive through the next wait
        logger.info(line)


def _plain(value: object) -> str:
    return f"{value:.6f}" if isinstance(value, float) else str(value)
