"""Pools in the log, as lines of key=value pairs: numbers at intervals, and what happens to connections."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping

from ..core.callsite import users_line
from ..core.instrument import Instrument
from ..core.stats import PoolStats
from .intervals import repeat
from .pools import HasStats

logger = logging.getLogger("redpool.stats")
events = logging.getLogger("redpool.events")

_PLAIN = re.compile(r"[^\s\"=]+")


def stats_line(stats: PoolStats) -> str:
    """Return the stats as one line: `pool=localhost:6379/0 open=3 idle=2 in_use=1 ...`; times are in seconds.

    Only a pool's name can contain a space; such a name is quoted as in JSON.
    """
    pairs: dict[str, object] = {"pool": stats.name}
    for name, value in stats.to_dict().items():
        if name == "closed":
            pairs |= {f"closed_{reason.replace(' ', '_')}": count for reason, count in sorted(value.items())}
        elif isinstance(value, dict):
            pairs |= {f"{name}_{part}": of_it for part, of_it in value.items() if part != "count"}
        elif name != "name":
            pairs[name] = value
    return _line(pairs)


def log_stats(pool: HasStats, every: float = 60.0, logger: logging.Logger = logger) -> Callable[[], None]:
    """Log the pool's stats every `every` seconds, at level INFO, from a daemon thread, and return what ends that.

    The thread has only a weak reference to the pool, and ends with it, or when the returned function is called. Raises
    `ValueError` where `every` isn't a number of seconds above 0.
    """
    return repeat(pool, every, lambda pool: logger.info(stats_line(pool.stats())), "stats")


class EventLog(Instrument):
    """Log one line of key=value pairs for each connect, close, timeout, leak and long wait.

    Pass one as `ConnectionPool(instruments=[EventLog()])`. A wait is long from `long_wait` seconds on; `None`: none is,
    and a checkout costs nothing more. Of one kind of line, such as the closes of one pool for one reason, no more than
    `most` are logged in `within` seconds; the next one says how many were left out. Raises `ValueError` where `most` is
    below 1 or `within` isn't above 0.

    No line has an error's text, a key or a value in it.
    """

    def __init__(
        self,
        long_wait: float | None = 1.0,
        most: int = 10,
        within: float = 10.0,
        logger: logging.Logger = events,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if most < 1:
            raise ValueError(f"most={most!r}: must be 1 or more lines")
        if not within > 0:
            raise ValueError(f"within={within!r}: must be a number of seconds above 0")
        self._long_wait, self._logger = long_wait, logger
        self._limit = _Limit(most, within, clock)
        if long_wait is None:
            self.acquired = super().acquired  # type: ignore[method-assign]  # so that the pool never calls it

    def connected(self, pool: str, seconds: float) -> None:
        """Log a connect."""
        self._log(logging.INFO, "connected", pool, {"seconds": seconds})

    def connect_failed(self, pool: str, error: BaseException) -> None:
        """Log a connect that has failed, with the class of its error."""
        self._log(logging.WARNING, "connect_failed", pool, {"error": type(error).__name__})

    def closed(self, pool: str, reason: str, age: float) -> None:
        """Log a close."""
        self._log(logging.INFO, "closed", pool, {"reason": reason, "age": age})

    def acquired(self, pool: str, wait: float) -> None:
        """Log a wait for a connection that was long."""
        if self._long_wait is not None and wait >= self._long_wait:
            self._log(logging.WARNING, "waited_long", pool, {"seconds": wait})

    def timed_out(self, pool: str, wait: float) -> None:
        """Log a caller that has waited in vain."""
        self._log(logging.WARNING, "timed_out", pool, {"seconds": wait})

    def leaked(self, pool: str, age: float, borrower: str, stack: str) -> None:
        """Log a leak, and the line that took the connection, where it is known."""
        line = users_line(stack)
        taken_at = {} if line is None else {"taken_at": line}
        self._log(logging.WARNING, "leaked", pool, {"age": age, "borrower": borrower, **taken_at})

    def _log(self, level: int, event: str, pool: str, more: Mapping[str, object]) -> None:
        if not self._logger.isEnabledFor(level):
            return
        left_out = self._limit.left_out(event, pool, more.get("reason"))
        if left_out is None:
            return
        said = {"left_out": left_out} if left_out else {}
        self._logger.log(level, "%s", _line({"event": event, "pool": pool, **more, **said}))


class _Limit:
    """How many lines of each kind were logged lately.

    Threads may come at once: then there may be a line more or less.
    """

    def __init__(self, most: int, within: float, clock: Callable[[], float]) -> None:
        self._most, self._within, self._clock = most, within, clock
        self._kinds: dict[tuple[object, ...], tuple[float, int]] = {}  # since when, and how many came

    def left_out(self, *kind: object) -> int | None:
        """Return how many lines were left out before this one; `None` where this one is to be."""
        now = self._clock()
        since, came = self._kinds.get(kind, (now, 0))
        if now >= since + self._within:
            left_out, since, came = max(0, came - self._most), now, 0
        else:
            left_out = 0
        self._kinds[kind] = since, came + 1
        return left_out if came < self._most else None


def _line(pairs: Mapping[str, object]) -> str:
    return " ".join(f"{key}={_plain(value)}" for key, value in pairs.items())


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6f}"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
