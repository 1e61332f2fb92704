"""Threads that run one at a time, and change places only where a test says so.

Real threads, each behind a gate of its own; one gate is open. A *step* is any line of the traced source files, any
opcode there if asked for, and any operation of the virtual locks and sockets, which call `operation` and `wait_for`.
At each step a *decider* may name a move: a thread's name (that one goes on), `name!` (that one is interrupted there),
`name+` (what was planted in that one runs in its midst, as a finalizer does). Without a word from it the running thread
goes on until it blocks or ends, and then the next one. The moves made are the run's *schedule*: the same schedule is
the same run. When every thread is blocked, the clock moves on to the earliest timeout.

An interruption comes where CPython raises asynchronous exceptions: at a function's entry, behind a call, at a backward
jump, and in what blocks. Not covered: fork, since running threads can't be copied.
"""

from __future__ import annotations

import gc
import linecache
import math
import opcode
import sys
import threading
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NoReturn

Schedule = tuple[tuple[int, str], ...]
LINE, OPCODE, CHECKPOINT, OPERATION, BLOCKED = "line", "opcode", "checkpoint", "operation", "blocked"
PREEMPTION, INTERRUPTION, PLANTED, FREE = "preemption", "interruption", "planted", "free"
Decider = Callable[["Scheduler", str], str | None]

HORIZON = 300.0  # seconds of the virtual clock: a caller that is blocked for so long is blocked for ever
MOST_STEPS = 60_000
_STUCK = 60.0  # real seconds without an end: a thread waits for something that the scheduler doesn't know
_RESUME = opcode.opmap["RESUME"]
_CHECKED = {opcode.opmap.get(each) for each in ("RESUME", "CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD")}


class Interrupted(BaseException):
    """What an interruption raises."""


class Stopped(BaseException):
    """Ends a thread whose run is over."""


class Thread:
    """One of the threads of a run."""

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self.name, self.work = name, work
        self.background = False  # a run ends without waiting for its end
        self.traced = True
        self.victim = False  # it may be interrupted, once
        self.planted: Callable[[], object] | None = None
        self.gate = threading.Lock()
        self.gate.acquire()
        self.ready: Callable[[], bool] | None = None  # set while it is blocked, or must not begin yet
        self.until = math.inf
        self.interrupted = self.ended = False
        self.error: BaseException | None = None
        self.last: tuple[FrameType | None, int] = (None, 0)  # opcode

    def run_planted(self) -> None:
        """Run what was planted in it, once."""
        planted, self.planted = self.planted, None
        if planted is not None:
            planted()


class Scheduler:
    """One run: `spawn` threads, then `run` them. `failure` says what went wrong."""

    def __init__(self, decide: Decider, sources: Collection[str] = (), opcodes: bool = False) -> None:
        self.now = 0.0
        self.step = 0
        self.next_decision = 0  # the decider isn't asked before this step; it may set it
        self.threads: list[Thread] = []
        self.current = Thread("setup", lambda: None)
        self.running = False  # before that nothing is a step
        self.failure = ""
        self.over = False
        self.interruptions = 0
        self.made: list[tuple[int, str]] = []
        self.on_idle: Callable[[], object] = lambda: None
        self.log: list[tuple[int, str, CodeType | str, int]] = []
        self.opcodes = opcodes
        self._decide, self._sources = decide, frozenset(sources)
        self._finished = threading.Lock()
        self._finished.acquire()
        self._workers: list[_Worker] = []
        self._codes: dict[CodeType, bytes] = {}

    @property
    def schedule(self) -> Schedule:
        """The moves that were made."""
        return tuple(self.made)

    def spawn(self, name: str, work: Callable[[], object]) -> Thread:
        """Add a thread. The run ends when all but those in the background have ended."""
        self.threads.append(thread := Thread(name, work))
        if self.running:
            self._give_worker(thread)
        return thread

    def run(self) -> None:
        """Run all of them to their end, or to the first failure."""
        for thread in self.threads:
            self._give_worker(thread)
        self.current, self.running = self.threads[0], True
        collecting = gc.isenabled()
        gc.disable()  # finalizers would run at steps of their own choice
        try:
            self.current.gate.release()
            if not self._finished.acquire(timeout=_STUCK):
                raise RuntimeError(f"{self.current.name} waits for something that isn't virtual\n{self.trace()}")
            _idle.extend(self._workers)
        finally:
            if collecting:
                gc.enable()

    def _give_worker(self, thread: Thread) -> None:
        self._workers.append(_idle.pop() if _idle else _Worker())
        self._workers[-1].give(partial(self._live, thread))

    def fail(self, why: str) -> NoReturn:
        """End the run from the running thread; the first reason stays."""
        self.failure = self.failure or f"{why} (in {self.current.name}, step {self.step}, at {self.now:g} s)"
        self.over = True
        raise Stopped

    # -- steps -------------------------------------------------------------------------------------------------------

    def operation(self, what: str) -> None:
        """Take the step before an operation on something shared."""
        self._take_step(what, 0, OPERATION)

    def wait_for(self, ready: Callable[[], bool], until: float, what: str) -> bool:
        """Block the running thread until `ready()`; False where the time came first."""
        self.operation(what)
        me = self.current
        while not ready():
            if self.now >= until:
                return False
            me.ready, me.until = ready, until
            self.log.append((self.step, me.name, f"{what}: blocked", 0))
            self._pass_on(me)
            me.ready, me.until = None, math.inf
            if me.interrupted:
                me.interrupted = False
                raise Interrupted
        return True

    def moves(self, kind: str) -> list[tuple[str, str]]:
        """What could be done at this step instead, each with what it costs."""
        me = self.current
        if kind is CHECKPOINT:
            return [(f"{me.name}!", INTERRUPTION)] if me.victim else []
        if kind is BLOCKED:  # the first of them goes on if nothing is decided
            others = [each for each in self._in_turn() if each is not me and self._can_run(each)]
            moves = [(each.name, FREE) for each in others[1:]]
        else:
            moves = [(each.name, PREEMPTION) for each in self.threads if each is not me and self._can_run(each)]
        if kind is BLOCKED or kind is OPERATION:
            moves += [(f"{each.name}!", INTERRUPTION) for each in self.threads if each.victim and each.ready]
        if kind is LINE and me.planted:
            moves.append((f"{me.name}+", PLANTED))
        return moves

    def _take_step(self, where: CodeType | str, line: int, kind: str) -> None:
        if not self.running:
            return
        if self.over:
            raise Stopped
        self.step = step = self.step + 1
        me = self.current
        if kind is LINE or kind is OPERATION:
            self.log.append((step, me.name, where, line))
        if step < self.next_decision:
            return
        if step > MOST_STEPS:
            self.fail("the threads go round in circles")
        move = self._decide(self, kind)
        if move is None:
            return
        self._note(move)
        name = move.rstrip("!+")
        other = next(each for each in self.threads if each.name == name)
        if move.endswith("!"):
            self._interrupt(other)
            if other is me:
                sys.setprofile(self._resume_tracing)
                raise Interrupted
        elif move.endswith("+"):
            me.run_planted()
        else:
            self._switch(other)

    def _interrupt(self, victim: Thread) -> None:
        self.interruptions += 1
        victim.victim, victim.interrupted = False, victim.ready is not None

    def _note(self, move: str) -> None:
        self.made.append((self.step, move))
        self.log.append((self.step, self.current.name, f"--> {move}", 0))

    # -- who runs ----------------------------------------------------------------------------------------------------

    def _in_turn(self) -> list[Thread]:
        place = self.threads.index(self.current) + 1
        return self.threads[place:] + self.threads[:place]

    def _can_run(self, each: Thread) -> bool:
        if each.ended:
            return False
        return each.ready is None or each.interrupted or self.now >= each.until or each.ready()

    def _pass_on(self, me: Thread) -> None:
        """Let another thread run: this one is blocked, or has ended."""
        while not (able := [each for each in self._in_turn() if self._can_run(each)]):
            self.on_idle()
            self.now = min(each.until for each in self.threads if not each.ended)
            if self.now > HORIZON:
                blocked = ", ".join(each.name for each in self.threads if not each.ended and not each.background)
                self.fail(f"blocked for ever: {blocked}")
        following = able[0]
        self.step += 1
        if len(able) > 1 or any(each.victim and each.ready for each in self.threads):
            move = self._decide(self, BLOCKED)
            if move is not None:
                self._note(move)
                chosen = next(each for each in self.threads if each.name == move.rstrip("!"))
                if move.endswith("!"):
                    self._interrupt(chosen)
                following = chosen
        if following is not me:
            self._switch(following)

    def _switch(self, other: Thread) -> None:
        me, self.current = self.current, other
        other.gate.release()
        if not me.ended:
            me.gate.acquire()
            if self.over:
                raise Stopped

    def _live(self, thread: Thread) -> None:
        """Be that thread, from its first turn to its end."""
        thread.gate.acquire()
        thread.ready = None
        try:
            if not self.over:
                if self.opcodes:
                    sys._getframe().f_trace_opcodes = True  # CPython 3.12 looks for it in settrace
                sys.settrace(self._trace if thread.traced else None)
                thread.work()
        except Stopped:
            pass
        except Interrupted as error:
            thread.error = error.with_traceback(None)  # its frames would keep alive what was in hand
        except BaseException as error:
            thread.error = error
        finally:
            sys.settrace(None)
            sys.setprofile(None)
        thread.ended, thread.last = True, (None, 0)
        if all(each.ended or each.background for each in self.threads):
            self.over = True
        if not self.over:
            try:
                self._pass_on(thread)
                return
            except Stopped:
                pass
        rest = [each for each in self.threads if not each.ended]
        if rest:
            self._switch(rest[0])
        else:
            self._finished.release()

    # -- tracing -----------------------------------------------------------------------------------------------------

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code.co_filename not in self._sources:
            return None
        if self.opcodes:
            # CPython 3.13 wants it in this order, and off before on once a trace function has raised.
            frame.f_trace, frame.f_trace_opcodes = self._trace_step, False
            frame.f_trace_opcodes = True
            self.current.last = (frame, _RESUME)
        return self._trace_step

    def _trace_step(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            if self.step < self.next_decision - 1 and not self.over:  # the same, faster
                self.step += 1
                self.log.append((self.step, self.current.name, frame.f_code, frame.f_lineno))
            else:
                self._take_step(frame.f_code, frame.f_lineno, LINE)
        elif event == "opcode":
            code = frame.f_code
            if code not in self._codes:
                self._codes[code] = code.co_code
            me = self.current
            before, me.last = me.last, (frame, self._codes[code][frame.f_lasti])
            validated = before[0] is frame and before[1] in _CHECKED
            self._take_step(code, frame.f_lineno, CHECKPOINT if validated else OPCODE)
        return self._trace_step

    def _resume_tracing(self, frame: FrameType | None, event: str, arg: object) -> None:
        """Go on at the first call after an interruption, since CPython stops tracing when a trace function raises."""
        sys.setprofile(None)
        if self.over:
            return
        sys.settrace(self._trace)
        while frame is not None:
            if frame.f_code.co_filename in self._sources:
                frame.f_trace, frame.f_trace_opcodes = self._trace_step, False
                frame.f_trace_opcodes = True
            frame = frame.f_back

    # -- what happened -----------------------------------------------------------------------------------------------

    def trace(self) -> str:
        """The whole run, readable: the step, the thread, the place, the source line."""
        rows = []
        for step, name, where, line in self.log:
            if isinstance(where, str):
                rows.append(f"{step:6} {name:12} {where}")
            else:
                source = linecache.getline(where.co_filename, line).rstrip()
                rows.append(f"{step:6} {name:12} {Path(where.co_filename).name}:{line:<4} {source}")
        return "\n".join(rows)


class _Worker:
    """A real thread that serves one run after another, since starting one costs more than a run's switches."""

    def __init__(self) -> None:
        self.job: Callable[[], None] | None = None
        self._call = threading.Lock()
        self._call.acquire()
        threading.Thread(target=self._serve, daemon=True, name="interleaving").start()

    def give(self, job: Callable[[], None]) -> None:
        self.job = job
        self._call.release()

    def _serve(self) -> None:
        while True:
            self._call.acquire()
            assert self.job is not None
            job, self.job = self.job, None
            job()


_idle: list[_Worker] = []
