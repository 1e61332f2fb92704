"""Where the scheduler may put client and server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

FREE = "free"
ONE_CORE = "one core"


def why_not_one_core(server_pid: int | None) -> str | None:
    """Return why client and server can't be pinned to one CPU; `None` where they can."""
    if server_pid is None:
        return "the server is not the bench's own, so it can't be pinned"
    if not hasattr(os, "sched_setaffinity"):
        return "this system has no os.sched_setaffinity"
    return None


@contextmanager
def placed(mode: str, server_pid: int | None) -> Iterator[None]:
    """Pin client and server to one CPU for the time of the block, where `mode` is `ONE_CORE`."""
    if mode == FREE or server_pid is None:
        yield
        return
    before = {pid: os.sched_getaffinity(pid) for pid in (os.getpid(), server_pid)}
    cpu = min(set.intersection(*before.values()) or before[os.getpid()])
    try:
        for pid in before:
            _pin(pid, {cpu})
        yield
    finally:
        for pid, cpus in before.items():
            _pin(pid, cpus)


def _pin(pid: int, cpus: set[int]) -> None:
    # Each thread has an affinity of its own; threads that it starts later inherit that. A thread may end meanwhile.
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            os.sched_setaffinity(int(thread), cpus)
        except ProcessLookupError:
            continue
