"""What the storms need around them."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Iterator

import pytest

from .crowds import start_undisturbed


@pytest.fixture
def interrupted_anywhere(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """An exception may come where only the test is to blame, and what is dropped is soon collected."""
    # It can't be raised out of a finalizer.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    # It would leave the lock of the logging module locked.
    caplog.set_level(logging.CRITICAL, logger="redpool")
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def started_undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread is interrupted from another while it starts a third."""
    monkeypatch.setattr(threading.Thread, "start", start_undisturbed)
