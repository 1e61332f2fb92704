"""Raising before the n-th bytecode that a piece of work runs inside redpool.

That is stricter than life: the interpreter looks for signals and asynchronous exceptions only when a function begins,
when a call returns and where a loop goes back. So each interruption says whether one of those could have come there.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class Place:
    """Where an interruption may come: before a bytecode, in a function where another one had run last."""

    code: CodeType
    at: int
    last: int
    line: int | None

    @property
    def possible(self) -> bool:
        """Whether the handler of a signal could raise here."""
        return self.last == _NOTHING_YET or _names(self.code)[self.last].startswith(_PENDING_SEEN_AFTER)

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
            sys.settrace(self._called)

    def _called(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(_SOURCE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
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


@functools.cache
def _names(code: CodeType) -> dict[int, str]:
    return {each.offset: each.opname for each in dis.get_instructions(code)}
