"""Every test can use the fixtures of `support.fixtures`. A folder says where its own differ."""

from __future__ import annotations

import gc

import pytest

from redpool.redispy.internals import has

pytest_plugins = ["support.fixtures"]


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Keep all that was imported and collected from the garbage collector.

    Many tests collect garbage, some at every step; with 600 000 objects of other tests to look at, that takes 0.4 s.
    """
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test of what the installed redis-py lacks."""
    for mark in item.iter_markers("needs"):
        for feature in mark.args:
            if not has(feature):
                pytest.skip(f"this redis-py lacks {feature}")
