"""What reports the pools of this process to a Redis: from a thread of its own, over a connection of its own.

So it still talks when an event loop hangs, and takes no connection of the user's. Where that Redis is away, it tries
again ever less often, and says so once. It raises nothing into the user's code once it runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from redis.exceptions import RedisError

from .. import registry
from ..background import UntilClosed
from ..wire.client_names import ClientName
from .keys import DEFAULT, HISTORY_EVERY, Keys, leaving, reporting
from .link import Link, Target, target_of_pool, target_of_url
from .model import ProcessReport
from .reports import Pool, checked_service, host, of_process, service_of

logger = logging.getLogger("redpool.fleet")

_LONGEST_PAUSE = 30.0  # seconds between two attempts
_LONGEST_PERIOD = 3600.0  # seconds

_living: dict[tuple[str, str, str | None], Publisher] = {}


class Client(Protocol):
    """A client of redis-py's, or of redpool's, over a pool of redpool's."""

    connection_pool: Any


def publish(
    pools: Pool | Client | Iterable[Pool | Client] | None = None,
    *,
    service: str | None = None,
    url: str | None = None,
    fleet: str = DEFAULT,
    period: float = 1.0,
) -> Publisher:
    """Report pools of this process to a Redis from now on, for `redpool top` and `redpool dashboard` to read.

    - `pools`: a pool, a client that has one, or several; by default all pools of this process, later ones, and those of
      a cluster's nodes, included.
    - `service`: what the process is a part of, such as "checkout"; by default the `service` of the first pool, else the
      program's name.
    - `url`: the Redis to report to; by default the server of the first pool, with its credentials and database.
    - `fleet`: a name that tells this fleet apart from others in the same Redis.
    - `period`: seconds between two reports. A process that has not reported for three of them is taken for gone.

    It returns at once what `close()` ends; it ends with the process, too, and with the pools that it was given. A
    forked child that goes on for longer than a period reports itself. Raises `TypeError` or `ValueError` for a wrong
    option, and `ValueError` where this process reports the same service to the same fleet already.
    """
    return Publisher(pools, service, url, fleet, period)


class Publisher(UntilClosed):
    """Reports pools until it is closed, or used up as a context manager; `redpool.publish` makes it."""

    def __init__(
        self,
        pools: Pool | Client | Iterable[Pool | Client] | None,
        service: str | None,
        url: str | None,
        fleet: str,
        period: float,
    ) -> None:
        given = None if pools is None else _pools(pools)
        self._pools = registry.noted if given is None else given.alive
        self.service = service_of(self._pools()) if service is None else checked_service(service)
        self.period = _period(period)
        self._keys = Keys.of(fleet)
        target = None if url is None else target_of_url(url)
        self._target: Callable[[], Target | None] = self._own_server if target is None else lambda: target
        self._ends_with_pools = given is not None
        self._went_wrong = False
        self._identity = fleet, self.service, url
        if self._identity in _living:
            raise ValueError(
                f"service={self.service!r}: this process reports to fleet {fleet!r} already: close that publisher, "
                "or pass all pools in one call"
            )
        _living[self._identity] = self
        super().__init__(f"redpool fleet {self.service}")
        self._reporter = self._of_this_process()
        self._begin()

    def close(self) -> None:
        """Stop reporting, and take the report away, within a second; without effect where that is done."""
        self._forget()
        super().close()

    def _forget(self) -> None:
        if _living.get(self._identity) is self:
            del _living[self._identity]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.service!r} to fleet {self._identity[0]!r}>"

    def begin_in_child(self) -> None:
        """After a fork, in the child: report it as well, unless it ends or becomes another program at once."""
        super().begin_in_child()
        self._reporter = self._of_this_process()
        self._begin(pause=self.period)

    def _of_this_process(self) -> _Reporter:
        return _Reporter(self._keys, Link(self._target, str(ClientName(self.service, "fleet", host(), os.getpid()))))

    # -- in the thread -----------------------------------------------------------------------------------------------

    def _turn(self) -> float | None:
        if self._ends_with_pools and not self._pools():
            self.closing = True
        if self.closing:
            self._forget()
            self._reporter.leave()
            return None
        try:
            return self._reporter.turn(of_process(self._pools(), service=self.service, period=self.period))
        except Exception:
            if not self._went_wrong:
                logger.exception("%r: went wrong", self)
            self._went_wrong = True
            return max(_LONGEST_PAUSE, self.period)

    def _own_server(self) -> Target | None:
        """Return where the pools connect to; where there is a Sentinel, what it knows, not its own address."""
        pools = self._pools()
        known = [pool for pool in pools if "connection_pool" in pool.connection_kwargs]
        return next((target for pool in known or pools if (target := target_of_pool(pool)) is not None), None)


class _Reporter:
    """Reports again and again over one connection. It belongs to the thread."""

    def __init__(self, keys: Keys, link: Link) -> None:
        self._keys, self._link = keys, link
        self._key: str | None = None  # of what was reported
        self._number = 0  # of reports since the connection was opened
        self._failures = 0  # in a row
        self._refused: set[object] = set()  # commands that were, and were logged

    def turn(self, report: ProcessReport) -> float:
        """Report, and return for how many seconds to pause."""
        try:
            self._report(report)
        except Exception as error:
            # What a user's credential provider raises may quote a secret.
            why = error if isinstance(error, RedisError | OSError) else type(error).__name__
            self._number = 0
            self._failures += 1
            self._link.close()
            if self._failures == 1:
                logger.warning("can't report to the fleet at %s, and tries again: %s", self._link.shown, why)
            longest = max(_LONGEST_PAUSE, report.period)
            return min(longest, report.period * 2.0 ** min(self._failures, 16)) * random.uniform(0.5, 1.0)
        if self._failures:
            logger.info("reports to the fleet at %s again", self._link.shown)
            self._failures = 0
        return report.period

    def _report(self, report: ProcessReport) -> None:
        noted = self._number % HISTORY_EVERY == 0
        self._number += 1
        commands = reporting(self._keys, report, noted)
        replies = self._link.ask(commands)
        if isinstance(replies[0], RedisError):
            raise replies[0]
        self._key = report.key
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, RedisError) and command[0] not in self._refused:
                self._refused.add(command[0])
                logger.warning("can't report all to the fleet at %s: %s: %s", self._link.shown, command[0], reply)

    def leave(self) -> None:
        """Take the report away, where the server is there."""
        if self._key is not None and self._link.connected:
            with contextlib.suppress(RedisError, OSError):
                self._link.ask(leaving(self._keys, self._key))
        self._link.close()


class _Given:
    """The pools that the user has given, as long as they are there."""

    def __init__(self, pools: list[Any]) -> None:
        self._held = [weakref.ref(pool) for pool in pools]

    def alive(self) -> list[Any]:
        return [pool for held in self._held if (pool := held()) is not None]


def _pools(given: Any) -> _Given:
    several = list(given) if isinstance(given, Iterable) and not hasattr(given, "looks") else [given]
    pools = [getattr(each, "connection_pool", each) for each in several]
    for pool in pools:
        if not hasattr(pool, "looks"):
            raise TypeError(
                f"pools={pool!r}: must be a pool of redpool's, a client that has one, or several of them; for the "
                "pools of a cluster's nodes leave pools= out"
            )
    if not pools:
        raise ValueError(f"pools={given!r}: must be one at least; without pools= all of the process are reported")
    return _Given(pools)


def _period(period: Any) -> float:
    if not isinstance(period, int | float) or isinstance(period, bool) or not 0.01 <= period <= _LONGEST_PERIOD:
        raise ValueError(f"period={period!r}: must be a number of seconds from 0.01 to {_LONGEST_PERIOD:g}")
    return float(period)
