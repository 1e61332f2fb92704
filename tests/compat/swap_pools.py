"""A pytest plugin that puts redpool's pools where redis-py's are, and writes down how each test ended.

`COMPAT_POOLS=ours` swaps the pools under every name by which redis-py's own modules and tests know them; with `theirs`
nothing is changed. `COMPAT_OUTCOMES` names the file for the outcomes: a JSON document in each line, written at once, so
that a run that is cut short still tells how far it came.

Classes that redis-py derived from its pools, such as that for Sentinel, stay as they are.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

import pytest
import redis.asyncio
import redis.connection


def swap_pools() -> None:
    """Bind redpool's pools to the names of redis-py's. What imports them later gets ours, too."""
    import redpool
    import redpool.asyncio

    swaps: dict[object, object] = {
        redis.connection.ConnectionPool: redpool.ConnectionPool,
        redis.connection.BlockingConnectionPool: redpool.ConnectionPool,
        redis.asyncio.ConnectionPool: redpool.asyncio.ConnectionPool,
        redis.asyncio.BlockingConnectionPool: redpool.asyncio.ConnectionPool,
    }
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "redis"]:
        for name, value in list(vars(module).items()):
            if isinstance(value, type) and value in swaps:
                setattr(module, name, swaps[value])


class Outcomes:
    """Writes a line for each phase of each test: its id, how it ended, and why."""

    def __init__(self, path: str) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        why = str(report.longrepr) if report.failed else ""
        with open(self._path, "a", encoding="utf-8") as lines:
            lines.write(json.dumps([report.nodeid, report.outcome, why]) + "\n")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            with open(self._path, "a", encoding="utf-8") as lines:
                lines.write(json.dumps([report.nodeid, "failed", str(report.longrepr)]) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Outcomes(os.environ["COMPAT_OUTCOMES"]))


# Not later: redis-py's conftest.py is imported before any hook of a plugin could run.
importlib.import_module("redis.sentinel")
if os.environ["COMPAT_POOLS"] == "ours":
    swap_pools()
