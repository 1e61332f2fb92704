"""An exporter whose library isn't installed says what to install."""

from __future__ import annotations

import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("redpool.metrics.prometheus", "prometheus_client", "prometheus"),
        ("redpool.metrics.opentelemetry", "opentelemetry", "opentelemetry"),
        ("redpool.metrics.statsd", "datadog.dogstatsd", "statsd"),
        ("redpool.instrumentation.opentelemetry", "opentelemetry", "opentelemetry"),
    ],
)
def test_a_missing_library_is_named(module: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    parent, _, name = module.rpartition(".")
    monkeypatch.delattr(importlib.import_module(parent), name, raising=False)
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{module} needs .*: pip install 'redpool\[{extra}\]'"):
        importlib.import_module(module)
