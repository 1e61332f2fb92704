"""Threads that look after something for the process, turn by turn."""

from __future__ import annotations

import pytest

from redpool.background import BackgroundThread


class Turns(BackgroundThread):
    """Its first turn is interrupted."""

    def __init__(self) -> None:
        super().__init__("turns")
        self.turns = 0

    def _turn(self) -> None:
        self.turns += 1
        if self.turns == 1:
            raise SystemExit


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_one_that_was_interrupted_may_begin_again() -> None:
    """It doesn't say that it goes on: a budget would stand still for ever."""
    turns = Turns()
    turns._begin()
    thread = turns._thread
    assert thread is not None
    thread.join(10)
    assert not turns._goes_on()
    turns._begin()
    thread = turns._thread
    assert thread is not None
    thread.join(10)
    assert turns.turns == 2
