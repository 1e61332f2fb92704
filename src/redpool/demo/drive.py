"""Callers that take one way to the server: first all is well, then the server hangs, crashes, and comes back."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from tempfile import TemporaryDirectory
from typing import Any

import redis

from redpool import embedded

from .crowd import KEY, Crowd

HANG = 0.5
"""seconds for which the server hangs: longer than callers wait for a reply"""

# The server knows after a crash what it had done before.
_DURABLE = ("--appendonly", "yes", "--appendfsync", "no")
_AFTER_HANG = 0.1
_DOWN = 0.05
_BACK = 0.25
_WARM_UP_SHARE = 0.2
_PATIENCE = 3
_SHOW_EVERY = 0.1
_KEYS_AT_ONCE = 1000
# A caller with less than this share of what it would have, were all served alike.
_STARVED_BELOW = 0.1

_clock = time.monotonic

Tell = Callable[[str, float], None]
"""shows what the server does now, and the calls per second so far"""


@dataclass(frozen=True)
class Seen:
    """What callers had of their way to the server."""

    per_s: float
    """calls per second while all was well"""
    connections: int
    """connections that the server accepted while all was well"""
    failed: dict[str, int]
    """errors by command and class, but for those below"""
    lost: dict[str, int]
    """errors that say that a command may have run, by command and class"""
    twice: int
    """INCRs that ran more often than they were called"""
    starved: int
    """callers that got less than a tenth of an even share"""
    after: int
    """calls served since the server is back; all of them where nothing happened to it"""


class Probe:
    """The demo's own client, which asks the server what it did."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._client.set(KEY, "a short value")

    def connections(self) -> int:
        """Return how many connections the server has accepted since it started."""
        return int(self._client.info("stats")["total_connections_received"])

    def settle(self, keys: Iterable[str]) -> int:
        """Return how many times more than once each the counters `keys` were raised, and delete them."""
        more = 0
        left = iter(keys)
        while some := list(islice(left, _KEYS_AT_ONCE)):
            more += sum(int(value) - 1 for value in self._client.mget(some) if value is not None)
            self._client.delete(*some)
        return more

    def clear(self) -> None:
        """Delete the key that callers read."""
        self._client.delete(KEY)


@contextmanager
def serving(url: str | None) -> Iterator[tuple[str, embedded.Server | None]]:
    """Yield the URL of the server to use, and the server where it is a private one, which ends with the block."""
    if url is not None:
        yield url, None
        return
    with (
        TemporaryDirectory(prefix="redpool-demo-") as directory,
        embedded.start(args=(*_DURABLE, "--dir", directory)) as server,
    ):
        yield server.url, server


@contextmanager
def probing(url: str) -> Iterator[Probe]:
    """Yield a probe; what it wrote is deleted at the end of the block."""
    with redis.Redis.from_url(url) as client:
        probe = Probe(client)
        yield probe
        probe.clear()


def drive(crowd: Crowd, probe: Probe, server: embedded.Server | None, seconds: float, tell: Tell) -> Seen:
    """Have a crowd call for `seconds`, then through what happens to a server of the demo's own."""
    before = probe.connections()
    try:
        crowd.start()
        per_s = _healthy(crowd, seconds, tell)
        connections = probe.connections() - before
        calls = 0
        if server is not None:
            calls = _through_faults(crowd, server, lambda what: tell(what, per_s))
    finally:
        crowd.stop()
    crowd.join()
    return _seen(crowd, per_s, connections, _calls(crowd) - calls, probe)


def _calls(crowd: Crowd) -> int:
    return sum(caller.calls for caller in crowd.callers)


def _healthy(crowd: Crowd, seconds: float, tell: Tell) -> float:
    """Let the callers work for `seconds`, and return the calls per second, the first moments apart.

    Callers that are slow have longer, until there was a call for each.
    """
    time.sleep(seconds * _WARM_UP_SHARE)
    began, before = _clock(), _calls(crowd)
    while True:
        time.sleep(min(_SHOW_EVERY, seconds / 4))
        calls, elapsed = _calls(crowd) - before, _clock() - began
        tell("all is well", calls / elapsed)
        if elapsed > seconds * (1 if calls >= len(crowd.callers) else _PATIENCE):
            return calls / elapsed


def _through_faults(crowd: Crowd, server: embedded.Server, tell: Callable[[str], None]) -> int:
    """Have the server hang, crash and come back; return the calls that were served by then."""
    tell("the server hangs")
    server.pause()
    time.sleep(HANG)
    server.resume()
    tell("the server answers again")
    time.sleep(_AFTER_HANG)
    tell("the server has crashed")
    server.kill()
    time.sleep(_DOWN)
    server.restart()
    calls = _calls(crowd)
    tell("the server is back")
    time.sleep(_BACK)
    return calls


def _seen(crowd: Crowd, per_s: float, connections: int, after: int, probe: Probe) -> Seen:
    callers = crowd.callers
    even = _calls(crowd) / len(callers)
    return Seen(
        per_s=per_s,
        connections=connections,
        failed=dict(sum((caller.failed for caller in callers), Counter())),
        lost=dict(sum((caller.lost for caller in callers), Counter())),
        twice=probe.settle(key for caller in callers for key in caller.counters()),
        starved=sum(caller.calls < _STARVED_BELOW * even for caller in callers),
        after=after,
    )
