"""Fleets that are made up: a source whose processes and pools do as a test says, at the times that it says."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate

from redpool.core.histogram import BOUNDS, Distribution
from redpool.fleet.model import (
    Borrowed,
    FleetView,
    Owner,
    PoolReport,
    ProcessReport,
    Sample,
    ServerClient,
    ServerView,
    Waiting,
)

START = 1_790_000_000.0


def distribution(*seconds: float) -> Distribution:
    """Return the distribution of these durations."""
    counts = [0] * (len(BOUNDS) + 1)
    for each in seconds:
        counts[bisect_left(BOUNDS, each)] += 1
    return Distribution(tuple(accumulate(counts)), sum(seconds))


@dataclass
class MadeUpPool:
    """A pool of a process: `demand` says how many callers want a connection at a time, `hold` for how long each."""

    name: str
    limit: int = 10
    demand: float = 4.0
    kind: str = "dedicated"
    hold: float = 0.004
    open: int = 0
    in_use: int = 0
    waiting: int = 0
    oldest: float = 0.0
    counters: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)
    wait: Distribution = field(default_factory=Distribution)
    use: Distribution = field(default_factory=Distribution)
    connect: Distribution = field(default_factory=Distribution)

    def go_on(self, seconds: float, chance: random.Random) -> None:
        """Let time pass."""
        wanted = max(0, round(self.demand + chance.gauss(0, 0.25 * self.demand)))
        self.in_use = min(wanted, self.limit)
        self.waiting = wanted - self.in_use
        self.oldest = min(5.0, self.oldest + seconds) if self.waiting else 0.0
        connects = max(0, self.in_use - self.open)
        idle = max(0, self.open + connects - self.in_use - 2) if chance.random() < 0.1 else 0
        self.open += connects - idle
        served = round(self.in_use / self.hold * seconds / 8)
        slow = round(served * min(0.5, self.waiting / max(1, wanted)))
        drawn = [0.00005] * min(30, served) + [
            chance.lognormvariate(-3.5 + 0.08 * self.waiting, 0.9) for _ in range(min(40, slow))
        ]
        self.wait += distribution(*drawn)
        self.use += distribution(*(chance.lognormvariate(-5.5, 0.6) for _ in range(20)))
        self.connect += distribution(*(chance.lognormvariate(-6.5, 0.4) for _ in range(connects)))
        self.counters.update(
            acquired=served, released=served, waited=slow, connected=connects, timeouts=int(self.oldest >= 5.0) * 3
        )
        if idle:
            self.closed["idle"] += idle

    def lose_all(self, reason: str) -> None:
        """Close every connection."""
        if self.open:
            self.closed[reason] += self.open
        self.open = 0

    def report(self, lines: tuple[str, ...] = ("checkout/cart.py:88 in total",)) -> PoolReport:
        """Return what its process says of it."""
        busy = [
            Borrowed(self.hold * 100 / (n + 1), f"Thread-{n + 1} (worker)", lines[n % len(lines)], "HGETALL")
            for n in range(min(10, self.in_use))
        ]
        waiters = [Waiting(self.oldest / (n + 1), f"Thread-{n + 20} (worker)") for n in range(min(10, self.waiting))]
        return PoolReport(
            self.name, self.kind, "threads", "127.0.0.1:6379", self.limit, self.open, max(0, self.open - self.in_use),
            self.in_use, 0, self.waiting, self.oldest, 0, dict(self.counters), dict(self.closed), self.wait, self.use,
            self.connect, tuple(busy), tuple(waiters),
        )  # fmt: skip


@dataclass
class MadeUpProcess:
    """A process with its pools."""

    service: str
    pid: int
    pools: list[MadeUpPool]
    host: str = "web-1"
    started: float = START - 4000
    lines: tuple[str, ...] = ("checkout/cart.py:88 in total", "checkout/stock.py:31 in reserve")

    def report(self, at: float) -> ProcessReport:
        """Return what it says of itself."""
        pools = tuple(pool.report(self.lines) for pool in self.pools)
        return ProcessReport(
            self.service, self.host, self.pid, self.started, at, 1.0, "0.1.0", "8.1.0", "3.11.7", pools
        )


class MadeUpFleet:
    """A source: each look at it is a second later than the one before."""

    def __init__(self, processes: list[MadeUpProcess], seed: int = 7) -> None:
        self.processes = processes
        self.at = START
        self.error: str | None = None
        self.looks = 0
        self.closed = False
        self.foreign = 6
        self.orphaned = 0
        self.slow: list[tuple[float, float, str, str]] = []
        self.latency: list[tuple[str, float, float]] = []
        self.history: list[Sample] = []
        self._chance = random.Random(seed)

    def go_on(self, seconds: float = 1.0) -> None:
        """Let time pass for all pools, and keep samples of it."""
        self.at += seconds
        for process in self.processes:
            for pool in process.pools:
                pool.go_on(seconds, self._chance)
                self.history.append(self._sample(process.report(self.at), pool))
        del self.history[: -300 * sum(len(process.pools) for process in self.processes) or None]

    def _sample(self, process: ProcessReport, pool: MadeUpPool) -> Sample:
        counters = pool.counters
        return Sample(
            self.at, process.key, pool.name, pool.open, pool.in_use, 0, pool.waiting, pool.oldest, counters["acquired"],
            counters["timeouts"], counters["connected"], pool.closed.total(), pool.wait,
        )  # fmt: skip

    def read(self) -> FleetView:
        """Look at it."""
        self.looks += 1
        if self.error is None:
            self.go_on()
        return self.view()

    def view(self) -> FleetView:
        """Return it as it is."""
        reports = tuple(process.report(self.at) for process in self.processes)
        return FleetView(self.at, reports, self._server(reports), tuple(self.history), self.error)

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def _server(self, reports: tuple[ProcessReport, ...]) -> ServerView:
        clients: list[ServerClient] = []

        def client(owner: Owner, name: str, process: str | None = None, pool: str | None = None) -> None:
            number = len(clients) + 1
            clients.append(
                ServerClient(
                    id=number,
                    address=f"10.0.0.{number % 250}:{40000 + number}",
                    name=name,
                    age=3000.0,
                    idle=float(number % 40),
                    database=0,
                    command="get",
                    user="default",
                    library="redis-py(redpool_v0.1.0)" if process else "lettuce",
                    flags="N",
                    subscriptions=0,
                    memory=22000,
                    owner=owner,
                    process=process,
                    pool=pool,
                )
            )

        for report in reports:
            for pool in report.pools:
                for _ in range(pool.open):
                    name = f"{report.service}/{pool.name}@{report.host}:{report.pid}"
                    client(Owner.KNOWN, name, report.key, pool.name)
        for number in range(self.foreign):
            client(Owner.FOREIGN, "nightly-report" if number % 2 else "")
        for _ in range(self.orphaned):
            client(Owner.ORPHANED, "search/index@web-9:99", "search@web-9:99", "index")
        return ServerView(
            "redis://127.0.0.1:6379", "9.1.2", len(clients), 10000, 18000, tuple(clients), tuple(self.latency),
            tuple(self.slow), ("LATENCY: no permission (NOPERM)",) if not self.latency else (),
        )  # fmt: skip


def shop(minutes: float = 0.0) -> MadeUpFleet:
    """Return a fleet of three services, at work for some minutes."""
    processes = [
        *(
            MadeUpProcess("checkout", 4100 + n, [MadeUpPool("carts", 10, 5 + n), MadeUpPool("sessions", 20, 6)])
            for n in range(3)
        ),
        *(MadeUpProcess("search", 5100 + n, [MadeUpPool("index", 16, 4)], "web-2") for n in range(2)),
        MadeUpProcess("jobs", 6100, [MadeUpPool("queue", 8, 2, "multiplexed")], "worker-1"),
    ]
    fleet = MadeUpFleet(processes)
    for _ in range(round(minutes * 60)):
        fleet.go_on()
    return fleet


def crowd(processes: int = 200, pools: int = 5) -> MadeUpFleet:
    """Return a large fleet: `processes` of 20 services, with `pools` each."""
    return MadeUpFleet(
        [
            MadeUpProcess(
                f"service-{n % 20}", 1000 + n, [MadeUpPool(f"pool-{m}", 10, 3 + m) for m in range(pools)], f"host-{n}"
            )
            for n in range(processes)
        ]
    )
