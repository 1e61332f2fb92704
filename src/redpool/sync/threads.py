"""The pool's own threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import BuiltinFunctionType
from typing import Any

_STARTS_WITHIN = 5.0  # seconds


def start(work: Callable[..., object], name: str, *args: Any) -> None:
    """Have a daemon thread do the work. Raises `RuntimeError` where none is to be had."""
    if sys.is_finalizing():
        # CPython up to 3.11 would wait here for ever.
        raise RuntimeError("can't start a thread: the interpreter is going down")
    _Thread(target=work, args=args, name=name, daemon=True).start()


class _Thread(threading.Thread):
    """One whose starter doesn't wait for ever.

    In CPython 3.11 an asynchronous exception for the starter may strike the new thread before its first step.
    """

    def start(self) -> None:
        if _greenlets():  # which nothing strikes there
            super().start()
            return
        started: threading.Event = self._started  # type: ignore[attr-defined]
        wait = started.wait
        started.wait = lambda timeout=None: wait(_STARTS_WITHIN)  # type: ignore[method-assign]
        super().start()
        if not started.is_set():
            raise RuntimeError("a thread was struck before its first step")


def _greenlets() -> bool:
    """Whether gevent has put greenlets in the place of threads."""
    return not isinstance(threading.get_ident, BuiltinFunctionType)
