"""Tracers see of redpool's clients what they see of redis-py's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .traced import CLIENTS, TRACERS

QUIET = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}


@pytest.mark.parametrize(
    ("tracer", "when"),
    [
        *((name, "before") for name in TRACERS),
        *((name, "first") for name in ("opentelemetry", "sentry")),
        *((name, "after") for name in ("newrelic", "elastic")),
    ],
)
def test_every_client_leaves_the_spans_that_redis_pys_leaves(redis_url: str, tracer: str, when: str) -> None:
    """Whether the tracer patches redis-py's clients, its commands or its connections, before or after their first use.

    Two commands and a pipeline, by threads and by tasks, with what else a tracer notes: host and port, for one.
    """
    command = [sys.executable, str(Path(__file__).with_name("traced.py")), tracer, when, redis_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **QUIET}, check=False)
    assert done.returncode == 0, done.stderr
    recorded: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    for by_client in recorded.values():
        assert len(by_client["redis-py"]) >= 2
        assert by_client == dict.fromkeys(CLIENTS, by_client["redis-py"])
