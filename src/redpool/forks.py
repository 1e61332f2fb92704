"""Whether this process is a child that has not begun anew yet, however it was forked.

Python's fork hooks run where Python forks. C code that embeds Python, uWSGI for one, forks without them, and the child
then has the sockets of its parent: two processes that use one get each other's replies. So each way into a pool asks
`if not same_process[0]: begin_in_child()`. On Linux that is a look at a page of memory that the kernel wipes in every
child; elsewhere process ids are compared.

What must stay true: nothing uses what a pool has connected before it has asked, and what is asked turns true last. So
no thread of a child gets beyond the question until one of them has been through `begin_in_child`. No lock that the
parent may have held is waited for: the thread that would release it doesn't exist in the child.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import weakref
from typing import Any, Protocol

# <linux/mman.h>; `mmap` doesn't name it. The other one is no advice: what takes it takes anything, and does nothing.
_WIPE_ON_FORK, _NONSENSE = 18, -1


class Inherited(Protocol):
    """What a child begins anew."""

    def begin_in_child(self) -> None:
        """Start empty, without a word to the server. It may be interrupted, and is called once more then."""


class _ById:
    """In the place of the page where the kernel wipes none."""

    def __init__(self) -> None:
        self._pid = 0

    def __getitem__(self, _: int) -> bool:
        return self._pid == os.getpid()

    def __setitem__(self, _: int, value: bool) -> None:
        self._pid = os.getpid()


def _wiped_page() -> Any:
    """Return a page that reads false in each child; `None` where the kernel has none."""
    if sys.platform != "linux":
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

_inherited: weakref.WeakSet[Any] = weakref.WeakSet()
# By process: a child's own is free. Re-entrant for finalizers and signal handlers.
_beginning: dict[int, threading.RLock] = {}


def note(pool: Inherited) -> None:
    """Have a child begin anew with it. Its maker has asked, as everybody does."""
    _inherited.add(pool)


def begin_in_child() -> None:
    """Begin anew with all that was inherited, where that has not been done."""
    with _beginning.setdefault(os.getpid(), threading.RLock()):
        if same_process[0]:
            return
        for each in list(_inherited):
            each.begin_in_child()
        same_process[0] = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=begin_in_child)
