"""Tests of what redis-py records itself can't be imported where it records nothing."""

from __future__ import annotations

from redpool.redispy.internals import has

collect_ignore = [] if has("OpenTelemetry recording on event loops") else ["test_recording.py"]
