"""Every test can use the fixtures of `support.fixtures`. A folder says where its own differ."""

from __future__ import annotations

import pytest

from redpool.redispy.internals import has

pytest_plugins = ["support.fixtures"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test of what the installed redis-py lacks."""
    for mark in item.iter_markers("needs"):
        for feature in mark.args:
            if not has(feature):
                pytest.skip(f"this redis-py lacks {feature}")
