"""Report pools to StatsD or DogStatsD, by the `datadog` package's client: the extra `redpool[statsd]`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

try:
    from datadog.dogstatsd import DogStatsd
except ModuleNotFoundError as error:
    message = f"{__name__} needs the datadog package: pip install 'redpool[statsd]'"
    raise ImportError(message) from error

from ..core.histogram import Distributions
from . import numbers
from .intervals import repeat
from .pools import HasStats

QUANTILES = {"p50": 0.5, "p99": 0.99}

# What would end a tag, or a name.
_NO_TAG = re.compile(r"[,|#\s]")
_NO_NAME = re.compile(r"[^\w-]")


def report_stats(
    pool: HasStats, client: DogStatsd, every: float = 10.0, prefix: str = "redpool", tags: bool = True
) -> Callable[[], None]:
    """Send the pool's numbers every `every` seconds, from a daemon thread, and return what ends that.

    Gauges are of that moment, counts are what has come since the last time, and times are in seconds. With `tags`, as
    DogStatsD has them, the pool's name, a connection's state and a close's reason are tags; without, they are parts of
    the names. The thread has only a weak reference to the pool, and ends with it. Raises `ValueError` where `every`
    isn't a number of seconds above 0.
    """
    return repeat(pool, every, Report(client, prefix, tags).send, "statsd")


class Report:
    """What was reported of a pool, and what is to be."""

    def __init__(self, client: DogStatsd, prefix: str, tags: bool) -> None:
        self._client, self._prefix, self._tags = client, prefix, tags
        self._counted: dict[tuple[str, str], float] = {}
        self._before = Distributions()

    def send(self, pool: HasStats) -> None:
        """Report a pool's numbers."""
        stats, durations = pool.stats(), pool.distributions()
        name = stats.name
        for gauge, about in numbers.GAUGES.items():
            for each, value in numbers.values(stats, gauge).items():
                self._client.gauge(*self._named(gauge, name, about.label, each, value))
        for counter, of_counter in numbers.COUNTERS.items():
            for each, value in numbers.values(stats, counter).items():
                before = self._counted.get((counter, each), 0)
                more = value - before if value >= before else value
                self._counted[counter, each] = value
                self._client.increment(*self._named(counter, name, of_counter.label, each, more))
        for histogram in numbers.HISTOGRAMS:
            lately = getattr(durations, histogram).since(getattr(self._before, histogram))
            self._client.increment(*self._named(f"{histogram}.count", name, None, "", lately.count))
            self._client.increment(*self._named(f"{histogram}.sum", name, None, "", lately.sum))
            for quantile, share in QUANTILES.items() if lately.count else ():
                value = lately.quantile(share)
                self._client.gauge(*self._named(f"{histogram}.{quantile}", name, None, "", value))
        self._before = durations

    def _named(
        self, metric: str, pool: str, label: str | None, each: str, value: float
    ) -> tuple[str, float, list[str] | None]:
        """Return the metric's whole name, its value, and its tags."""
        if self._tags:
            tags = [f"pool:{_NO_TAG.sub('_', pool)}"]
            tags += [f"{label}:{_NO_TAG.sub('_', each)}"] if label else []
            return f"{self._prefix}.{metric}", value, tags
        parts: Iterable[str] = (self._prefix, _NO_NAME.sub("_", pool), metric, *(each.replace(" ", "_"),) * bool(label))
        return ".".join(parts), value, None
