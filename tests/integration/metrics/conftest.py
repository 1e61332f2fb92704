"""Tests of redis-py's recorder need a redis-py that has one for both shells."""

from __future__ import annotations

from redpool.redispy.internals import has

if not has("OpenTelemetry recording on event loops"):
    collect_ignore = ["test_recording.py", "test_recorded_pools.py"]
