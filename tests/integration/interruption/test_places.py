"""After which bytecodes this interpreter raises what is pending, which `support.interrupting` takes for granted."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from support.interrupting import Interrupted, sees_what_is_pending

_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
_main, _error = ctypes.c_ulong(threading.main_thread().ident or 0), ctypes.py_object(Interrupted)
_lock = threading.Lock()


class Soon(int):
    """Has the main thread interrupted where `now` is looked up: a call by C, and none by a bytecode."""

    now = property(functools.partial(_raise_in, _main, _error))


def _calls(soon: Any) -> None:
    soon.now  # noqa: B018
    found = {"a": [soon + 1, -soon], **soon.__dict__}
    first, *rest = found["a"]
    found["b"] = f"{first}" if rest and first is not None and first > 3 else rest[-1:]
    del rest
    abs(first)


def _calls_by_name(soon: Any) -> None:
    soon.now  # noqa: B018
    sorted([soon], reverse=True)
    abs(soon)  # CPython 3.14 waits until here


def _calls_with_what_was_given(soon: Any) -> None:
    soon.now  # noqa: B018
    max(*[soon, soon])
    abs(soon)


def _loops(soon: Any) -> None:
    for _ in (1, 2):
        soon.now  # noqa: B018


def _leaves_a_block(soon: Any) -> None:
    with _lock:
        soon.now  # noqa: B018


def _enters_a_function(soon: Any) -> None:
    def entered() -> None:
        pass

    soon.now  # noqa: B018
    entered()


@pytest.mark.parametrize(
    "act",
    [_calls, _calls_by_name, _calls_with_what_was_given, _loops, _leaves_a_block, _enters_a_function],
    ids=lambda act: act.__name__,
)
def test_what_is_pending_is_raised_where_a_place_is_possible(act: Callable[[Any], None]) -> None:
    """After a call, at the beginning of a function, where a loop goes back; and after nothing else."""
    with pytest.raises(Interrupted) as caught:
        act(Soon(1))
    raised = caught.traceback[-1]._rawentry
    assert raised.tb_frame.f_code.co_filename == __file__
    assert sees_what_is_pending(raised.tb_frame.f_code, raised.tb_lasti)
