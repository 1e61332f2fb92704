"""What a process says of its pools when it gets a signal: for one that hangs, or seems to.

A signal handler may come in the midst of anything, a change to a pool or a write to stderr included. So it starts a
thread, which asks the pools as any other thread does, and returns. The thread is CPython's own kind, without a lock
that the interrupted code may have. Nothing is there before the signal comes, so that forked children have it, too.
"""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from .metrics.logs import stats_line
from .registry import LivingPool, pools

Target = str | os.PathLike[str] | Callable[[str], object] | None

_FINISHES_WITHIN = 2.0  # seconds
"""for which a process that ends waits for what is being written"""

# Of a signal that is to end the process, and that no handler was there for, that is still the outcome.
_ENDS = frozenset(filter(None, (getattr(signal, f"SIG{name}", None) for name in ("TERM", "INT", "HUP", "QUIT"))))


def dump_on(signum: int, to: Target = None) -> None:
    """Have the process write the dump and the stats of all its pools when it gets this signal.

    They go to stderr; or to the file `to`, at its end; or to the function `to`, which is called with the text in a
    thread of its own. The handler that was there before is called, too. A signal that ends the process, such as
    SIGTERM, still does so where there was none, once the text is written. It has to be called in the main thread, as
    `signal.signal`; it raises what that raises, and `TypeError` where `to` makes no sense.
    """
    if to is not None and not callable(to) and not isinstance(to, str | os.PathLike):
        raise TypeError(f"to must be a path or a function that takes a string, not {to!r}")
    before: Any = signal.getsignal(signum)
    if isinstance(before, _Dump):
        before = before.before
    signal.signal(signum, _Dump(to, before))
    atexit.unregister(_finish)
    atexit.register(_finish)


def dump() -> str:
    """Return the dump and the stats of all pools of this process, as text."""
    living = pools()
    head = f"redpool: {len(living)} pools in process {os.getpid()}, {time.strftime('%Y-%m-%d %H:%M:%S%z')}"
    return "\n".join([head, *map(_of_one, living), ""])


def _of_one(living: LivingPool) -> str:
    kind = "event loops" if living.pool.asynchronous else "threads"
    made = f"pool {living.number}, for {kind}, {living.age:.1f} s old, made here: {living.made_at}"
    try:
        return f"{made}\n{living.pool.dump()}\n  {stats_line(living.pool.stats())}"
    except Exception:
        return f"{made}\n{living.name}: {traceback.format_exc()}"


# The latest: each with what is released once something is written, and the process; in a child of it that is never.
_under_way: deque[tuple[int, _thread.LockType]] = deque(maxlen=8)


def _finish() -> None:
    """Let a process that ends write what it was asked for: the handler that was there may have ended it."""
    for process, done in list(_under_way):
        if process == os.getpid() and done.acquire(timeout=_FINISHES_WITHIN):
            done.release()


class _Dump:
    """The handler of a signal."""

    def __init__(self, to: Target, before: Any) -> None:
        self.before = before
        """the handler that was there"""
        self._to = to

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Have a thread write; call the handler that was there."""
        ends = self.before is signal.SIG_DFL and signum in _ENDS
        if ends:
            signal.signal(signum, signal.SIG_DFL)
        done = _thread.allocate_lock()
        done.acquire()
        _under_way.append((os.getpid(), done))
        try:
            _thread.start_new_thread(self._write, (done, signum if ends else None))
        except RuntimeError:  # none is to be had
            done.release()
            os.write(2, b"redpool: no thread can be started, so there is no dump\n")
            if ends:
                os.kill(os.getpid(), signum)
        if callable(self.before):
            self.before(signum, frame)

    def _write(self, done: _thread.LockType, then: int | None) -> None:
        try:
            self._put(dump())
        finally:
            done.release()
            if then is not None:
                os.kill(os.getpid(), then)

    def _put(self, text: str) -> None:
        if self._to is None:
            if sys.stderr is not None:
                sys.stderr.write(text)
                sys.stderr.flush()
        elif callable(self._to):
            self._to(text)
        else:
            with Path(self._to).open("a", encoding="utf-8") as file:
                file.write(text)
