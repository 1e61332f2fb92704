"""Where redpool can't do all: systems that lack what Linux has, eventlet, pickles.

Those systems can't be had here, so a Linux without it has to stand for them.
"""

from __future__ import annotations

import copy
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import redpool
import redpool.asyncio

TESTS = Path(__file__).parents[2]
ROUND = [
    "dedicated/test_clients.py",
    "multiplexed/test_commands.py",
    "multiplexed/test_pipelines.py",
    "multiplexed/test_paths.py",
]


def test_what_windows_lacks_is_not_needed() -> None:
    """A round of both pools and both clients in both shells, over plain connections and TLS."""
    files = [str(TESTS / "integration" / each) for each in ROUND]
    plugins = ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "integration.processes.elsewhere"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, *files],
        cwd=TESTS.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:]


def test_eventlet_shares_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so at once, instead of failing the first callers that wait for replies together."""
    monkeypatch.setattr(socket, "socket", type("GreenSocket", (), {"__module__": "eventlet.greenio.base"}))
    for make in (redpool.MultiplexedConnectionPool, redpool.Redis):
        with pytest.raises(RuntimeError, match=r"eventlet.*redpool\.ConnectionPool"):
            make()
    assert redpool.Redis(connection_pool=redpool.ConnectionPool())


SHARED = {
    "pool": redpool.MultiplexedConnectionPool,
    "client": redpool.Redis,
    "pool of loops": redpool.asyncio.MultiplexedConnectionPool,
    "client of loops": redpool.asyncio.Redis,
}


@pytest.mark.parametrize("what", SHARED)
def test_a_pool_or_a_client_that_is_pickled_says_what_to_do(what: str) -> None:
    """A client may be copied in its process, as redis-py's may."""
    made: Any = SHARED[what]()
    with pytest.raises(TypeError, match="have each process create its own"):
        pickle.dumps(made)
    if "client" in what:
        assert copy.copy(made).connection_pool is made.connection_pool
