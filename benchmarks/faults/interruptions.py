"""Interrupt a call in the middle: at each step of a thread, or at each await of a task."""

from __future__ import annotations

import asyncio
import contextlib
import dis
import functools
import itertools
import os
import queue
import sys
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import redis.connection

import redpool

_POOL_CODE = (queue.__file__, redis.connection.__file__, os.path.dirname(redpool.__file__))
# Only after these does the interpreter run signal handlers, and raise what another thread has sent.
_INTERRUPTIBLE = ("CALL", "RESUME", "JUMP_BACKWARD")


def at_each_step(work: Callable[[], object], interrupt: Callable[[], object]) -> int:
    """Do `work` again and again, interrupted at its first step, at the second, and so on; return how many there are.

    A step is a point in the code of either side's pools where the interpreter could call a signal handler. `interrupt`
    runs there as a handler would: in the same thread, with the locks that the thread holds.
    """
    for step in itertools.count():
        if not at_step(work, step, interrupt):
            return step
    raise AssertionError


def at_step(work: Callable[[], object], step: int, interrupt: Callable[[], object]) -> bool:
    """Do `work`, interrupted at one step, counted from 0; return whether it came that far."""
    left = step + 1
    last: dict[types.FrameType, int] = {}

    def steps(frame: types.FrameType, event: str, _: object) -> Any:
        nonlocal left
        if event == "return":
            last.pop(frame, None)
        elif event == "opcode":
            before = last.get(frame)
            last[frame] = frame.f_lasti
            if before in _steps_of(frame.f_code):
                left -= 1
                if not left:
                    interrupt()
        return steps

    def calls(frame: types.FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(_POOL_CODE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return steps

    sys.settrace(calls)
    try:
        work()
    finally:
        sys.settrace(None)
        last.clear()  # an interrupted frame never returns; it would keep alive what it refers to
    return left <= 0


@functools.cache
def _steps_of(code: types.CodeType) -> frozenset[int]:
    return frozenset(each.offset for each in dis.get_instructions(code) if each.opname.startswith(_INTERRUPTIBLE))


async def cancelled_at(step: int, work: Coroutine[Any, Any, Any]) -> bool:
    """Do `work` in a task of its own, and cancel that at its await number `step`, counted from 0.

    Return whether it came that far, once the task has ended.
    """
    reached: list[int] = []

    async def stepwise() -> None:
        await _cancelling(step, work, reached)

    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.create_task(stepwise())
    return bool(reached)


@types.coroutine
def _cancelling(step: int, work: Coroutine[Any, Any, Any], reached: list[int]) -> Generator[Any, Any, None]:
    resume: Callable[[], Any] = functools.partial(work.send, None)
    for at in itertools.count():
        try:
            waiting = resume()
        except StopIteration:
            return
        if at == step:
            reached.append(at)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        try:
            yield waiting
        except BaseException as error:
            resume = functools.partial(work.throw, error)
        else:
            resume = functools.partial(work.send, None)
