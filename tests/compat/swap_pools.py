"""A pytest plugin that puts what is redpool's where redis-py's is, and writes down how each test ended.

`COMPAT_KIND` says what: with `theirs` nothing is changed. `pool` swaps the pools, `shared` puts the shared pool there
instead, and `client` the clients, too, under every name by which redis-py's own modules and tests know them.
`COMPAT_OUTCOMES` names the file for the outcomes: a JSON document in each line, written at once, so that a run that is
cut short still tells how far it came.

redis-py's fixtures for threads make clients that hold one connection for good, those for event loops make others, too.
Here both do: a test for threads runs as `single` and as `pool`.

Classes that redis-py derived from its pools and clients, such as those for Sentinel, stay as they are.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tracemalloc

import pytest
import redis.asyncio
import redis.connection

_CLIENT_FIXTURES = frozenset({"r", "r2", "decoded_r", "r_timeout"})


def swap(kind: str) -> None:
    """Bind redpool's classes to the names of redis-py's. What imports them later gets ours, too."""
    import redpool
    import redpool.asyncio

    shared = kind != "pool"
    pool = redpool.MultiplexedConnectionPool if shared else redpool.ConnectionPool
    async_pool = redpool.asyncio.MultiplexedConnectionPool if shared else redpool.asyncio.ConnectionPool
    pools: dict[object, object] = {
        redis.connection.ConnectionPool: _named("ConnectionPool", pool),
        redis.connection.BlockingConnectionPool: _named("BlockingConnectionPool", pool),
        redis.asyncio.ConnectionPool: _named("ConnectionPool", async_pool),
        redis.asyncio.BlockingConnectionPool: _named("BlockingConnectionPool", async_pool),
    }
    clients: dict[object, object] = {}
    if kind == "client":
        clients = {redis.Redis: redpool.Redis, redis.asyncio.Redis: redpool.asyncio.Redis}
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "redis"]:
        for name, value in list(vars(module).items()):
            if isinstance(value, type) and value in pools:
                setattr(module, name, pools[value])
            elif isinstance(value, type) and value in clients and value.__module__ != module.__name__:
                setattr(module, name, clients[value])  # where it is defined ours finds what it is derived from


def _named(name: str, pool: type) -> type:
    """Return the pool under the name of the one that it replaces: pytest tells a test's parameters apart by that."""
    return type(name, (pool,), {"__module__": pool.__module__})


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


@pytest.fixture(autouse=True)
def client_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has redis-py's fixtures for threads make clients of one connection, or such as take one for each call."""
    make = sys.modules["tests.conftest"]._get_client
    _, *others = make.__defaults__
    monkeypatch.setattr(make, "__defaults__", (getattr(request, "param", "single") == "single", *others))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for_threads = not metafunc.module.__name__.startswith("tests.test_asyncio.")
    if for_threads and not _CLIENT_FIXTURES.isdisjoint(metafunc.fixturenames):
        metafunc.parametrize("client_kind", ["single", "pool"], indirect=True)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Outcomes(os.environ["COMPAT_OUTCOMES"]))


# redis-py's tests trace all memory, for what warnings show; it takes longer than the tests themselves.
tracemalloc.start = lambda *_: None

# Not later: redis-py's conftest.py is imported before any hook of a plugin could run.
importlib.import_module("redis.sentinel")
if os.environ["COMPAT_KIND"] != "theirs":
    swap(os.environ["COMPAT_KIND"])
