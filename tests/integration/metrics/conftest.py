"""Tests of what redis-py records itself can't be imported where it records nothing."""

from __future__ import annotations

from redpool.redispy.internals import has

_OF_ITS_RECORDER = ["test_recording.py", "test_recorded_pools.py"]

collect_ignore = [] if has("OpenTelemetry recording on event loops") else _OF_ITS_RECORDER
