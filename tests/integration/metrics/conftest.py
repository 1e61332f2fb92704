"""redis-py's recorder, for the tests of what it gets."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics

from redpool.redispy.internals import has

if not has("OpenTelemetry recording on event loops"):
    collect_ignore = ["test_recording.py", "test_recorded_pools.py"]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The recorder, which each test begins."""
    from .recorder import Recorded

    made = Recorded()
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: made.provider)
    # A pool of redis-py's records as it is collected, maybe in the midst of the SDK, where it would wait for itself.
    gc.collect()
    gc.disable()
    yield made
    made.end()
    gc.enable()
