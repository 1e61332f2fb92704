"""What a soak needs around it."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture
def quiet_log(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged: pytest would keep it, and that is growth."""
    caplog.set_level(logging.CRITICAL + 1)
