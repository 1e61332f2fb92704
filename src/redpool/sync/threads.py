"""Threads of the pool's own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any


def start(work: Callable[..., object], name: str, *args: Any) -> None:
    """Have a daemon thread do the work. Raises `RuntimeError` where none is to be had."""
    if sys.is_finalizing():
        # CPython up to 3.11 would wait here for ever.
        raise RuntimeError("can't start a thread: the interpreter is going down")
    threading.Thread(target=work, args=args, name=name, daemon=True).start()
