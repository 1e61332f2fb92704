"""Recognize a child process that has not begun anew yet, however it was forked.

Python's fork hooks run where Python forks. C code that embeds Python, such as uWSGI, forks without them, and the child
then has its parent's sockets: two processes that use one get each other's replies. So each way into a pool asks
`if not same_process[0]: begin_in_child()`. On Linux that reads a page of memory which the kernel wipes in every child;
elsewhere it compares process ids.

What must stay true: no code uses a pool's connections before it has asked, and `same_process[0]` turns true last. So no
thread of a child gets past the question until one of them has completed `begin_in_child`. No thread of the child waits
for a lock that the parent may have held: the thread that would release it doesn't exist in the child.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from .registry import noted

# <linux/mman.h>; `mmap` doesn't name it. The other one is no advice: a kernel that accepts it ignores them all.
_WIPE_ON_FORK, _NONSENSE = 18, -1


class _ById:
    """Compare process ids, where the kernel wipes no page."""

    def __init__(self) -> None:
        self._pid = 0

    def __getitem__(self, _: int) -> bool:
        return self._pid == os.getpid()

    def __setitem__(self, _: int, value: bool) -> None:
        self._pid = os.getpid()


def _wiped_page() -> Any:
    """Return a page that reads false in each child; `None` where the kernel doesn't wipe one."""
    if sys.platform != "linux" or sys.implementation.name == "pypy":  # PyPy 8 fails inside where the kernel says no
        return None
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if _takes(page, _NONSENSE) or not _takes(page, _WIPE_ON_FORK):
        return None
    return memoryview(page).cast("?")


def _takes(page: mmap.mmap, advice: int) -> bool:
    try:
        page.madvise(advice)
    except OSError:
        return False
    return True


same_process: Any = _wiped_page() or _ById()
"""`same_process[0]` is false in a child that has not begun anew yet."""
same_process[0] = True

# One lock for each process: a child's own is free. Re-entrant for finalizers and signal handlers.
_beginning: dict[int, threading.RLock] = {}


_followers: list[Callable[[], None]] = []


def in_child(follow: Callable[[], None]) -> None:
    """Have each child call this once it has begun anew with its pools."""
    _followers.append(follow)


def begin_in_child() -> None:
    """Begin anew with every pool that this process inherited, once; without effect where that is done."""
    with _beginning.setdefault(os.getpid(), threading.RLock()):
        if same_process[0]:
            return
        for each in noted():
            each.begin_in_child()
        same_process[0] = True
        for follow in _followers[:]:
            follow()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=begin_in_child)
