"""Under the strictest settings of the interpreter nothing is swapped, lost, or raised bare. 5 seconds for each kind."""

from __future__ import annotations

import signal

import pytest

from .runner import EVERY_KIND, run

SECONDS = 3.0

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals on this platform")


@pytest.mark.parametrize(("shell", "kind"), EVERY_KIND)
def test_every_reply_is_right(shell: str, kind: str) -> None:
    """With no fault anywhere no caller gets an error; interrupted, no caller gets another's reply or a bare error."""
    found, log = run(shell, kind, SECONDS)
    assert not found.wrong, "\n".join([*found.wrong[:10], log[-3000:]])
    assert found.answered
    assert found.interruptions
