"""Reports and lists of clients that no process and no server has made."""

from __future__ import annotations

from typing import Any

from redpool.core.histogram import Distribution
from redpool.fleet.model import Borrowed, Calling, PoolReport, ProcessReport, Waiting

WAIT = Distribution(tuple(range(3, 21)), 1.25)


def pool(**given: Any) -> PoolReport:
    """Return a report of a pool, one connection of which is in use, with a caller in the queue."""
    values: dict[str, Any] = {
        "name": "cache", "kind": "dedicated", "shell": "threads", "address": "redis:6379", "max_connections": 10,
        "open": 3, "idle": 2, "in_use": 1, "connecting": 1, "waiting": 1, "oldest_wait": 0.5,
        "counters": {"acquired": 7, "timeouts": 1}, "closed": {"idle": 2}, "wait": WAIT,
        "borrowed": (Borrowed(2.5, "thread 'worker'", "app.py:3 in work", "GET"),), "waiters": (Waiting(0.5, "task"),),
        "calls": (Calling(0.25, "HGETALL", True, "task 'a'"), Calling(0.1, "GET")),
    }  # fmt: skip
    return PoolReport(**values | given)


def process(**given: Any) -> ProcessReport:
    """Return a report of a process with such a pool."""
    values: dict[str, Any] = {
        "service": "checkout", "host": "web-1", "pid": 4711, "started": 1e9, "at": 1e9 + 60, "period": 1.0,
        "redpool": "1.0", "redis_py": "8.0", "python": "3.12.1", "pools": (pool(),),
    }  # fmt: skip
    return ProcessReport(**values | given)


def line(**given: object) -> str:
    """Return a line of CLIENT LIST."""
    values = {"id": 3, "addr": "10.0.0.1:5000", "name": "", "age": 9, "idle": 0, "flags": "N", "db": 0, "cmd": "get"}
    return " ".join(f"{name}={value}" for name, value in (values | given).items())
