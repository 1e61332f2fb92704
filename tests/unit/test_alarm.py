"""A thread sleeps until its time comes, or until it is woken, whatever signals reach it."""

from __future__ import annotations

import signal
import sys
import threading
import time

import pytest

from redpool.alarm import Alarm


def test_one_that_rings_already_rings_once() -> None:
    """Woken twice before it falls asleep, a thread stays awake the next time, and not the time after."""
    alarm = Alarm()
    alarm.ring()
    alarm.ring()
    assert alarm.sleep(60.0)
    assert not alarm.sleep(0.0)


def test_a_time_that_is_past_is_no_wait() -> None:
    """Seconds below 0 are as good as none."""
    assert not Alarm().sleep(-1.0)


def test_the_longest_time_is_taken() -> None:
    """Also where the operating system can't wait for as long."""
    alarm = Alarm()
    alarm.ring()
    assert alarm.sleep(float("inf"))


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="a signal reaches the main thread only")
def test_a_signal_does_not_make_it_sleep_for_ever() -> None:
    """One that reaches the sleeping thread, which can go on only when its time is up: it ends then."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    often = sys.getswitchinterval()
    sleeping = threading.Thread(target=Alarm().sleep, args=(0.3,), daemon=True)
    try:
        sleeping.start()
        up = time.monotonic() + 0.35
        time.sleep(0.1)  # for it to fall asleep
        sys.setswitchinterval(10.0)  # no other thread runs from here on
        signal.pthread_kill(sleeping.ident or 0, signal.SIGUSR1)
        while time.monotonic() < up:
            pass
    finally:
        sys.setswitchinterval(often)
        signal.signal(signal.SIGUSR1, before)
    sleeping.join(10.0)
    assert not sleeping.is_alive()
