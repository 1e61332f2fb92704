"""The real gunicorn with two workers: what each counts adds up in a scrape that one of them answers."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from support.faces import PATIENCE, eventually, together

REQUESTS = 40
_HERE = Path(__file__).parent


@pytest.fixture
def port(redis_url: str, tmp_path: Path) -> Iterator[int]:
    """Port of a gunicorn whose workers were forked from the loaded application."""
    (tmp_path / "files").mkdir()
    path = os.pathsep.join([str(_HERE), *(each for each in sys.path if each)])
    with socket.socket() as listener, (tmp_path / "log").open("wb") as out:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-b", f"fd://{listener.fileno()}", "-c", "settings.py", "application"],
            cwd=_HERE,
            env={
                **os.environ,
                "REDIS_URL": redis_url,
                "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "files"),
                "PYTHONPATH": path,
            },
            pass_fds=[listener.fileno()],
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield listener.getsockname()[1]
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _get(port: int, path: str) -> str:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read().decode()


def _scrape(port: int) -> dict[str, float]:
    """Return what is exported of the pool, by name; connections by their state, too."""
    seen = {}
    for family in parse(_get(port, "/metrics")):
        for sample in family.samples:
            assert sample.labels.pop("pool") == "served"
            assert "pid" not in sample.labels
            more = "".join(f" {value}" for value in sample.labels.values())
            seen[sample.name + more] = sample.value
    return seen


def test_workers_add_up(port: int) -> None:
    """Gauges and counters are the sums of both workers'; one that dies takes its gauges along, its counts stay."""
    pids: set[int] = set()
    together(4, lambda _: pids.update(int(_get(port, "/")) for _ in range(REQUESTS // 4)))
    asked = REQUESTS
    while len(pids) < 2:
        pids.add(int(_get(port, "/")))
        asked += 1
    counted = "redpool_use_seconds_count"
    assert eventually(lambda: _scrape(port).get(counted) == asked), (asked, _scrape(port))
    seen = _scrape(port)
    assert seen["redpool_connections_max"] == 14
    assert seen["redpool_connections idle"] == seen["redpool_connected_total"] >= 2
    assert seen["redpool_connections in_use"] == seen["redpool_waiting"] == seen["redpool_oldest_wait_seconds"] == 0
    assert seen["redpool_acquired_total"] == seen["redpool_released_total"] == asked
    assert seen["redpool_wait_seconds_bucket +Inf"] == seen["redpool_wait_seconds_count"] == asked
    assert seen["redpool_use_seconds_bucket 30.0"] == asked
    assert 0 < seen["redpool_use_seconds_sum"] < asked * PATIENCE

    os.kill(pids.pop(), signal.SIGKILL)
    # Another worker takes its place, and counts once it is used.
    assert eventually(lambda: _scrape(port)["redpool_connections_max"] == 7)
    assert _scrape(port)[counted] == asked
