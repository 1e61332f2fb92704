"""Interrupting a thread: by an exception from another thread, by a signal, before the n-th bytecode of its work.

The last one is stricter than life: the interpreter looks for signals and asynchronous exceptions only when a function
begins, when a call returns and where a loop goes back. So each place says whether one of those could have come there.
"""

from __future__ import annotations

import contextlib
import ctypes
import dis
import functools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import CodeType, FrameType
from typing import Any

import redpool

_SOURCE = str(Path(redpool.__file__).parent)
# After these the interpreter sees to what is pending.
_PENDING_SEEN_AFTER = ("CALL", "RESUME", "JUMP_BACKWARD")
_NOTHING_YET = -1
# It stands where a `try` begins. Nothing is raised there, and so no handler covers it.
_NEVER_RAISES = "NOP"


class Interrupted(BaseException):
    """What is raised in the midst of something."""


# -- from another thread -----------------------------------------------------------------------------------------------

# CPython takes a thread that is just being started for the one that starts it: it would be killed before its first
# step, and the other would wait for that step for ever. A finalizer or a handler may start one meanwhile.
_not_starting = threading.RLock()
_thread_start = threading.Thread.start
_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in.argtypes = (ctypes.c_ulong, ctypes.py_object)


def interrupt(thread: int | None, error: type[BaseException] = Interrupted) -> bool:
    """Raise it in the thread of that identifier, soon, as a worker's time limit does; return whether there is one."""
    with _not_starting:
        return bool(_raise_in(thread or 0, error))


def start_undisturbed(thread: threading.Thread) -> None:
    """Stand in for `threading.Thread.start`: no thread is interrupted from another while it starts a third.

    A finalizer may start one in the midst of that, in the thread that is being started, which can't wait for ever.
    """
    try:
        _not_starting.acquire(timeout=1.0)
        _thread_start(thread)
    finally:
        if _not_starting._is_owned():  # type: ignore[attr-defined]  # an interruption may have come at any step
            _not_starting.release()


# -- by a signal -------------------------------------------------------------------------------------------------------

_starts = (threading.Thread.start.__code__, start_undisturbed.__code__)


def irregularly(longest: float = 0.003) -> Callable[[], float]:
    """Return pauses between alarms, so that the thread gets sometimes farther in between, sometimes less far."""
    random = Random(4)
    return lambda: 0.0002 + random.random() * longest


@contextlib.contextmanager
def alarms(
    handler: Callable[[], object],
    pause: Callable[[], float],
    within: Callable[..., object] | None = None,
    apart_from: Callable[..., object] | None = None,
) -> Iterator[None]:
    """Call the handler again and again, wherever the main thread is, or only in what the function `within` calls.

    It is never called in the midst of the function `apart_from`.

    So many seconds after one call has ended the next one begins: a handler never comes in its own midst. Nor does it in
    the midst of a thread's start: CPython holds a lock there that each new thread needs, so that a handler which waits
    for one to connect waits in vain (docs/reliability.md).
    """
    over = False
    apart = _starts if apart_from is None else (*_starts, apart_from.__code__)

    def handle(signum: int, frame: FrameType | None) -> None:
        try:
            if not _is_in(frame, *apart) and _is_called_by(frame, within):
                handler()
        finally:
            if not over:
                signal.setitimer(signal.ITIMER_REAL, pause())

    previous = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, pause())
        yield
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _is_called_by(frame: FrameType | None, within: Callable[..., object] | None) -> bool:
    # In `within` itself no one would catch what is raised.
    return within is None or (
        frame is not None and frame.f_code is not within.__code__ and _is_in(frame, within.__code__)
    )


def _is_in(frame: FrameType | None, *codes: CodeType) -> bool:
    while frame is not None and frame.f_code not in codes:
        frame = frame.f_back
    return frame is not None


# -- before a bytecode -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where an interruption may come: before a bytecode, in a function where another one had run last."""

    code: CodeType
    at: int
    last: int
    line: int | None

    @property
    def possible(self) -> bool:
        """Whether the handler of a signal could raise here.

        After a call it raises as if the call did: what covers the call covers this, also where the next bytecode isn't
        covered any more, as on the way out of `with lock: return call()`.
        """
        if self.last == _NOTHING_YET:
            return True
        if _names(self.code)[self.last].startswith("CALL"):
            return _handler(self.code, self.last) == _handler(self.code, self.at)
        return sees_what_is_pending(self.code, self.last)

    def __str__(self) -> str:
        file = Path(self.code.co_filename).relative_to(_SOURCE)
        how = "possible" if self.possible else "stricter than life"
        return f"{file}:{self.line} {self.code.co_qualname}, before {_names(self.code)[self.at]} ({how})"


class Interrupter:
    """Counts the bytecodes that this thread runs inside redpool while it does some work, and interrupts before some.

    `places` is where it came by, in order. After an interruption nothing is counted until `resume`.
    """

    def __init__(self, *interruptions: int) -> None:
        self.interruptions = interruptions
        self.places: list[Place] = []
        self._last: dict[FrameType, int] = {}
        self._worker = 0  # the thread that is at it

    @property
    def through(self) -> bool:
        """Whether there were so many bytecodes that every interruption came."""
        return len(self.places) >= max(self.interruptions)

    def run(self, work: Callable[[], object]) -> None:
        """Do `work`; an interruption ends it, and is heard of no more."""
        before = sys.gettrace()
        with contextlib.suppress(Interrupted):
            try:
                self._worker = threading.get_ident()
                self.resume()
                work()
            finally:
                self._worker = 0
                sys.settrace(before)
                self._last.clear()

    def resume(self) -> None:
        """Go on counting, where the work is done."""
        if threading.get_ident() == self._worker:
            sys._getframe().f_trace_opcodes = True  # CPython 3.12 looks for it in settrace
            sys.settrace(self._called)

    def _called(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(_SOURCE):
            return None
        # CPython 3.13 wants it in this order, and off before on once a trace function has raised.
        frame.f_trace, frame.f_trace_lines, frame.f_trace_opcodes = self._stepped, False, False
        frame.f_trace_opcodes = True
        return self._stepped

    def _stepped(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "return":
            self._last.pop(frame, None)  # and with it what the frame held
        elif event == "opcode" and _names(frame.f_code)[frame.f_lasti] != _NEVER_RAISES:
            last = self._last.get(frame, _NOTHING_YET)
            self.places.append(Place(frame.f_code, frame.f_lasti, last, frame.f_lineno))
            if len(self.places) in self.interruptions:
                raise Interrupted
            self._last[frame] = frame.f_lasti
        return self._stepped


def sees_what_is_pending(code: CodeType, at: int) -> bool:
    """Return whether the interpreter sees, once this bytecode has run, to what is pending."""
    return _names(code)[at].startswith(_PENDING_SEEN_AFTER)


@functools.cache
def _names(code: CodeType) -> dict[int, str]:
    return {each.offset: each.opname for each in dis.get_instructions(code)}


@functools.cache
def _handler(code: CodeType, offset: int) -> int | None:
    """Return where an exception goes that is raised at a bytecode; `None` for the caller."""
    entries = dis._parse_exception_table(code)  # type: ignore[attr-defined]
    return next((each.target for each in entries if each.start <= offset < each.end), None)
