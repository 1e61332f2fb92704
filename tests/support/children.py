"""Children forked by the C library: none of Python's fork hooks run.

CPython itself doesn't survive such a fork where another thread is waiting for the interpreter's lock, or has it: the
child waits for a thread that doesn't exist, as soon as it has two threads of its own. So the parent is at rest when it
forks, and a child whose interpreter doesn't run isn't counted.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import threading
import time
import traceback
from collections.abc import Callable

import pytest

# It keeps the interpreter's lock while it forks, as uWSGI does: so the child has it.
_LIBC = ctypes.PyDLL(None)
_PATIENCE = 20.0  # seconds
# Whether a child's interpreter runs shows within so many seconds.
_STARTS_WITHIN = 1.0
_TRIES = 5
# Seconds in which the threads of a pool that was just used come to rest.
_RESTS_WITHIN = 0.03


def in_child(work: Callable[[], None]) -> None:
    """Do the work in a child. Fail where it raises there, or hangs."""
    status = ended(begun(work))
    if status is None:
        pytest.fail("the child hung")
    assert status == 0, f"the child ended with {status}"


def begun(work: Callable[[], None]) -> int:
    """Begin the work in a child; return its process id."""
    for _ in range(_TRIES):
        pid, runs = _forked(work)
        if runs:
            return pid
        _kill(pid)
    pytest.fail("no child's interpreter runs")


def ended(pid: int) -> int | None:
    """Wait for a child; return its exit status, `None` where it hung and was killed."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    _kill(pid)
    return None


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _forked(work: Callable[[], None]) -> tuple[int, bool]:
    """Fork. Return whether the child's interpreter runs: several threads of its own have said so."""
    raised, tells = os.pipe()
    gc.collect()  # from CPython 3.13 on, a child that collects a thread of its parent's crashes
    time.sleep(_RESTS_WITHIN)
    pid = _LIBC.fork()
    if pid == 0:
        status = 1
        try:
            for _ in range(20):
                thread = threading.Thread(target=time.sleep, args=(0,))
                thread.start()
                thread.join()
            os.write(tells, b"!")
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(tells)
    runs = bool(select.select([raised], [], [], _STARTS_WITHIN)[0])
    os.close(raised)
    return pid, runs
