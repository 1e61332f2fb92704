"""gunicorn's settings: what the docs tell users to write."""

from __future__ import annotations

from typing import Any

from prometheus_client import multiprocess

workers = 2
preload_app = True


def child_exit(server: Any, worker: Any) -> None:
    """Have the gauges of a worker that has ended vanish."""
    multiprocess.mark_process_dead(worker.pid)
