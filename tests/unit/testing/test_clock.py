"""A clock goes on when it is advanced, and never by itself."""

from __future__ import annotations

import pytest

from redpool.testing import Clock


def test_it_stands_still_until_it_is_turned() -> None:
    """And says the same in both ways."""
    clock = Clock(5.0)
    assert clock() == clock() == clock.now == 5.0
    assert clock.advance(2.5) == 7.5
    assert clock() == clock.now == 7.5
    assert repr(clock) == "<Clock 7.5 s>"


def test_it_never_goes_back() -> None:
    """A step back is refused, and changes nothing."""
    clock = Clock()
    with pytest.raises(ValueError, match=r"seconds=-1\.0 is negative"):
        clock.advance(-1.0)
    assert clock() == 0.0
