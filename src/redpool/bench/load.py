"""Many callers that repeat a call, and what each of them saw.

A caller's wait is the whole call as the caller sees it: the wait for a connection, the command and the reply. When time
is up every caller finishes the call that it has begun, so a starved one shows as a single turn with a very long wait.
"""

import asyncio
import threading
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import redis

Figures = dict[str, float]
"""Measured values by name; the name tells the unit where there is one (us, ms, per_s, bytes)."""

# Errors that a caller counts before it goes on. Any other exception is a bug, and ends the load.
_EXPECTED = (redis.RedisError, OSError)

# A dead server must not turn the callers into a busy loop.
_PAUSE_AFTER_ERROR = 0.01

_clock = time.perf_counter


@dataclass
class Tally:
    """What one caller has seen so far: `waits` in seconds, one per call, and `errors` by class name."""

    waits: "array[float]" = field(default_factory=lambda: array("d"))
    errors: Counter[str] = field(default_factory=Counter)

    def failed(self, error: Exception) -> None:
        """Count an error by the name of its class."""
        self.errors[type(error).__name__] += 1


def percentile(ascending: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the sorted values lies; 0.0 where there are none."""
    if not ascending:
        return 0.0
    return ascending[min(int(share * len(ascending)), len(ascending) - 1)]


class _Load:
    """The tallies and the clock that both kinds of load share."""

    def __init__(self, callers: int) -> None:
        self._tallies = [Tally() for _ in range(callers)]
        self._begin = 0.0
        self._end = 0.0
        self._cpu_begin = 0.0
        self._stopped = False

    def stop(self) -> None:
        """Have every caller finish its present call, and begin no other."""
        self._stopped = True
        self._end = 0.0

    def turns(self) -> int:
        """Return the number of calls that all callers have finished so far."""
        return sum(len(tally.waits) for tally in self._tallies)

    def errors(self) -> Counter[str]:
        """Return the errors that all callers have got so far, by class name."""
        return sum((tally.errors for tally in self._tallies), Counter())

    def _open(self, seconds: float) -> None:
        self._cpu_begin = time.process_time()
        self._begin = _clock()
        self._end = 0.0 if self._stopped else self._begin + seconds

    def _figures(self) -> Figures:
        seconds = _clock() - self._begin
        cpu = time.process_time() - self._cpu_begin
        waits = sorted(chain.from_iterable(tally.waits for tally in self._tallies))
        turns = [len(tally.waits) for tally in self._tallies]
        return {
            "per_s": len(waits) / seconds,
            "p50_ms": 1e3 * percentile(waits, 0.50),
            "p99_ms": 1e3 * percentile(waits, 0.99),
            "worst_ms": 1e3 * percentile(waits, 1.0),
            "cpu_us": 1e6 * cpu / max(len(waits), 1),
            "fewest": min(turns),
            "most": max(turns),
            "most_to_fewest": max(turns) / max(min(turns), 1),
            "errors": self.errors().total(),
        }


class ThreadLoad(_Load):
    """A thread for each of `calls`, which repeats it. Any thread may call `turns` and `errors` meanwhile."""

    def __init__(self, calls: Sequence[Callable[[], object]]) -> None:
        super().__init__(len(calls))
        self._seconds = 0.0
        self._bug: BaseException | None = None
        # Threads start slowly and unevenly: no caller begins before all have started.
        self._gate = threading.Barrier(len(calls), action=lambda: self._open(self._seconds))
        self._threads = [
            threading.Thread(target=self._guarded, args=pair, daemon=True)
            for pair in zip(calls, self._tallies, strict=True)
        ]

    def start(self, seconds: float) -> None:
        """Start the callers, for `seconds`."""
        self._seconds = seconds
        for thread in self._threads:
            thread.start()

    def join(self, patience: float | None = None) -> Figures:
        """Wait until every caller is done, and return the figures.

        Raises `TimeoutError` where that takes longer than `patience` seconds, or what ended a caller. Any exception
        stops the callers first.
        """
        end = None if patience is None else _clock() + patience
        try:
            for thread in self._threads:
                thread.join(None if end is None else max(0.0, end - _clock()))
                if thread.is_alive():
                    raise TimeoutError(f"a caller was not done after {patience:g} s")
        except BaseException:
            self.stop()
            raise
        if self._bug is not None:
            raise self._bug
        return self._figures()

    def run(self, seconds: float, patience: float | None = None) -> Figures:
        """Start the callers for `seconds`, wait until each is done, and return the figures; see `start` and `join`."""
        self.start(seconds)
        return self.join(patience)

    def _guarded(self, call: Callable[[], object], tally: Tally) -> None:
        self._gate.wait()
        try:
            self._repeat(call, tally)
        except BaseException as bug:
            self._bug = bug
            self.stop()

    def _repeat(self, call: Callable[[], object], tally: Tally) -> None:
        now = _clock()
        while now < self._end:
            began = now
            try:
                call()
            except _EXPECTED as error:
                tally.failed(error)
                time.sleep(_PAUSE_AFTER_ERROR)
                now = _clock()
            else:
                now = _clock()
                tally.waits.append(now - began)


class TaskLoad(_Load):
    """An asyncio task for each of `calls`, which repeats it. Any thread may call `turns` and `errors` meanwhile."""

    def __init__(self, calls: Sequence[Callable[[], Awaitable[object]]]) -> None:
        super().__init__(len(calls))
        self._calls = calls

    async def run(self, seconds: float) -> Figures:
        """Start the callers for `seconds`, wait until each is done, and return the figures."""
        self._open(seconds)
        async with asyncio.TaskGroup() as group:
            for call, tally in zip(self._calls, self._tallies, strict=True):
                group.create_task(self._repeat(call, tally))
        return self._figures()

    async def _repeat(self, call: Callable[[], Awaitable[object]], tally: Tally) -> None:
        now = _clock()
        while now < self._end:
            began = now
            try:
                await call()
            except _EXPECTED as error:
                tally.failed(error)
                await asyncio.sleep(_PAUSE_AFTER_ERROR)
                now = _clock()
            else:
                now = _clock()
                tally.waits.append(now - began)
