"""Made-up views of a fleet, for what shows them: plausible ones, and hostile ones."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from redpool.core.histogram import BOUNDS, Distribution
from redpool.fleet.model import (
    Borrowed,
    FleetView,
    Owner,
    PoolReport,
    ProcessReport,
    ServerClient,
    ServerView,
    Waiting,
)

NOON = 1_800_000_000.0


def waits(**durations: int) -> Distribution:
    """Return a distribution of so many durations each: `waits(ms1=3, s2=1)`."""
    among = [0] * (len(BOUNDS) + 1)
    total = 0.0
    for name, number in durations.items():
        unit, digits = name.rstrip("0123456789"), name.lstrip("ms")
        value = int(digits) * {"ms": 0.001, "s": 1.0}[unit]
        among[next((place for place, bound in enumerate(BOUNDS) if value <= bound), -1)] += number
        total += value * number
    counts = [sum(among[: place + 1]) for place in range(len(among))]
    return Distribution(tuple(counts), total)


def pool(name: str = "cache", in_use: int = 0, idle: int = 0, **others: Any) -> PoolReport:
    """Return a report of a pool of 10 connections."""
    said: dict[str, Any] = {
        "kind": "dedicated", "shell": "threads", "address": "127.0.0.1:6379", "max_connections": 10,
        "open": in_use + idle, "connecting": 0, "waiting": 0, "oldest_wait": 0.0,
        "counters": {"acquired": 0, "waited": 0, "timeouts": 0, "connected": 0, "connect_failures": 0},
    }  # fmt: skip
    return PoolReport(name=name, in_use=in_use, idle=idle, **(said | others))


def process(
    *pools: PoolReport, service: str = "shop", host: str = "web-1", pid: int = 100, at: float = NOON
) -> ProcessReport:
    """Return a process's report."""
    return ProcessReport(service, host, pid, NOON - 60, at, 1.0, "0.1.0", "8.0.0", "3.11.7", pools)


def exhausted(name: str = "cache", **others: Any) -> PoolReport:
    """Return a report of a pool in which two callers wait for what ten others hold."""
    held = tuple(
        Borrowed(5.0 - n / 2, f"thread 'worker-{n}' (14{n})", f"/app/orders.py:{40 + n} in take", "GET")
        for n in range(10)
    )
    waiters = (Waiting(4.2, "thread 'web-7' (1407)"), Waiting(0.5, "task 'Task-9'"))
    return pool(name, 10, 0, waiting=2, oldest_wait=4.2, borrowed=held, waiters=waiters, **others)


def view(*processes: ProcessReport, at: float = NOON, **others: Any) -> FleetView:
    """Return a view of these processes."""
    return FleetView(at, processes, **others)


def client(number: int, owner: Owner = Owner.FOREIGN, **others: Any) -> ServerClient:
    """Return a line of CLIENT LIST."""
    said: dict[str, Any] = {
        "address": f"10.0.0.{number}:5000", "name": "", "age": 60.0, "idle": 1.0, "database": 0, "command": "get",
        "user": "default", "library": "redis-py", "flags": "N", "subscriptions": 0, "memory": 20_000,
    }  # fmt: skip
    return ServerClient(id=number, owner=owner, **(said | others))


def server(*clients: ServerClient, **others: Any) -> ServerView:
    """Return what a server says that has these clients."""
    said: dict[str, Any] = {"version": "9.0.1", "connected_clients": len(clients), "max_clients": 10_000}
    return ServerView("redis://127.0.0.1:6379", clients=clients, **(said | others))


def later(report: ProcessReport, seconds: float, *pools: PoolReport) -> ProcessReport:
    """Return what the same process says later."""
    return replace(report, at=report.at + seconds, pools=pools)


class Played:
    """A source that gives one of `views` at each read, and the last one again and again; a test may change them."""

    def __init__(self, views: Iterable[FleetView]) -> None:
        self.views = list(views)
        self.reads = 0
        self.closed = threading.Event()

    def read(self) -> FleetView:
        self.reads += 1
        return self.views.pop(0) if len(self.views) > 1 else self.views[0]

    def close(self) -> None:
        self.closed.set()
